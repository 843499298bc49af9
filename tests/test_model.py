from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from golden_pim import FILES, config_of, gradient_error, pim_of, tensor, worst

import pim
from pim import PIM, PIMConfig
from pim.errors import InputError, UsageError
from pim.pim import distance, maps, model, tiled
from pim.pim.networks import DivisiveNormalisation, per_position

CASES = ("even", "odd", "tiny", "valid")
TOLERANCES = [(torch.float64, 1e-6, 1e-6), (torch.float32, 1e-4, 2e-3)]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("dtype", "close", "close_gradient"), TOLERANCES)
def test_distances_and_gradients_equal_the_golden_ones(file, dtype, close, close_gradient, golden):
    arrays = golden(file)
    metric = pim_of(arrays, dtype)
    cases = [case for case in CASES if f"{case}/x" in arrays]
    assert cases
    for case in cases:
        x, y = (tensor(arrays[f"{case}/{side}"], dtype).requires_grad_() for side in "xy")
        per_band = metric.per_band(x, y)
        pooled = distance.over_bands(per_band, None)
        np.testing.assert_allclose(pooled.detach(), arrays[f"{case}/distance"], rtol=close)
        if f"{case}/distance_per_band" in arrays:
            theirs = arrays[f"{case}/distance_per_band"]
            # A band that hardly differs loses digits to cancellation, which the others outweigh.
            np.testing.assert_allclose(per_band.detach(), theirs, rtol=close, atol=0.1 * close * theirs.max())
        if f"{case}/grad_x" in arrays:
            gradients = torch.autograd.grad(pooled.sum(), (x, y))
            for gradient, side in zip(gradients, "xy", strict=True):
                assert gradient_error(gradient, arrays[f"{case}/grad_{side}"]) < close_gradient


@pytest.mark.parametrize("file", FILES)
def test_every_stage_equals_the_golden_one(file, golden):
    arrays = golden(file)
    metric = pim_of(arrays, torch.float64)
    compared = 0
    for case in (case for case in CASES if f"{case}/x" in arrays):
        x = tensor(arrays[f"{case}/x"])
        for i, latent in enumerate(metric.latents(x)):
            key = f"{case}/mean_x.{i}"
            if key in arrays:
                theirs = arrays[key]
                assert worst(latent.means[: len(theirs), 0], theirs) < 1e-6
                compared += 1
    assert compared or file == "pim1_valid_small"


def test_the_three_image_call_is_a_prepared_reference(golden):
    arrays = golden("pim1_small")
    metric = pim_of(arrays, torch.float64)
    x, y, y2 = (tensor(arrays[f"even/{key}"]) for key in ("x", "y", "y2"))
    fixed = metric.prepare(x)
    np.testing.assert_allclose(metric(fixed, y), arrays["even/distance"], rtol=1e-6)
    np.testing.assert_allclose(metric(fixed, y2), arrays["even/distance2"], rtol=1e-6)


@pytest.mark.parametrize("file", FILES)
def test_two_prepared_images_are_as_far_apart_as_the_golden_pair(file, golden):
    arrays = golden(file)
    metric = pim_of(arrays, torch.float64)
    for case in (case for case in CASES if f"{case}/distance" in arrays):
        images = [tensor(arrays[f"{case}/{key}"]) for key in ("x", "y")]
        if min(images[0].shape[-2:]) < metric.info.min_size:
            continue
        x, y = (metric.prepare(image) for image in images)
        np.testing.assert_allclose(metric.compare(x, y), arrays[f"{case}/distance"], rtol=1e-6)


def test_two_prepared_images_of_a_mixture_are_as_far_apart_as_the_pair(golden):
    metric = PIM(config_of(golden("pim5_small")), samples=2, seed=3).double()
    x, y = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(metric.compare(metric.prepare(x), metric.prepare(y)), metric(x, y))


