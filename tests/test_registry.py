from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

import pim
from pim.core import weights
from pim.core.metric import Metric
from pim.core.weights import WeightHeader
from pim.errors import MetricUnavailable, UsageError, WeightsError
from pim.metrics import registry
from pim.metrics.classics import PSNR
from pim.metrics.nlpd import NLPD
from pim.pim.cost import about
from pim.pim.model import PIM
from pim.pim.networks import PIMConfig

TINY = PIMConfig(filters=(4, 3), scales=1, filter_set="sp0")
WITHOUT_WEIGHTS = [name for name, info in registry.SHIPPED.items() if info.weights is None]


@pytest.fixture
def tiny(tmp_path):
    """A weight file with seeded random weights."""
    torch.manual_seed(5)
    metric = PIM(TINY)
    path = tmp_path / "tiny.safetensors"
    weights.write(path, metric.state_dict(), WeightHeader("pim", TINY.to_dict()))
    return path, metric


@pytest.fixture
def ships_tiny(tiny, monkeypatch):
    """An installation whose default weights are the tiny ones."""
    path, metric = tiny
    monkeypatch.setattr(weights, "shipped", lambda: {registry.DEFAULT: path})
    return path, metric


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_every_metric_without_weights_loads_and_is_what_the_catalogue_says(random_images, name) -> None:
    metric, info = registry.load(name), registry.SHIPPED[name]
    assert isinstance(metric, Metric)
    assert metric.info == info
    assert (metric.name, metric.weights_hash, metric.training) == (name, None, False)
    a, b = (
        random_images(1, info.min_size, info.min_size + 3),
        random_images(1, info.min_size, info.min_size + 3, seed=1),
    )
    torch.testing.assert_close(metric(a, b), metric(b, a))
    assert (metric(a, b) < metric(a, a)).item() != info.lower_is_better
    if info.min_size > 1:
        with pytest.raises(ValueError, match=f"at least {info.min_size} pixels"):
            metric(a[..., 1:, :], b[..., 1:, :])


def test_what_was_loaded_in_inference_mode_still_gives_gradients(ships_tiny, random_images) -> None:
    with torch.inference_mode():
        metric = registry.load()
    image = random_images(1, 64, 64).requires_grad_()
    metric(random_images(1, 64, 64, seed=1), image).sum().backward()
    assert image.grad.any()


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_a_value_depends_neither_on_its_batch_nor_on_the_memory_layout(random_images, name) -> None:
    metric = registry.load(name)
    a, b = random_images(8, 161, 166), random_images(8, 161, 166, seed=1)
    together = metric(a, b)
    apart = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(apart, together, rtol=1e-6, atol=0)
    last = metric(a.contiguous(memory_format=torch.channels_last), b.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, together, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
@pytest.mark.usefixtures("fresh_compiler")
def test_every_metric_compiles_into_one_graph_and_exports(random_images, name) -> None:
    metric = registry.load(name)
    a, b = random_images(2, 161, 166), random_images(2, 161, 166, seed=1)
    want = metric(a, b)
    torch.testing.assert_close(torch.compile(metric, fullgraph=True, backend="eager")(a, b), want)
    torch.testing.assert_close(torch.export.export(metric, (a, b)).module()(a, b), want)


def test_names_give_their_own_classes() -> None:
    assert type(registry.load("psnr")) is PSNR
    assert type(registry.load("nlpd")) is NLPD


def test_a_weight_file_loads_by_its_path_under_its_own_name(tiny, random_images) -> None:
    path, metric = tiny
    loaded = registry.load(str(path))
    assert loaded.name == "tiny"
    assert loaded.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    a, b = random_images(2, 33, 40), random_images(2, 33, 40, seed=1)
    torch.testing.assert_close(loaded(a, b), metric(a, b).detach())


def test_a_weight_file_loads_by_any_path_and_what_is_no_name_is_refused(tiny) -> None:
    assert registry.load(tiny[0]).weights_hash == registry.load(str(tiny[0])).weights_hash
    for wrong in (3, len, nn.MSELoss()):
        with pytest.raises(UsageError, match="a metric is a Metric, a name, .*; got"):
            registry.load(wrong)
        with pytest.raises(UsageError, match="a metric is a Metric, a name, .*; got"):
            next(iter(pim.score([], metrics=wrong)))


def test_without_a_name_the_default_loads_under_its_shipped_name(ships_tiny) -> None:
    path, _ = ships_tiny
    metric = registry.load()
    assert metric.name == registry.DEFAULT
    assert metric.info.summary == registry.SHIPPED[registry.DEFAULT].summary
    assert metric.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_built_in_metric_without_its_weights_says_so(monkeypatch) -> None:
    monkeypatch.setattr(weights, "shipped", dict)
    with pytest.raises(MetricUnavailable, match=r"weights of pim-1 \(pim-1.safetensors\) are not in this installation"):
        registry.load("pim-1")


@pytest.mark.parametrize(("name", "nearest"), [("pmi-1", "pim-1"), ("ssmi", "ssim"), ("unlike any", None), ("", None)])
def test_an_unknown_name_is_refused_with_the_nearest_one(name, nearest) -> None:
    expected = f"did you mean '{nearest}'" if nearest else "known are pim, pim-1, pim-5, nlpd"
    with pytest.raises(UsageError, match=f"unknown metric '{name}'; {expected}"):
        registry.load(name)


def test_a_weight_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors"):
        registry.load(str(tmp_path / "nowhere.safetensors"))


def test_the_device_moves_the_weights(tiny) -> None:
    path, _ = tiny
    assert registry.load(str(path), device="meta").device == torch.device("meta")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:"])
@pytest.mark.parametrize("name", ["psnr", None])
def test_a_device_that_cannot_be_used_is_refused_whether_or_not_there_are_weights(ships_tiny, name, device) -> None:
    with pytest.raises(UsageError, match=f"cannot compute on the device '{device}'.*'cpu' always works"):
        registry.load(name, device=device)


@pytest.mark.parametrize("name", [name for name, info in registry.SHIPPED.items() if info.weights])
def test_shipped_weights_load_and_are_what_the_catalogue_says(random_images, name) -> None:
    metric, info = registry.load(name), registry.SHIPPED[name]
    counted = about(metric.config)
    assert counted.operations == pytest.approx(info.operations, rel=0.01)
    assert (counted.min_size, counted.spatial) == (info.min_size, info.spatial)
    a, b = random_images(1, 40, 33), random_images(1, 40, 33, seed=1)
    assert metric(a, a.clone()).item() == 0
    assert metric(a, b).item() > 0


@pytest.mark.parametrize(("name", "successor"), [("pim-tiny", "pim"), ("pim-small", "pim"), ("vgg-lpips", "vgg")])
def test_a_metric_that_is_gone_is_told_with_what_took_its_place(name, successor) -> None:
    with pytest.raises(UsageError, match=f"{name} is gone; {successor} took its place"):
        registry.load(name)
