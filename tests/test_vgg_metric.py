"""Properties of the VGG metric, on random and on real layers."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TORCH
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export import Dim
from vgg_cases import OXFORD12, RANDOM, golden_vgg, random_metric

from pim.errors import InputError, UsageError
from vggmetric import Head, VGGMetric, embedding
from vggmetric import metric as vgg
from vggmetric.features import STRIDES, TAPS, halved, operations, reach
from vggmetric.head import uniform

SIZES = [(16, 16), (17, 31), (31, 17), (32, 40), (53, 37), (32, 32), (48, 33), (19, 50)]


def images(count: int, height: int, width: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(seed=st.integers(0, 10_000), height=st.integers(2, 20), width=st.integers(2, 20), scale=st.floats(1e-3, 1))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_it_is_a_squared_distance(seed: int, height: int, width: int, scale: float) -> None:
    metric = random_metric(last=4)
    x, y, z = images(3, height, width, seed)[:, None]
    y = x + scale * (y - x)
    with torch.no_grad():
        assert metric(x, x.clone()).item() == 0
        assert metric(x, y).item() > 0  # the pixels have a weight
        torch.testing.assert_close(metric(x, y), metric(y, x), rtol=1e-5, atol=0)
        direct, detour = metric(x, z).sqrt(), metric(x, y).sqrt() + metric(y, z).sqrt()
    assert direct <= detour * (1 + 1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_no_value_depends_on_what_torch_makes_by_default(dtype: torch.dtype) -> None:
    x, y = images(1, 64, 64, 0), images(1, 64, 64, 1)
    head = uniform(RANDOM)
    head = replace(head, weights=dict(list(head.weights.items())[:4]))
    with torch.no_grad():
        want = VGGMetric(head)(x, y)
        torch.set_default_dtype(dtype)
        try:
            with torch.device("meta"):
                found = VGGMetric(head)(x, y)
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(found, want)


def test_vmap_gives_the_values_of_single_pairs() -> None:
    x, y = images(2, 48, 40, 0), images(2, 48, 40, 1)
    torch.testing.assert_close(torch.vmap(random_metric(last=4))(x, y), random_metric(last=4)(x, y))


@pytest.mark.parametrize("norm", ["unit", "none"])
@pytest.mark.parametrize("pool", ["max", "l2"])
def test_identical_images_have_distance_and_gradient_zero(norm: str, pool: str) -> None:
    x = images(2, 37, 41, 0)
    y = x.clone().requires_grad_()
    distance = random_metric(norm=norm, pool=pool)(x, y)
    assert distance.tolist() == [0, 0]
    distance.sum().backward()
    assert not y.grad.any()


@pytest.mark.parametrize("pool", ["max", "l2"])
def test_gradients_are_finite_where_every_channel_is_dark(pool: str) -> None:
    metric = copy.deepcopy(random_metric(pool=pool, last=4))
    for convolution in metric.embedding.network.convolutions:
        convolution.bias.fill_(-1)  # black gives 0 in every channel
        convolution.weight.abs_()
    metric.embedding.network.mean.zero_()
    black = torch.zeros(1, 3, 32, 32, requires_grad=True)
    photo = images(1, 32, 32, 1).requires_grad_()
    metric(black, photo).backward()
    assert torch.isfinite(black.grad).all()
    assert torch.isfinite(photo.grad).all()
    assert photo.grad.any()


def test_gradients_agree_with_finite_differences() -> None:
    metric = copy.deepcopy(random_metric(last=4)).double()
    x, y = (images(1, 16, 16, seed, torch.float64)[..., :12].requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: metric(a, b), (x, y), eps=1e-6, atol=1e-7, fast_mode=True)


def test_descending_brings_a_noisy_image_back() -> None:
    metric = random_metric(last=2)
    x = images(1, 16, 16, 0)
    y = (x + 0.1 * (images(1, 16, 16, 1) - 0.5)).clamp(0, 1).requires_grad_()
    before = (x - y).square().mean().item()
    optimiser = torch.optim.Adam([y], lr=3e-3)
    for _ in range(25):
        optimiser.zero_grad()
        metric(x, y.clamp(0, 1)).sum().backward()
        optimiser.step()
    assert (x - y).square().mean().item() < before / 4


def test_a_pair_has_the_same_distance_in_any_batch() -> None:
    metric, x, y = random_metric(), images(3, 40, 33, 1), images(3, 40, 33, 2)
    alone = torch.stack([metric(a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(metric(x, y), alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_prepared_reference_gives_the_bits_of_the_pair(gradients: bool) -> None:
    metric, x, y = random_metric(), images(2, 45, 52, 1), images(2, 45, 52, 2)
    with torch.set_grad_enabled(gradients):
        fixed = metric.prepare(x)
        assert fixed.features.units is not None
        assert torch.equal(metric(fixed, y), metric(x, y))
        assert torch.equal(metric(fixed, y, spatial=True), metric(x, y, spatial=True))
        assert metric(fixed, x).tolist() == [0, 0]


def test_a_reference_is_analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, x = random_metric(last=4), images(1, 32, 32, 1)
    fixed, calls = metric.prepare(x), []
    forward = metric.embedding.network.forward
    monkeypatch.setattr(metric.embedding.network, "forward", lambda *a: calls.append(a) or forward(*a))
    for seed in (2, 3):
        metric(fixed, images(1, 32, 32, seed))
    assert len(calls) == 2
    assert not any(torch.equal(image, x) for image, _ in calls)


def test_half_precision_halves_what_is_kept_of_a_reference() -> None:
    metric, x, y = copy.deepcopy(random_metric()), images(1, 48, 48, 1), images(1, 48, 48, 2)
    whole = metric(x, y)
    before = sum(units.nbytes for units in metric.prepare(x).features.units.values())
    metric.embedding.cache_dtype = torch.float16
    fixed = metric.prepare(x)
    assert sum(units.nbytes for units in fixed.features.units.values()) == before / 2
    torch.testing.assert_close(metric(fixed, y), whole, rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_maps_average_to_the_distance(size: tuple[int, int]) -> None:
    metric, x, y = random_metric(), images(1, *size, 1), images(1, *size, 2)
    with torch.no_grad():
        whole = metric(x, y)
        spatial = metric(x, y, spatial=True)
        layers, maps = metric.per_layer(x, y), dict(metric.layer_maps(x, y))
    assert spatial.shape == (1, 1, *size)
    assert (spatial >= 0).all()
    torch.testing.assert_close(spatial.mean((1, 2, 3)), whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.stack(list(layers.values())).sum(0), whole, rtol=1e-6, atol=0)
    assert tuple(maps) == tuple(layers) == TAPS
    for tap, tap_map in maps.items():
        torch.testing.assert_close(tap_map.mean((1, 2, 3)), layers[tap], rtol=2e-6, atol=0)
    torch.testing.assert_close(torch.stack(list(maps.values())).sum(0), spatial, rtol=1e-5, atol=1e-7)


def test_the_map_is_bright_where_the_images_differ() -> None:
    x = images(1, 96, 96, 0)
    y = x.clone()
    y[..., :32, 64:] = 1 - y[..., :32, 64:]
    spatial = random_metric(last=4)(x, y, spatial=True)[0, 0]
    assert spatial[:32, 64:].mean() > 10 * spatial[64:, :32].mean()


@pytest.mark.parametrize(("pixels", "positions"), [(7, 7), (16, 1), (17, 8), (70, 4), (53, 26)])
def test_the_overlap_keeps_means_and_constants(pixels: int, positions: int) -> None:
    shares = vgg.overlap(pixels, positions)
    whole = torch.full((pixels,), pixels / positions, dtype=torch.float64)
    torch.testing.assert_close(shares.sum(1), torch.ones(pixels, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(0), whole[:positions])
    slow = [
        [
            pixels * max(0, min((i + 1) / pixels, (j + 1) / positions) - max(i / pixels, j / positions))
            for j in range(positions)
        ]
        for i in range(pixels)
    ]
    torch.testing.assert_close(shares, torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize(("size", "pool"), [((250, 16), "max"), ((17, 270), "l2")])
def test_tiles_change_nothing(size: tuple[int, int], pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, x, y = random_metric(pool=pool), images(1, *size, 1), images(1, *size, 2)
    with torch.no_grad():
        whole, kept = metric.per_layer(x, y), metric.prepare(x)
        monkeypatch.setattr(embedding, "TILED", 1000)
        monkeypatch.setattr(embedding, "TILE", 64)
        fixed = metric.prepare(x)
        assert fixed.features.units is None
        for tap, share in metric.per_layer(fixed, y).items():
            torch.testing.assert_close(share, whole[tap], rtol=3e-6, atol=0)
        torch.testing.assert_close(metric(kept, y), sum(whole.values()), rtol=1e-6, atol=0)


def test_maps_of_tiles_are_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, x, y = random_metric(last=4), images(1, 210, 50, 1), images(1, 210, 50, 2)
    with torch.no_grad():
        whole = metric(x, y, spatial=True)
        monkeypatch.setattr(embedding, "TILED", 1000)
        monkeypatch.setattr(embedding, "TILE", 48)
        torch.testing.assert_close(metric(x, y, spatial=True), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("tap", "pool", "pixels"), [("relu1_2", "max", 2), ("relu2_2", "max", 6), ("relu3_1", "l2", 13)]
)
def test_the_reach_of_a_tap_is_as_far_as_a_pixel_matters(tap: str, pool: str, pixels: int) -> None:
    assert reach(tap, pool) == pixels
    network = copy.deepcopy(random_metric(pool=pool).embedding.network).double()
    x = images(1, 8, 64, 0, torch.float64)
    whole = dict(network(x, tap))[tap]
    tile = slice(32 // STRIDES[tap], 48 // STRIDES[tap])
    for kept, changes in ((pixels, False), (pixels - 1, True)):
        y = torch.zeros_like(x)
        y[..., 32 - kept : 48 + kept] = x[..., 32 - kept : 48 + kept]
        found = dict(network(y, tap))[tap]
        assert torch.equal(found[..., tile], whole[..., tile]) != changes


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, x, y = random_metric(last=4), images(2, 41, 38, 1), images(2, 41, 38, 2)
    whole = metric(x, y)
    monkeypatch.setattr(embedding, "STRIP", 5000)
    with torch.no_grad():
        torch.testing.assert_close(metric(x, y), whole, rtol=1e-6, atol=0)


def test_copies_and_pickles_give_the_same_distance() -> None:
    metric, x, y = random_metric(), images(1, 40, 40, 1), images(1, 40, 40, 2)
    want = metric(x, y)
    assert torch.equal(copy.deepcopy(metric)(x, y), want)
    assert torch.equal(pickle.loads(pickle.dumps(metric))(x, y), want)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_autocast_and_inference_mode_change_nothing(layout: torch.memory_format) -> None:
    metric, x, y = random_metric(), images(1, 40, 40, 1), images(1, 40, 40, 2)
    want = metric(x, y)
    x, y = x.to(memory_format=layout), y.to(memory_format=layout)
    odd = x.permute(0, 2, 3, 1)[0].clone().permute(2, 0, 1)[None]  # equal values, another stride of the batch
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(metric(x, y), want, rtol=1e-5, atol=0)
        assert metric(x, odd).item() == 0


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_metric_agrees() -> None:
    metric, x, y = random_metric(last=4), images(2, 40, 48, 1), images(2, 40, 48, 2)
    want = metric(x, y)
    compiled = torch.compile(metric, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, y), want, rtol=1e-6, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, y), want, rtol=1e-6, atol=0)


@pytest.mark.skipif(TORCH < (2, 14), reason="the exporter of torch 2.10 binds an export to even sizes; 2.14 is tested")
def test_an_exported_metric_takes_any_batch_and_size() -> None:
    metric, x, y = random_metric(last=4), images(2, 40, 48, 1), images(2, 40, 48, 2)
    want = metric(x, y)
    sizes = {0: Dim("n", min=1, max=64), 2: Dim("h", min=16, max=4096), 3: Dim("w", min=16, max=4096)}
    exported = torch.export.export(metric, (x, y), dynamic_shapes={"reference": sizes, "distorted": sizes}).module()
    torch.testing.assert_close(exported(x, y), want, rtol=1e-6, atol=0)
    x, y = images(3, 37, 50, 3), images(3, 37, 50, 4)
    torch.testing.assert_close(exported(x, y), metric(x, y), rtol=1e-6, atol=0)


def test_a_reference_without_gradient_costs_no_graph() -> None:
    metric, x = random_metric(last=4), images(1, 40, 40, 1)
    y = images(1, 40, 40, 2).requires_grad_()
    metric(x, y).backward()
    both_x, both_y = x.clone().requires_grad_(), y.detach().clone().requires_grad_()
    metric(both_x, both_y).backward()
    torch.testing.assert_close(y.grad, both_y.grad, rtol=1e-5, atol=1e-9)
    assert not any(parameter.requires_grad for parameter in metric.parameters())
    assert metric.train().training  # and still nothing changes
    torch.testing.assert_close(metric.eval()(x, y), metric.train()(x, y), rtol=0, atol=0)
    metric.eval()


@pytest.mark.parametrize(("tap", "side"), [("relu1_2", 1), ("relu2_2", 2), ("relu3_1", 4), ("relu5_1", 16)])
def test_too_small_an_image_is_refused_and_the_smallest_works(tap: str, side: int) -> None:
    metric = VGGMetric(Head("rand447", {tap: torch.ones(1)}))
    assert metric.info.min_size == side
    assert torch.isfinite(metric(images(1, side, side + 3, 0), images(1, side, side + 3, 1))).all()
    if side > 1:
        small = images(1, side - 1, 40, 0)
        with pytest.raises(InputError, match=f"at least {side} pixels for vgg"):
            metric(small, small)
        first = next(t for t in TAPS if t.startswith(f"relu{tap[4]}"))
        with pytest.raises(InputError, match=f"at least {side} pixels for {first}; got 40 x {side - 1}"):
            metric.embedding.differences(small, small, (tap,))


def test_layers_without_weight_are_not_computed() -> None:
    head = replace(uniform(RANDOM), weights={tap: torch.tensor([float(tap == "relu1_2")]) for tap in TAPS})
    metric = VGGMetric(head)
    assert metric.info.min_size == 1
    assert metric.info.operations == operations("relu1_2") == 9 * 64 * (3 + 64)
    assert list(metric.per_layer(images(1, 9, 9, 0), images(1, 9, 9, 1))) == ["relu1_2"]
    assert operations("relu5_3") == pytest.approx(306e3, rel=0.01)


def test_l2_pooling_is_the_root_of_a_weighted_mean_of_squares() -> None:
    features = images(2, 7, 10, 3, torch.float64)
    found = halved(features, "l2")
    assert found.shape == (2, 3, 3, 5)
    weights = [0.25, 0.5, 0.25]
    for row, column in ((0, 0), (1, 2), (2, 4)):
        total = torch.zeros(2, 3, dtype=torch.float64)
        for i, a in enumerate(weights):
            for j, b in enumerate(weights):
                r, c = 2 * row + i - 1, 2 * column + j - 1
                if 0 <= r < 7 and 0 <= c < 10:
                    total += a * b * features[:, :, r, c] ** 2
        torch.testing.assert_close(found[:, :, row, column], (total + 1e-12).sqrt())


def test_eps_stands_inside_the_root() -> None:
    features = torch.zeros(1, 64, 2, 3, dtype=torch.float64)
    features[:, 5] = 1e-5  # its square is eps
    unit = random_metric().embedding.normalise("relu1_1", features)
    torch.testing.assert_close(unit[:, 5], torch.full((1, 2, 3), 0.5**0.5, dtype=torch.float64))
    assert not unit[:, 6:].any()


def test_without_normalisation_features_are_divided_by_their_scales() -> None:
    x, y = images(1, 20, 20, 0), images(1, 20, 20, 1)
    weights = {"relu1_1": torch.ones(1), "relu2_2": torch.ones(1)}
    plain = VGGMetric(Head(RANDOM, weights, norm="none")).per_layer(x, y)
    scaled = VGGMetric(Head(RANDOM, weights, norm="none", scales={"relu2_2": 4.0})).per_layer(x, y)
    torch.testing.assert_close(scaled["relu1_1"], plain["relu1_1"])
    torch.testing.assert_close(scaled["relu2_2"], plain["relu2_2"] / 16)


def test_a_reference_prepared_with_another_head_is_refused() -> None:
    x = images(1, 20, 20, 0)
    other = VGGMetric(Head(RANDOM, {"relu1_1": torch.ones(1)}))
    with pytest.raises(UsageError, match="was prepared by vgg@"):
        other(random_metric(last=4).prepare(x), x)


@pytest.mark.development_data
def test_a_blank_picture_against_a_photo_has_finite_gradients_on_real_layers(shared: Path) -> None:
    metric = VGGMetric(uniform("oxford12"), backbone=shared / OXFORD12)
    photo = torch.from_numpy(golden_vgg(shared)["a_ref"]).permute(2, 0, 1)[None].float() / 255
    for level in (0.0, 1.0):
        blank = torch.full_like(photo, level).requires_grad_()
        metric(photo, blank).backward()
        assert torch.isfinite(blank.grad).all()
        assert blank.grad.any()


def test_a_state_dict_is_whole_and_another_head_does_not_load_in_silence() -> None:
    metric, other = copy.deepcopy(random_metric(last=4)), copy.deepcopy(random_metric(last=4))
    x, y = images(1, 32, 33, 0), images(1, 32, 33, 1)
    with torch.no_grad():
        for weights in metric._weights().values():
            weights.mul_(3)
    assert not torch.equal(metric(x, y), other(x, y))
    other.load_state_dict(metric.state_dict())
    assert torch.equal(metric(x, y), other(x, y))
    lacking = {name: tensor for name, tensor in metric.state_dict().items() if not name.startswith("weights_")}
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(lacking)


def test_a_saved_head_is_the_metric_that_was_saved(tmp_path: Path) -> None:
    metric = copy.deepcopy(random_metric(last=4))
    with torch.no_grad():
        for weights in metric._weights().values():
            weights.mul_(3)
    metric.save(tmp_path / "mine.safetensors")
    x, y = images(1, 32, 33, 0), images(1, 32, 33, 1)
    torch.testing.assert_close(VGGMetric.from_head(tmp_path / "mine.safetensors")(x, y), metric(x, y))