@pytest.mark.parametrize("name", ["pim", "nlpd", "ssim"])
def test_two_prepared_images_are_as_far_apart_as_the_pair(name):
    metric = pim.load(name)
    x, y = torch.rand(2, 3, 97, 120, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(metric.compare(metric.prepare(x), metric.prepare(y)), metric(x, y), rtol=1e-6, atol=0)


def test_prepared_images_are_compared_in_tiles_to_the_same_value(monkeypatch):
    metric = pim.load("pim")
    x, y = torch.rand(2, 3, 97, 120, generator=torch.Generator().manual_seed(3))
    whole = metric(x, y)
    monkeypatch.setattr(model, "TILED", 1000)
    monkeypatch.setattr(tiled, "TILE", 37)
    with torch.inference_mode():
        torch.testing.assert_close(metric.compare(metric.prepare(x), metric.prepare(y)), whole, rtol=1e-6, atol=0)


def test_the_mixture_distance_is_within_sampling_error_of_the_golden_estimate(golden):
    arrays = golden("pim5_small")
    metric = PIM(config_of(arrays), samples=64, seed=3).double()
    metric.load_state_dict(pim_of(arrays, torch.float64).state_dict())
    x, y = tensor(arrays["x"]), tensor(arrays["y"])
    with torch.no_grad():
        ours = metric.per_band(x, y)
    theirs = arrays["mc_kl_xy_band"] + arrays["mc_kl_yx_band"]
    error = np.hypot(arrays["mc_kl_xy_band_se"], arrays["mc_kl_yx_band_se"])
    spread = np.maximum(error * 4, 0.02 * theirs.max(1, keepdims=True))  # 64 draws of ours have an error too
    assert (np.abs(ours.numpy() - theirs) < spread).all()
    np.testing.assert_allclose(
        distance.over_bands(ours, None), arrays["mc_sym"], atol=6 * arrays["mc_sym_se"].max(), rtol=0.02
    )


def test_the_mixture_estimate_repeats_with_its_seed_and_changes_with_another(golden, random_images):
    arrays = golden("pim5_small")
    x, y = random_images(2, 40, 36, seed=1), random_images(2, 40, 36, seed=2)
    one, same, other = (PIM(config_of(arrays), seed=seed).eval() for seed in (0, 0, 1))
    for metric in (same, other):
        metric.load_state_dict(one.state_dict())
    assert torch.equal(one(x, y), same(x, y))
    assert not torch.equal(one(x, y), other(x, y))
    torch.testing.assert_close(one(x, y), one(y, x), rtol=1e-5, atol=1e-7)
    assert one(x, x).tolist() == [0.0, 0.0]


@pytest.fixture(
    scope="module",
    params=[
        {"mixtures": 1},
        {"mixtures": 3},
        {"reduction": 2, "scales": 2, "kernel": 3},
        {"surround": 5, "distance": "root_mean_square"},
        {"reduction": 3, "scales": 1, "surround": 3, "detail": True, "distance": "root_mean_square"},
        {"reduction": 2, "scales": 2, "kernel": 3, "stride": 2, "high_pass": False},
        {"stride": 3},
        {"reduction": 2, "scales": 2, "kernel": 3, "stride": 2, "grouped": True, "surround": 3, "detail": True},
    ],
    ids=["gaussian", "mixture", "reduced", "roots", "detail", "strided", "thirds", "grouped"],
)
def metric(request):
    torch.manual_seed(5)
    return PIM(PIMConfig(filters=(6, 5, 3), latent=4, **request.param)).eval().requires_grad_(False)


def test_a_reduction_is_the_mean_of_blocks_before_the_same_metric(random_images):
    torch.manual_seed(5)
    reduced = PIM(PIMConfig(filters=(4, 3), reduction=2)).double().eval()
    whole = PIM(PIMConfig(filters=(4, 3))).double().eval()
    whole.load_state_dict(reduced.state_dict())
    x, y = (random_images(2, 84, 73, seed=s, dtype=torch.float64) for s in (1, 2))
    small = []
    for image in (x, y):
        rows = image.unflatten(-2, (42, 2)).mean(-2)
        small.append(torch.cat([rows[..., :72].unflatten(-1, (36, 2)).mean(-1), rows[..., 72:]], -1))
    torch.testing.assert_close(reduced(x, y), whole(*small), rtol=1e-12, atol=0)
    spatial = reduced(x, y, spatial=True)
    assert spatial.shape == (2, 1, 84, 73)
    torch.testing.assert_close(spatial.mean((1, 2, 3)), reduced(x, y), rtol=1e-9, atol=0)
    assert reduced.info.operations == whole.info.operations / 4
    sides = [PIM(PIMConfig(filters=(4, 3), padding="valid", reduction=r)).info.min_size for r in (1, 2)]
    assert sides[1] == 2 * sides[0]


def test_detail_sees_what_a_reduction_averages_out(random_images):
    torch.manual_seed(5)
    blind, seeing = (PIM(PIMConfig(filters=(4, 3), reduction=2, detail=detail)).eval() for detail in (False, True))
    x = random_images(1, 80, 64)
    pixelated = x.unflatten(-2, (40, 2)).unflatten(-1, (32, 2)).mean((-1, -3), keepdim=True)
    pixelated = pixelated.expand(-1, -1, -1, 2, -1, 2).reshape(x.shape)
    assert blind(x, pixelated) < 1e-9
    per_band = seeing.per_band(x, pixelated)
    assert per_band[:-1].max() < 1e-9
    assert per_band[-1] > 1e-5
    # The new band has the network of any other, and two differences and squares in 3 colours at each pixel.
    one_band = (3 * 4 + 4 * 3) * 25 + 3 * 10 + 10 * 10
    assert seeing.info.operations == pytest.approx(blind.info.operations + one_band / 4 + 12)


def test_identical_images_have_distance_zero_with_finite_gradients(metric, random_images):
    x = random_images(2, 37, 41)
    y = x.clone().requires_grad_()
    value = metric(x, y)
    assert value.tolist() == [0.0, 0.0]
    value.sum().backward()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_layers_treat_equal_images_of_a_batch_alike_at_any_size(dtype):
    torch.manual_seed(0)
    layer = torch.nn.Linear(10, 10, dtype=dtype).requires_grad_(False)
    for positions in range(1, 60):
        features = torch.randn(1, 10, 1, positions, dtype=dtype)
        first, second = per_position(layer, features.repeat(2, 1, 1, 1))
        assert torch.equal(first, second)
        expected = layer(features[0, :, 0].T).T[:, None]
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-6)


