"""Everything that computes on a device, on one that has no float64 and counts what crosses to the host."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from accelerator import DEVICE, Accelerator, OnDevice
from textures import similarity, texture

import pim
from pim import PIM, PIMConfig
from pim.core.device import accumulation, exact
from pim.datasets.crops import Crops, CropSettings
from pim.pim.training import loop
from pim.pim.training.settings import TrainSettings


@pytest.fixture
def accelerator():
    with Accelerator() as active:
        yield active


def _pair(random_images, size=(72, 80)):
    return random_images(2, *size, seed=1), random_images(2, *size, seed=2)


def test_the_accelerator_is_one(accelerator):
    x = torch.rand(3, 4).to(DEVICE)
    assert isinstance(x, OnDevice)
    assert x.device.type == DEVICE
    y = torch.arange(4, device=DEVICE) * x
    assert (accelerator.to_device, accelerator.synchronisations) == (1, 0)
    assert float(y.sum()) > 0
    assert y.cpu().tolist() == (torch.arange(4) * x.cpu()).tolist()
    assert accelerator.synchronisations == 3
    with pytest.raises(TypeError, match="no float64"):
        x.double()
    with pytest.raises(RuntimeError, match="on the accelerator"):
        x + torch.rand(3, 4)


@pytest.mark.parametrize("name", ["pim", "a mixture"])
def test_scores_maps_and_gradients_are_those_of_the_cpu_and_one_call_waits_once(accelerator, random_images, name):
    x, y = _pair(random_images)
    torch.manual_seed(0)
    mixture = PIM(PIMConfig(filters=(4, 3), mixtures=2)).eval().requires_grad_(False)
    metric = mixture if name == "a mixture" else pim.load(name)
    want, want_map = metric(x, y), metric(x, y, spatial=True)
    at = y.clone().requires_grad_()
    (want_gradient,) = torch.autograd.grad(metric(x, at).sum(), at)
    metric = metric.to(DEVICE)
    x, y = x.to(DEVICE), y.to(DEVICE)
    for spatial, wanted in ((False, want), (True, want_map)):
        accelerator.reset()
        value = metric(x, y, spatial=spatial)
        assert (accelerator.to_device, accelerator.synchronisations) == (0, 1)  # the check of the range
        torch.testing.assert_close(value.cpu(), wanted, rtol=1e-4, atol=1e-6)
    at = y.clone().requires_grad_()
    accelerator.reset()
    (gradient,) = torch.autograd.grad(metric(x, at).sum(), at)
    assert (accelerator.to_device, accelerator.synchronisations) == (0, 1)
    assert (gradient.cpu() - want_gradient).norm() < 1e-3 * want_gradient.norm()
    prepared = metric.prepare(x)
    torch.testing.assert_close(metric(prepared, y).cpu(), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ssim", "ms-ssim", "nlpd", "psnr"])
def test_classics_need_no_float64_there(accelerator, random_images, name):
    x, y = _pair(random_images, (176, 180))
    want = pim.load(name)(x, y)
    torch.testing.assert_close(pim.load(name)(x.to(DEVICE), y.to(DEVICE)).cpu(), want, rtol=1e-4, atol=1e-6)


def test_a_loss_is_calibrated_and_descends_there(accelerator, random_images):
    x, y = _pair(random_images)
    torch.manual_seed(0)
    metric = PIM(PIMConfig(filters=(4, 3), distance="root_mean_square")).eval().requires_grad_(False)
    want = pim.loss.Distortion(metric).calibrate(x, y).calibration
    loss = pim.loss.Distortion(metric, jitter=3).to(DEVICE)
    x, y = x.to(DEVICE), y.to(DEVICE)
    np.testing.assert_allclose(loss.calibrate(x, y).calibration, want, rtol=1e-3)
    at = y.clone().requires_grad_()
    optimiser = torch.optim.Adam([at], 0.01)
    accelerator.reset()
    value = loss(x, at)
    value.backward()
    assert (accelerator.to_device, accelerator.synchronisations) == (0, 1)
    optimiser.step()
    assert loss.eval()(x, at.detach()).cpu().item() < value.detach().cpu().item()


def test_pairs_are_scored_there_displaced_ones_too(accelerator, random_images, tmp_path):
    moved = texture(96, 104, through=similarity(right=3.0, down=1.5, turn=1.0))
    for i, image in enumerate((texture(96, 104), moved, random_images(1, 96, 104)[0])):
        pixels = (255 * image).byte().permute(1, 2, 0).numpy()
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    pairs = [(tmp_path / "0.png", tmp_path / f"{i}.png") for i in (1, 2)]
    found, want = (
        [value for scored in pim.score(pairs, ["pim", "psnr"], device=where) for value in scored.values.values()]
        for where in (DEVICE, "cpu")
    )
    assert len(want) == 4
    np.testing.assert_allclose(found, want, rtol=1e-2)  # a displacement found in float32 alone


def test_a_step_of_training_runs_there(accelerator, tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 256, (24, 2, 3, 24, 24), np.uint8)
    source, zeros = np.repeat(np.arange(3, dtype=np.int32), 8), np.zeros(24, np.int32)
    crops = Crops(
        pairs, source, zeros, zeros + 1, ("a", "b", "c"), np.array([False, False, True]), CropSettings(size=24)
    )
    config = PIMConfig(filters=(4, 3), scales=1, latent=4)
    settings = TrainSettings(steps=2, batch=8, per_source=4, window=16, start_crops=16)
    found, want = [], []
    for where, bounds in ((DEVICE, found), ("cpu", want)):
        bounds += loop.train(crops, tmp_path / f"{where}.safetensors", config, settings, device=where).bound
    np.testing.assert_allclose(found, want, rtol=1e-3)


def test_what_is_widened_comes_to_the_cpu_first(accelerator):
    x = torch.rand(3).to(DEVICE)
    assert exact(x).dtype == torch.float64
    assert accumulation(x.device) == torch.float32
    assert accumulation(torch.device("cpu")) == torch.float64
