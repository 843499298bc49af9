"""The VGG metric against numbers computed in float64 by another program, and against other libraries."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from vgg_cases import CASES, OXFORD12, RANDOM, Case, golden_vgg, random_metric

from vggmetric import Head, VGGMetric, loading
from vggmetric.backbone import BACKBONES, find, missing
from vggmetric.embedding import Embedding
from vggmetric.features import TAPS
from vggmetric.head import shipped, uniform

PRECISIONS = [(torch.float64, 1e-7, 1e-6), (torch.float32, 1e-5, 1e-4)]  # relative: values; maps and gradients
in_both_precisions = pytest.mark.parametrize(("dtype", "close", "close_map"), PRECISIONS, ids=["float64", "float32"])
in_all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.tag}_{case.pair}")


@pytest.mark.development_data
@in_all_cases
@in_both_precisions
def test_values_maps_and_gradients_equal_the_golden_ones(case: Case, dtype, close, close_map, shared: Path) -> None:
    arrays, metric = golden_vgg(shared), case.metric(shared).to(dtype)
    want = {
        key: arrays[f"{case.tag}_{case.pair}_{key}"] for key in ("lpips", "lpips_layers", "map", "grad_l2", "grad_px")
    }
    x, y = case.images(arrays, dtype)
    y.requires_grad_()
    distance = metric(x, y)
    (gradient,) = torch.autograd.grad(distance.sum(), y)
    np.testing.assert_allclose(distance.detach(), [want["lpips"]], rtol=close)
    layers = torch.cat(list(metric.per_layer(x, y).values())).detach()
    np.testing.assert_allclose(layers, want["lpips_layers"], rtol=close)
    spatial = metric(x, y, spatial=True)[0, 0].detach()
    np.testing.assert_allclose(spatial, want["map"], rtol=0, atol=close_map * want["map"].max())
    if case.pair == "a":  # few grey levels tie in max pooling: which pixel has the gradient then is up to rounding
        np.testing.assert_allclose(gradient.norm(), want["grad_l2"], rtol=0.05)
        return
    np.testing.assert_allclose(gradient.norm(), want["grad_l2"], rtol=close_map)
    largest = np.abs(want["grad_px"]).max()
    np.testing.assert_allclose(gradient[0, :, ::16, ::16], want["grad_px"], rtol=0, atol=close_map * largest)


@pytest.mark.development_data
@in_all_cases
@in_both_precisions
def test_every_tap_equals_the_golden_one(case: Case, dtype, close, close_map, shared: Path) -> None:
    arrays, embedding = golden_vgg(shared), case.metric(shared).to(dtype).embedding
    x, y = case.images(arrays, dtype)

    def golden(key: str) -> np.ndarray:
        return arrays[f"{case.tag}_{case.pair}_{key}"]

    with torch.no_grad():
        for i, (_, features) in enumerate(embedding.network(x)):
            np.testing.assert_allclose(features.mean(), golden("mean")[i], rtol=close, atol=close)
            np.testing.assert_allclose(features.square().mean().sqrt(), golden("rms")[i], rtol=close)
            np.testing.assert_allclose((features == 0).double().mean(), golden("zero")[i], atol=1e-4)
            np.testing.assert_allclose(
                features[0, :3].mean((1, 2)), golden("ch3")[i], rtol=close, atol=close * golden("rms")[i]
            )
        raw = Embedding(embedding.network, "none")
        for settings, key in ((embedding, "unit_sqdiff"), (raw, "raw_sqdiff")):
            found = settings.differences(x, y)
            np.testing.assert_allclose([float(q.sum()) for q in found.values()], golden(key), rtol=close)


@pytest.mark.development_data
def test_the_shipped_weights_of_lpips_are_the_published_ones(shared: Path) -> None:
    head = Head.read(shipped()["lpips-vgg"])
    with np.load(shared / "golden" / "lpips_lin_vgg.npz", allow_pickle=False) as published:
        assert list(head.weights) == published.files
        for tap, weights in head.weights.items():
            np.testing.assert_array_equal(weights, published[tap])
    sums = [weights.sum().item() for weights in head.weights.values()]
    np.testing.assert_allclose(sums, [6.926, 8.858, 17.515, 51.521, 47.035], atol=1e-3)


def test_random_weights_depend_on_the_seed_alone() -> None:
    tensors = loading.random_tensors(447)
    first, last = tensors["features.0.weight"], tensors["features.28.weight"]
    sample = [first[0, 0, 0, 0], first[63, 2, 2, 2], last[511, 511, 2, 2], tensors["features.28.bias"][511]]
    np.testing.assert_allclose(sample, [-0.20603345, 0.41210607, -0.03173972, -0.06590709], atol=5e-9)
    assert not torch.equal(loading.random_tensors(1)["features.0.weight"], first)


@pytest.fixture
def quick_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of other libraries without seconds of random numbers for layers that are replaced or unused."""
    for layer in (torch.nn.Linear, torch.nn.Conv2d):
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)