def test_the_distance_is_symmetric_and_positive(metric, random_images):
    x, y = random_images(3, 37, 41, seed=1), random_images(3, 37, 41, seed=2)
    torch.testing.assert_close(metric(x, y), metric(y, x), rtol=1e-5, atol=0)
    assert (metric(x, y) > 0).all()


@pytest.mark.parametrize(("form", "power"), [("mean_square", 0.5), ("root_mean_square", 1.0)])
def test_the_root_of_pim1_and_the_distance_of_roots_obey_the_triangle_inequality(random_images, form, power):
    torch.manual_seed(5)
    metric = PIM(PIMConfig(filters=(6, 3), distance=form)).double().eval()
    images = [random_images(1, 33, 35, seed=s, dtype=torch.float64) for s in range(4)]
    norm = [[metric(a, b).pow(power).item() for b in images] for a in images]
    for a in range(4):
        for b in range(4):
            for c in range(4):
                assert norm[a][c] <= norm[a][b] + norm[b][c] + 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distance": "root_mean_square"},
        {"surround": 3},
        {"grouped": True},
        {"reduction": 2, "detail": True},
    ],
    ids=str,
)
def test_gradients_agree_with_finite_differences(options):
    torch.manual_seed(0)
    config = PIMConfig(scales=1, filters=(3, 2), latent=2, mean="linear", encoder_layers=0, **options)
    metric = PIM(config).double().requires_grad_(False)
    x, y = (torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda a, b: distance.over_bands(metric.per_band(a, b), None), (x, y), eps=1e-6, atol=1e-7
    )


def test_a_pair_has_the_same_distance_in_any_batch(metric, random_images):
    x, y = random_images(8, 40, 33, seed=1), random_images(8, 40, 33, seed=2)
    alone = torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(8)])
    rounding = 1e-6 if metric.config.mixtures == 1 else 1e-4  # log densities of near pairs cancel
    torch.testing.assert_close(metric(x, y), alone, rtol=rounding, atol=0)


