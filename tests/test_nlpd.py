from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from pim.errors import InputError, UsageError
from pim.metrics import nlpd as module
from pim.metrics.nlpd import DISPLAY_GAMMA, LOWPASS, NLPD, POOL, luminance, nlpd, smallest_side, subbands

CASES = ["gray_65x83", "rgb_66x70", "rgb_64x64_5levels", "noise_70x72"]
FORMS = {"nlpd": nlpd, "nlpd_fast": partial(nlpd, fast=True)}


def _case(golden, case, dtype):
    data = golden("nlpd")
    a, b = (torch.from_numpy(data[f"{case}/{which}"]).to(dtype).requires_grad_() for which in "ab")
    return data, a, b, int(data[f"{case}/num_levels"])


def _relative(got, want) -> float:
    want = np.asarray(want, np.float64)
    return float(np.linalg.norm(got.detach().double().numpy() - want) / np.linalg.norm(want))


def test_constants_are_those_of_the_public_code(golden) -> None:
    data = golden("nlpd")
    np.testing.assert_array_equal(POOL, data["param/pool_5x5"])
    np.testing.assert_array_equal(LOWPASS, data["param/lowpass_1d"])
    assert float(data["param/display_gamma"]) == DISPLAY_GAMMA


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_match_the_public_code_in_float64(golden, case, form) -> None:
    data, a, b, levels = _case(golden, case, torch.float64)
    value = FORMS[form](a, b, levels)
    torch.testing.assert_close(value.detach(), torch.from_numpy(data[f"{case}/{form}"]), rtol=1e-12, atol=0)
    if f"{case}/{form}_grad_a" in data:
        value.sum().backward()
        for image, which in ((a, "a"), (b, "b")):
            want = data[f"{case}/{form}_grad_{which}"]
            np.testing.assert_allclose(image.grad, want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_match_the_public_code_in_float32(golden, case, form) -> None:
    data, a, b, levels = _case(golden, case, torch.float32)
    value = FORMS[form](a, b, levels)
    np.testing.assert_allclose(value.detach(), data[f"{case}/{form}"], rtol=1e-4)
    if f"{case}/{form}_grad_a" in data:
        value.sum().backward()
        assert _relative(a.grad, data[f"{case}/{form}_grad_a"]) < 2e-3
        assert _relative(b.grad, data[f"{case}/{form}_grad_b"]) < 2e-3


@pytest.mark.parametrize(("form", "front"), [("nlpd", luminance), ("fast", lambda image: image)])
def test_every_subband_matches_the_public_code(golden, form, front) -> None:
    data, a, _, levels = _case(golden, "gray_65x83", torch.float64)
    bands = subbands(front(a.detach()), levels)
    assert len(bands) == 6
    for k, band in enumerate(bands):
        want = data[f"gray_65x83/subband_{form}.{k}"]
        np.testing.assert_allclose(band, want, rtol=0, atol=1e-6 * np.abs(want).max(), err_msg=f"band {k}")


def test_metric_is_the_channel_mean_of_the_images_times_255(golden) -> None:
    data, a, b, _ = _case(golden, "rgb_66x70", torch.float64)
    value = NLPD()(a.detach() / 255, b.detach() / 255)
    torch.testing.assert_close(value, torch.from_numpy(data["rgb_66x70/nlpd"].mean(1)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_images_give_exactly_zero_and_finite_gradients(random_images, dtype) -> None:
    metric = NLPD()
    for image in (random_images(2, 65, 67, dtype=dtype), torch.zeros(1, 3, 65, 67, dtype=dtype)):
        a, b = image.clone().requires_grad_(), image.clone().requires_grad_()
        with torch.autograd.set_detect_anomaly(True):
            value = metric(a, b)
            value.sum().backward()
        assert value.tolist() == [0.0] * len(image)
        assert bool(a.grad.isfinite().all())
        assert bool(b.grad.isfinite().all())


def test_gradient_is_finite_and_not_zero_where_only_one_pixel_differs(random_images) -> None:
    a = random_images(1, 65, 67)
    b = a.clone()
    b[0, 1, 30, 40] += 1e-3
    b.requires_grad_()
    NLPD()(a, b).sum().backward()
    assert bool(b.grad.isfinite().all())
    assert float(b.grad[0, 1].abs().max()) > 0
    assert float(b.grad[0, 0].abs().max()) == 0


def test_distance_is_symmetric_to_the_bit(random_images) -> None:
    a, b = random_images(2, 65, 70), random_images(2, 65, 70, seed=1)
    assert torch.equal(NLPD()(a, b), NLPD()(b, a))


def test_distance_grows_with_noise(random_images) -> None:
    a, noise = random_images(1, 70, 66), random_images(1, 70, 66, seed=1) - 0.5
    values = [float(NLPD()(a, (a + strength * noise).clamp(0, 1))) for strength in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert values == sorted(values)
    assert len(set(values)) == len(values)


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (255 * torch.rand(2, 1, 9, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    a.requires_grad_()
    b.requires_grad_()
    for form in FORMS.values():
        assert torch.autograd.gradcheck(lambda x, y, f=form: f(x, y, 3), (a, b))


def test_values_slightly_below_black_are_black(random_images) -> None:
    a = random_images(1, 65, 65)
    below, black = a.clone(), a.clone()
    below[..., 20:30, 20:30], black[..., 20:30, 20:30] = -1e-3, 0
    below.requires_grad_()
    value = NLPD()(a, below)
    value.backward()
    assert torch.equal(value, NLPD()(a, black))
    assert bool(below.grad.isfinite().all())


@pytest.mark.parametrize("levels", [2, 3, 5, 6])
def test_the_smallest_side_works_and_one_pixel_less_is_refused(levels) -> None:
    side = smallest_side(levels)
    image = torch.full((1, 2, side, side + 9), 100.0)
    assert nlpd(image, image + 1, levels).shape == (1, 2)
    with pytest.raises(InputError, match=f"at least {side} pixels for {levels} levels; got {side + 9} x {side - 1}"):
        nlpd(image[..., 1:, :], image[..., 1:, :], levels)


def test_one_level_compares_the_images_themselves() -> None:
    a, b = torch.tensor([[[[2.0]]]]), torch.tensor([[[[8.0]]]])
    want = 8 / 12.86 - 2 / 6.86
    assert float(nlpd(a, b, levels=1, fast=True)) == pytest.approx(want, rel=1e-6)
    with pytest.raises(InputError, match="levels must be at least 1; got 0"):
        nlpd(a, b, levels=0, fast=True)


def test_unlike_shapes_are_refused_instead_of_broadcast() -> None:
    with pytest.raises(InputError, match=r"got \(1, 3, 65, 65\) and \(2, 3, 65, 65\)"):
        nlpd(torch.zeros(1, 3, 65, 65), torch.zeros(2, 3, 65, 65))


def test_there_is_no_spatial_map_because_none_averages_to_the_value(random_images) -> None:
    image = random_images(1, 65, 65)
    with pytest.raises(UsageError, match="nlpd has no spatial map"):
        NLPD()(image, image, spatial=True)


@pytest.mark.parametrize("size", [(130, 145), (99, 68)])
def test_tiles_change_neither_value_nor_gradient(random_images, monkeypatch, size) -> None:
    metric, reference = NLPD(), random_images(2, *size)
    distorted = (0.8 * reference + 0.2 * random_images(2, *size, seed=1)).requires_grad_()
    whole = metric(reference, distorted)
    (slope,) = torch.autograd.grad(whole.sum(), distorted)
    monkeypatch.setattr(module, "TILED", 1000)
    monkeypatch.setattr(module, "TILE", 32)
    tiled = metric(reference, distorted)
    torch.testing.assert_close(tiled, whole, rtol=1e-6, atol=0)
    (tiled_slope,) = torch.autograd.grad(tiled.sum(), distorted)
    torch.testing.assert_close(tiled_slope, slope, rtol=1e-3, atol=1e-9)
    prepared = metric.prepare(reference)
    assert torch.equal(metric(prepared, distorted), tiled)
    assert torch.equal(metric.compare(prepared, metric.prepare(distorted.detach())), tiled)
