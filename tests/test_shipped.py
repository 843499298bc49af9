"""What the weights that ship must do, on photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pim
from pim.core import weights
from pim.datasets import corruptions

SIDE = 224
FAMILY = ("pim", "pim", "pim-1")  # pim-5 takes too long for curves over photographs


@pytest.fixture(scope="module")
def photographs(shared):
    """The middles of the 16 Kodak photographs, uint8 (224, 224, 3) each."""
    files = sorted((shared / "data" / "kodak").glob("*.png"))
    assert len(files) == 16
    whole = [np.round(pim.open_image(file).pixels * 255).astype(np.uint8) for file in files]
    return {file.stem: _middle(picture) for file, picture in zip(files, whole, strict=True)}


def _middle(picture):
    top, left = (picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2
    return picture[top : top + SIDE, left : left + SIDE]


def _tensor(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float() / 255


def _prepared(metric, pictures):
    with torch.inference_mode():
        return [metric.prepare(_tensor([picture])) for picture in pictures]


def _mean_distance(metric, references, distorted):
    with torch.inference_mode():
        pairs = zip(references, distorted, strict=True)
        return float(torch.cat([metric(a, _tensor([b])) for a, b in pairs]).mean())


@pytest.mark.development_data
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    "corruption", ["gaussian_noise", "gaussian_blur", "jpeg_compression", "contrast", "pixelate", "fog"]
)
def test_the_mean_distance_rises_with_severity(name, corruption, photographs):
    metric = pim.load(name)
    chosen = list(photographs.items())[:: 4 if name == "pim-1" else 1]
    references = _prepared(metric, [picture for _, picture in chosen])
    means = [0.0]
    for severity in range(1, 6):
        made = [corruptions.corrupt(picture, corruption, severity, stem=stem, seed=0) for stem, picture in chosen]
        means.append(_mean_distance(metric, references, made))
    assert all(a < b for a, b in zip(means, means[1:], strict=False)), means


@pytest.mark.development_data
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_the_mean_distance_rises_with_shift(name, photographs):
    metric = pim.load(name)
    chosen = list(photographs.values())[:: 4 if name == "pim-1" else 1]
    size = SIDE - 16
    references = _prepared(metric, [picture[8:-8, :size] for picture in chosen])
    means = []
    for shift in range(10):
        means.append(_mean_distance(metric, references, [p[8:-8, shift : shift + size] for p in chosen]))
    assert means[0] == 0
    assert all(a < b for a, b in zip(means, means[1:], strict=False)), means


@pytest.mark.parametrize("name", [*FAMILY, "pim-5"])
def test_every_shipped_file_was_trained_without_the_held_out_clips(name):
    header = weights.read_header(weights.shipped()[name])
    assert header.training["steps"] >= 300
    assert len(header.training["sources"]) == 48
    assert np.mean(header.training["bound_held_out"]) > 2.5  # nats, under the jitter of training
    assert min(header.training["bound_held_out"]) > 1  # no dead band


def test_the_small_ones_are_much_cheaper_than_the_published_shape():
    tiny, small, full = (pim.load(name).info.operations for name in FAMILY)
    assert full == pytest.approx(782_432, rel=1e-4)
    assert small <= full / 10
    assert tiny <= full / 50


def test_the_example_pair_is_ordered_as_anyone_would_order_it():
    from conftest import ROOT

    reference, distorted = (ROOT / "examples" / f"{name}.png" for name in ("reference", "distorted"))
    picture = pim.open_image(reference).pixels
    slightly = (picture * 0.98).astype(np.float32)
    assert pim.distance(reference, reference) == 0
    assert 0 < pim.distance(picture, slightly) < pim.distance(reference, distorted)