@pytest.mark.parametrize("size", [(150, 131), (129, 260)])
def test_tiles_change_nothing(metric, random_images, monkeypatch, size):
    exact = copy.deepcopy(metric).double()
    x, y = random_images(1, *size, seed=1, dtype=torch.float64), random_images(1, *size, seed=2, dtype=torch.float64)
    with torch.no_grad():
        whole, whole_map = exact(x, y), exact(x, y, spatial=True)
        monkeypatch.setattr(model, "TILED", 1000)
        monkeypatch.setattr(tiled, "TILE", 48)
        monkeypatch.setattr(model, "KEEP", 1000)  # the reference is kept as an image
        assert exact._tiled(x)
        torch.testing.assert_close(exact(x, y), whole, rtol=1e-12, atol=0)
        torch.testing.assert_close(exact(exact.prepare(x), y), whole, rtol=1e-12, atol=0)
        torch.testing.assert_close(exact(x, y, spatial=True), whole_map, rtol=1e-9, atol=1e-12)


def test_a_prepared_reference_gives_the_distance_of_the_pair(metric, random_images):
    x, y = random_images(2, 45, 52, seed=1), random_images(2, 45, 52, seed=2)
    torch.testing.assert_close(metric(metric.prepare(x), y), metric(x, y), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "pooling",
    [
        {},
        {"distance": "root_mean_square"},
    ],
    ids=str,
)
def test_the_map_averages_to_the_distance(random_images, pooling):
    torch.manual_seed(1)
    weights = (0.0, 1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 0.1)
    metric = PIM(PIMConfig(filters=(4, 3), band_weights=weights, **pooling)).eval()
    x, y = random_images(2, 61, 45, seed=1), random_images(2, 61, 45, seed=2)
    spatial = metric(x, y, spatial=True)
    assert spatial.shape == (2, 1, 61, 45)
    torch.testing.assert_close(spatial.mean((1, 2, 3)), metric(x, y), rtol=1e-5, atol=0)


def test_a_map_of_identical_images_is_zero_and_has_a_finite_gradient(random_images):
    metric = PIM(PIMConfig(filters=(4, 3), distance="root_mean_square")).eval()
    x = random_images(1, 40, 40)
    y = x.clone().requires_grad_()
    spatial = metric(x, y, spatial=True)
    assert not spatial.any()
    spatial.sum().backward()
    assert torch.isfinite(y.grad).all()