def test_features_equal_those_of_torchvision(random_images, quick_layers) -> None:
    models = pytest.importorskip("torchvision").models
    theirs = models.vgg16(weights=None, init_weights=False).features
    theirs.load_state_dict({name.removeprefix("features."): t for name, t in loading.random_tensors(447).items()})
    network = random_metric().embedding.network
    x = random_images(2, 53, 70)
    found = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    wanted = [found.clone()]
    with torch.no_grad():
        for layer in theirs:
            found = layer(found)
            if isinstance(layer, torch.nn.ReLU):
                wanted.append(found.clone())
        ours = dict(network(x))
    assert tuple(ours) == TAPS
    for want, got in zip(wanted, ours.values(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


def lpips_of(package, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """LPIPS as its package computes it, on given convolutions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in ways that are deprecated
        found = package.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state = found.net.state_dict()
    for name, tensor in tensors.items():
        (key,) = [key for key in state if key.split(".", 1)[1] == name.removeprefix("features.")]
        state[key] = tensor
    found.net.load_state_dict(state)
    return found.eval()


def test_with_its_linear_weights_it_is_lpips(random_images, quick_layers) -> None:
    package = pytest.importorskip("lpips")
    theirs = lpips_of(package, loading.random_tensors(447)).double()
    ours = VGGMetric(dataclasses.replace(Head.read(shipped()["lpips-vgg"]), backbone=RANDOM)).double()
    for count, size in ((1, (64, 64)), (2, (37, 50))):
        x, y = (random_images(count, *size, seed=seed, dtype=torch.float64) for seed in (1, 2))
        for other in (y, (x + 1e-3 * y).clamp(0, 1)):
            with torch.no_grad():
                want = theirs(x, other, normalize=True).flatten()
                torch.testing.assert_close(ours(x, other), want, rtol=1e-5, atol=0)


@pytest.mark.development_data
def test_more_noise_is_further_away(shared: Path) -> None:
    arrays = golden_vgg(shared)
    metric = VGGMetric(uniform("oxford12"), backbone=shared / OXFORD12)
    x = torch.from_numpy(arrays["b_ref"]).permute(2, 0, 1)[None].float() / 255
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) / 255
    values = [metric(x, (x + sigma * noise).clamp(0, 1)).item() for sigma in (0, 2, 4, 8, 16)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0


def test_with_the_trained_layers_it_is_lpips(random_images, quick_layers) -> None:
    if (reason := missing("tv1k")) is not None:
        pytest.skip(reason)
    package = pytest.importorskip("lpips")
    theirs = lpips_of(package, loading.read(BACKBONES["tv1k"], find("tv1k")))
    ours = VGGMetric.from_head("lpips-vgg")
    with Image.open(ROOT / "examples" / "reference.png") as reference:
        x = torch.from_numpy(np.array(reference.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    for y in (x.flip(-1), (x + 0.05 * random_images(1, *x.shape[-2:], seed=2)).clamp(0, 1)):
        with torch.no_grad():
            want = theirs(x, y, normalize=True).flatten()
            torch.testing.assert_close(ours(x, y), want, rtol=1e-5, atol=0)
