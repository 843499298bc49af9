from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pim.errors import InputError
from pim.metrics import classics
from pim.metrics.classics import MSSSIM, PSNR, SSIM, psnr

METRICS = {"psnr_rgb": PSNR, "ssim_gauss11_rgb": SSIM, "msssim_rgb": MSSSIM}


@pytest.fixture(scope="module")
def baselines(shared):
    folder = shared / "golden" / "baselines"
    pairs = json.loads((folder / "baselines.json").read_text())["pairs"]

    def opened(name: str) -> torch.Tensor:
        with Image.open(folder / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        return torch.from_numpy(pixels.astype(np.float64) / 255).permute(2, 0, 1)

    references = torch.stack([opened(f"{name.split('_')[0]}_ref") for name in pairs])
    distorted = torch.stack([opened(f"{name.split('_')[0]}_ref" if name.endswith("_same") else name) for name in pairs])
    return references, distorted, pairs


@pytest.mark.development_data
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("key", METRICS)
def test_values_agree_with_the_package_that_codecs_quote(baselines, key, dtype) -> None:
    references, distorted, pairs = baselines
    values = METRICS[key]()(references.to(dtype), distorted.to(dtype))
    assert len(pairs) == 16
    for name, value in zip(pairs, values.tolist(), strict=True):
        want = math.inf if pairs[name][key] is None else pairs[name][key]
        assert value == pytest.approx(want, rel=0, abs=1e-5), name


@pytest.mark.development_data
def test_ssim_agrees_with_scikit_image_to_all_stored_digits(baselines) -> None:
    references, distorted, pairs = baselines
    values = SSIM()(references, distorted)
    want = [pair["ssim_skimage_gauss_rgb"] for pair in pairs.values()]
    np.testing.assert_allclose(values, want, rtol=0, atol=1e-7)


def _slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Window by window, one channel at a time."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for channel in range(3):
        for top in range(x.shape[1] - 10):
            for left in range(x.shape[2] - 10):
                a, b = (image[channel, top : top + 11, left : left + 11] for image in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(luminance * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(values))


def test_ssim_is_the_published_formula(random_images) -> None:
    a, b = random_images(2, 14, 19, dtype=torch.float64), random_images(2, 14, 19, seed=1, dtype=torch.float64)
    want = [_slow_ssim(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(SSIM()(a, b), want, rtol=1e-6)


def test_psnr_is_the_usual_definition() -> None:
    a = torch.zeros(3, 3, 4, 5)
    b = torch.stack([torch.full((3, 4, 5), level) for level in (1.0, 0.1, 0.5)])
    torch.testing.assert_close(psnr(a, b), torch.tensor([0.0, 20.0, 6.0206]))
    assert str(psnr(a, b)[0].item()) == "0.0"


def test_psnr_of_identical_images_is_infinite_and_of_others_in_the_batch_is_not(random_images) -> None:
    a, b = random_images(2, 8, 9), random_images(2, 8, 9, seed=1)
    b[0] = a[0]
    values = PSNR()(a, b)
    assert values[0] == math.inf
    assert values[1] == PSNR()(a[1:], b[1:])[0]


@pytest.mark.parametrize("metric", [SSIM(), MSSSIM()], ids=lambda metric: metric.name)
def test_similarity_of_identical_images_is_exactly_one(random_images, metric) -> None:
    image = random_images(2, 161, 170)
    assert metric(image, image.clone()).tolist() == [1.0, 1.0]


def _special_pairs(random_images):
    noise, black = random_images(1, 161, 170), torch.zeros(1, 3, 161, 170)
    near = noise.clone()
    near[0, 0, 80, 80] += 1e-3
    return {
        "identical": (noise, noise),
        "both black": (black, black),
        "both white": (black + 1, black + 1),
        "black and noise": (black, noise),
        "black and white": (black, black + 1),
        "flat": (black + 0.5, black + 0.6),
        "one pixel": (noise, near),
        "below float rounding": (black, black + 3e-20),
        "inverse": (noise, 1 - noise),
    }


@pytest.mark.parametrize("metric", [PSNR(), SSIM(), MSSSIM()], ids=lambda metric: metric.name)
def test_gradients_are_finite_for_every_special_pair(random_images, metric) -> None:
    for name, (a, b) in _special_pairs(random_images).items():
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        metric(a, b).sum().backward()
        assert bool(a.grad.isfinite().all()), name
        assert bool(b.grad.isfinite().all()), name


@pytest.mark.parametrize("metric", [PSNR(), SSIM(), MSSSIM()], ids=lambda metric: metric.name)
def test_values_are_symmetric_keep_their_type_and_lie_in_the_stated_range(random_images, metric) -> None:
    low, high = metric.info.value_range
    for name, (a, b) in _special_pairs(random_images).items():
        value = metric(a, b)
        assert value.dtype == torch.float32
        assert metric(a.double(), b.double()).dtype == torch.float64
        torch.testing.assert_close(value, metric(b, a), rtol=1e-6, atol=1e-7)
        assert low <= float(value) <= high, name


@pytest.mark.parametrize("metric", [SSIM(), MSSSIM()], ids=lambda metric: metric.name)
def test_images_too_small_for_the_window_are_refused(random_images, metric) -> None:
    side = metric.info.min_size
    enough, small = random_images(1, side, side + 4), random_images(1, side + 4, side - 1)
    assert metric(enough, enough.flip(-1)).shape == (1,)
    with pytest.raises(InputError, match=f"at least {side} pixels for {metric.name}"):
        metric(small, small)


@pytest.mark.parametrize("metric", [PSNR(), SSIM(), MSSSIM()], ids=lambda metric: metric.name)
def test_a_pair_of_two_precisions_is_computed_in_the_wider_one(random_images, metric) -> None:
    wide, narrow = random_images(1, 161, 162, dtype=torch.float64), random_images(1, 161, 162, seed=1)
    for a, b in ((wide, narrow), (narrow, wide)):
        value = metric(a, b)
        assert value.dtype == torch.float64
        assert torch.equal(value, metric(a.double(), b.double()))


@pytest.mark.parametrize("metric", [SSIM(), MSSSIM()])
@pytest.mark.parametrize("size", [(200, 333), (181, 176)])
def test_tiles_change_neither_value_nor_gradient(random_images, monkeypatch, metric, size) -> None:
    reference, noise = random_images(2, *size), random_images(2, *size, seed=1)
    distorted = (0.8 * reference + 0.2 * noise).requires_grad_()
    whole = metric(reference, distorted)
    (slope,) = torch.autograd.grad(whole.sum(), distorted)
    monkeypatch.setattr(classics, "TILED", 1000)
    monkeypatch.setattr(classics, "TILE", 64)
    tiled = metric(reference, distorted)
    torch.testing.assert_close(tiled, whole, rtol=1e-6, atol=0)
    (tiled_slope,) = torch.autograd.grad(tiled.sum(), distorted)
    torch.testing.assert_close(tiled_slope, slope, rtol=1e-3, atol=1e-9)


def test_ms_ssim_is_that_of_the_package(random_images) -> None:
    from pytorch_msssim import ms_ssim

    reference, noise = random_images(2, 177, 182).double(), random_images(2, 177, 182, seed=1).double()
    distorted = 0.7 * reference + 0.3 * noise
    want = ms_ssim(reference, distorted, data_range=1, size_average=False)
    torch.testing.assert_close(MSSSIM()(reference, distorted), want, rtol=1e-5, atol=0)  # its window is float32