@torch.no_grad()
@pytest.mark.parametrize("form", ["mean_square", "root_mean_square"])
def test_the_distance_of_a_band_is_the_mean_square_of_latent_differences_or_its_root(random_images, form):
    torch.manual_seed(1)
    weights = (0.0, 1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 0.1)
    metric = PIM(PIMConfig(filters=(4, 3), distance=form, band_weights=weights)).double().eval()
    x, y = (random_images(2, 61, 45, seed=s, dtype=torch.float64) for s in (1, 2))
    expected = []
    for p, q in zip(metric.latents(x), metric.latents(y), strict=True):
        square = np.square((p.means - q.means).numpy()).mean((1, 2, 3, 4))
        expected.append(square if form == "mean_square" else np.sqrt(square))
    np.testing.assert_allclose(metric.per_band(x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(metric(x, y), (np.array(weights)[:, None] * expected).mean(0), rtol=1e-12)


@pytest.mark.parametrize("name", ["pim-1", "pim-5", "pim"])
def test_every_step_of_the_formula_gives_the_value_of_the_metric(random_images, name):
    metric = pim.load(name)
    x, y = random_images(2, 61, 45, seed=1), random_images(2, 61, 45, seed=2)
    per_band = []
    with torch.no_grad():
        for i, (first, second) in enumerate(zip(metric.pyramid(x), metric.pyramid(y), strict=True)):
            p, q = metric.encode(i, first), metric.encode(i, second)
            places = distance.divergence(p, q, metric.noise(i, q.means))
            per_band.append(distance.over_positions([places], metric.config))
    weights = torch.tensor(metric.config.band_weights) if metric.config.band_weights else None
    value = distance.over_bands(torch.stack(per_band).float(), weights)
    torch.testing.assert_close(value, metric(x, y), rtol=1e-5, atol=0)


def test_divisive_normalisation_forgives_contrast_but_not_a_change_in_flat_surroundings(random_images):
    layer = DivisiveNormalisation(5).requires_grad_(False)
    layer.log_constant.fill_(np.log(0.01))
    band = random_images(1, 20, 24, dtype=torch.float64) - 0.5
    energy = layer.energy(band)
    inside = band[..., 8:13, 10:15].square().mean()
    torch.testing.assert_close(energy[0, 0, 10, 12], inside, rtol=1e-12, atol=0)
    corner = band[..., :3, :3].square().mean() * 9 / 25  # zeros beyond the border
    torch.testing.assert_close(energy[0, 0, 0, 0], corner, rtol=1e-12, atol=0)
    torch.testing.assert_close(layer(2 * band), layer(band), rtol=1e-2, atol=0)
    torch.testing.assert_close(layer(1e-6 * band), 1e-4 * band, rtol=1e-6, atol=0)


def test_each_picture_of_a_band_is_divided_by_its_own_surround(random_images):
    both = DivisiveNormalisation(5, 2, "replicate").requires_grad_(False)
    both.log_constant.copy_(torch.tensor([-3.0, -1.0]))
    band = torch.cat([random_images(1, 20, 24, seed=seed) - 0.5 for seed in (1, 2)], 1)
    for place, picture in enumerate(band.split(3, 1)):
        alone = DivisiveNormalisation(5, 1, "replicate").requires_grad_(False)
        alone.log_constant.copy_(both.log_constant[place])
        torch.testing.assert_close(both(band)[:, 3 * place : 3 * place + 3], alone(picture), rtol=1e-6, atol=0)


def test_the_map_is_bright_where_the_images_differ(random_images):
    torch.manual_seed(1)
    metric = PIM(PIMConfig(filters=(4, 3))).eval()
    x = random_images(1, 96, 96)
    y = x.clone()
    y[..., :32, 64:] = 1 - y[..., :32, 64:]
    spatial = metric(x, y, spatial=True)[0, 0]
    assert spatial[:32, 64:].mean() > 10 * spatial[64:, :32].mean()


def test_pooling_is_the_mean_over_bands_unless_they_are_weighted():
    per_band = torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    assert distance.over_bands(per_band, None).tolist() == [2.0, 2.0]
    assert distance.over_bands(per_band, torch.tensor([2.0, 0.0])).tolist() == [1.0, 4.0]


@pytest.mark.parametrize("size", [(5, 5), (7, 12), (40, 5), (101, 33)])
def test_a_band_map_is_spread_by_what_each_pixel_covers(size):
    band_map = torch.rand(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spread = maps.spread(band_map, size)
    fine = band_map.repeat_interleave(size[0], 1).repeat_interleave(size[1], 2)
    expected = fine.unflatten(1, (size[0], 5)).unflatten(3, (size[1], 4)).mean((2, 4))
    torch.testing.assert_close(spread, expected, rtol=1e-12, atol=0)


def test_settings_of_older_files_are_dropped_where_they_did_nothing_and_refused_where_they_did():
    old = {**PIMConfig().to_dict(), "block": 1, "band_power": 1.0, "band_floor": 1e-4}
    assert PIMConfig.from_dict(old) == PIMConfig()
    with pytest.raises(UsageError, match="block = 4 was a feature of an older version and is gone; train"):
        PIMConfig.from_dict({**old, "block": 4})
    with pytest.raises(UsageError, match="band_power"):
        PIMConfig.from_dict({**old, "band_power": 0.5})


@pytest.mark.parametrize(
    ("config", "side"),
    [
        (PIMConfig(), 32),
        (PIMConfig(pyramid="laplacian", scales=4, residual=False), 47),
        (PIMConfig(pyramid="laplacian", scales=5, padding="valid"), None),
        (PIMConfig(padding="valid", scales=2), None),
        (PIMConfig(padding="valid", scales=3, filter_set="sp5"), None),
    ],
)
def test_the_smallest_size_is_the_smallest_that_works(config, side):
    config = dataclasses.replace(config, filters=(2, 2, 2, 3))
    metric = PIM(config).eval()
    smallest = metric.info.min_size
    assert side is None or smallest == side
    x = torch.rand(1, 3, smallest, smallest + 3)
    assert torch.isfinite(metric(x, 1 - x)).all()
    with pytest.raises(InputError, match=f"at least {smallest} pixels"):
        metric(x[..., 1:, :], x[..., 1:, :])
    if smallest > 32:
        with pytest.raises(RuntimeError):
            metric.per_band(x[..., 1:, :], 1 - x[..., 1:, :]).sum()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3)])
