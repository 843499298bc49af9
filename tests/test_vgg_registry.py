"""The VGG metrics by name, by file and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from PIL import Image

import pim
from pim.core import weights
from pim.errors import MetricUnavailable, WeightsError
from pim.metrics import registry
from pim.metrics.others import VGGS
from vggmetric import VGGMetric, backbone, loading
from vggmetric.backbone import BACKBONES, VARIABLE, cached
from vggmetric.head import uniform

PAIR = [str(ROOT / "examples" / f"{name}.png") for name in ("reference", "distorted")]
Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without any backbone."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(backbone, "network_file", lambda name: None)


@pytest.fixture
def random_backbones() -> None:
    """Random layers where the cache would hold trained ones: values mean nothing."""
    tensors = loading.random_tensors(447)
    loading.save(cached("tv1k"), tensors, BACKBONES["tv1k"])


@pytest.mark.parametrize("name", VGGS)
def test_without_its_backbone_a_metric_is_listed_and_says_what_to_do(name: str, cli: Cli) -> None:
    (status,) = [status for status in pim.list_metrics() if status.info.name == name]
    assert status.unavailable is not None
    assert "pip install ./vggmetric_weights; or fetch it: pim weights get vgg16" in status.unavailable
    assert status.weights_hash is not None
    with pytest.raises(MetricUnavailable, match="not part of this package and was not found in"):
        registry.load(name)
    ran = cli("score", *PAIR, "-m", name)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_with_its_backbone_a_metric_is_what_the_catalogue_says(random_backbones: None, random_images) -> None:
    assert all(status.available for status in pim.list_metrics() if status.info.name in VGGS)
    x, y = random_images(1, 33, 40, seed=1), random_images(1, 33, 40, seed=2)
    for name, info in VGGS.items():
        metric = registry.load(name)
        assert isinstance(metric, VGGMetric)
        assert metric.info == info
        assert metric.weights_hash == next(s.weights_hash for s in pim.list_metrics() if s.info.name == name)
        own = VGGMetric(metric.head).info
        assert (own.min_size, own.operations) == (info.min_size, info.operations)
        assert metric.head.backbone == info.backbone
        assert metric(x, x.clone()).item() == 0
        assert metric(x, y).item() > 0


def test_a_head_loads_by_its_path_and_scores(cli: Cli, tmp_path: Path) -> None:
    head = uniform("rand447")
    head.write(tmp_path / "mine.safetensors")
    ran = cli("score", *PAIR, "-m", tmp_path / "mine.safetensors", "--format", "json")
    assert ran.code == 0
    document = json.loads(ran.out)
    (metric,) = document["metrics"]
    assert metric["name"] == "mine"
    assert metric["settings"]["backbone"] == "rand447"
    assert document["records"][0]["value"] > 0
    checked = cli("weights", "check", tmp_path / "mine.safetensors")
    assert (checked.code, checked.out.split("\t")[1]) == (0, "vgg-head, format 1")


def test_a_damaged_head_and_a_backbone_are_no_metrics(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    weights.write(bad, {"w/relu1_2": -torch.ones(1)}, weights.WeightHeader("vgg-head", {"backbone": "rand1"}))
    with pytest.raises(WeightsError, match=r"bad\.safetensors is no usable head|another file"):
        registry.load(str(bad))
    assert cli("weights", "check", bad).code == 1
    loading.save(bad, loading.random_tensors(1), BACKBONES["oxford12"])
    with pytest.raises(WeightsError, match="holds weights of kind 'vgg-backbone'; expected pim or vgg-head"):
        registry.load(str(bad))


def test_how_the_backbone_is_stored_is_part_of_the_settings(random_backbones: None) -> None:
    whole = registry.load("vgg")
    cached("tv1k").unlink()
    loading.save(cached("tv1k", half=True), loading.random_tensors(447), BACKBONES["tv1k"], half=True)
    half = registry.load("vgg")
    assert half.weights_hash == whole.weights_hash
    assert half.settings != whole.settings


def test_the_layers_that_come_with_the_repository_are_enough(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `pip install ./vggmetric_weights`: no network, nothing in a cache."""
    monkeypatch.setattr(backbone, "network_file", lambda name: ROOT / "vggmetric_weights" / name)
    slightly = tmp_path / "slightly.png"
    with Image.open(PAIR[0]) as picture:
        picture.convert("RGB").point(lambda level: round(0.98 * level)).save(slightly)
    ran = cli("score", PAIR[0], PAIR[0], slightly, PAIR[1], "-m", "vgg")
    values = [float(line.split("\t")[0]) for line in ran.out.splitlines()]
    assert values[0] == 0
    assert 0 < values[1] < values[2]