def test_padding_same_works_for_images_smaller_than_every_filter(size):
    metric = PIM(PIMConfig(filters=(2, 3))).eval()
    x = torch.rand(1, 3, *size)
    assert torch.isfinite(metric.per_band(x, 1 - x)).all()


def test_copies_and_pickles_give_the_same_distance(metric, random_images):
    x, y = random_images(1, 40, 40, seed=1), random_images(1, 40, 40, seed=2)
    expected = metric(x, y)
    assert torch.equal(copy.deepcopy(metric)(x, y), expected)
    assert torch.equal(pickle.loads(pickle.dumps(metric))(x, y), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_autocast_and_inference_mode_change_nothing(metric, random_images, layout):
    x, y = random_images(1, 40, 40, seed=1), random_images(1, 40, 40, seed=2)
    expected = metric(x, y)
    x, y = x.to(memory_format=layout), y.to(memory_format=layout)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(metric(x, y), expected, rtol=1e-5, atol=0)


def test_the_same_input_gives_the_same_bits(metric, random_images):
    x, y = random_images(2, 64, 48, seed=1), random_images(2, 64, 48, seed=2)
    assert torch.equal(metric(x, y), metric(x, y))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    "options",
    [{}, {"surround": 5, "distance": "root_mean_square"}, {"reduction": 2, "detail": True}],
    ids=["published", "roots", "detail"],
)
def test_compiled_and_exported_metrics_agree_with_checks_on(random_images, options):
    torch.manual_seed(2)
    metric = PIM(PIMConfig(filters=(4, 3), **options)).eval().requires_grad_(False)
    x, y = random_images(1, 40, 40, seed=1), random_images(1, 40, 40, seed=2)
    expected = metric(x, y)
    compiled = torch.compile(metric, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, y), expected, rtol=1e-4, atol=0)  # other forms of the filters
    exported = torch.export.export(metric, (x, y)).module()
    torch.testing.assert_close(exported(x, y), expected, rtol=1e-4, atol=0)  # other forms of the filters
    with pytest.raises(RuntimeError, match="images must be finite"):
        exported(x, y + 2)


def test_a_gradient_of_the_distorted_image_alone_equals_that_of_the_pair(metric, random_images):
    x, y = random_images(1, 40, 40, seed=1), random_images(1, 40, 40, seed=2)
    one = y.clone().requires_grad_()
    metric(x, one).sum().backward()
    both_x, both_y = x.clone().requires_grad_(), y.clone().requires_grad_()
    metric(both_x, both_y).sum().backward()
    torch.testing.assert_close(one.grad, both_y.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("filters", "operations"), [((64, 64, 64, 3), 782_432), ((8, 8, 8, 3), 17_900)])
def test_the_cost_is_the_published_one(filters, operations):
    assert PIM(PIMConfig(filters=filters)).info.operations == pytest.approx(operations, rel=1e-4)


def test_a_saved_metric_is_loaded_as_it_was(random_images, tmp_path):
    torch.manual_seed(3)
    metric = PIM(PIMConfig(filters=(4, 3), distance="root_mean_square", band_weights=(1.0,) * 7 + (2.0,))).eval()
    metric.save(tmp_path / "mine.safetensors")
    loaded = pim.load(str(tmp_path / "mine.safetensors"))
    x, y = random_images(1, 40, 40, seed=1), random_images(1, 40, 40, seed=2)
    assert torch.equal(loaded(x, y), metric(x, y))
    assert (loaded.name, loaded.config) == ("mine", metric.config)
