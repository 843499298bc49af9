"""What the weights that ship must do, on photographs."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

import pim
from pim.core import weights
from pim.datasets import corruptions

SIDE = 224
FAMILY = ("pim", "pim-1")  # pim-5 takes too long for curves over photographs


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


def _means(metric, corruption, severities, chosen):
    references = _prepared(metric, list(chosen.values()))
    for severity in severities:
        made = [
            corruptions.corrupt(picture, corruption, severity, stem=stem, seed=0) for stem, picture in chosen.items()
        ]
        yield _mean_distance(metric, references, made)


@pytest.mark.development_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "corruption"),
    [
        *product(FAMILY, ("gaussian_noise", "gaussian_blur", "jpeg_compression", "contrast", "fog")),
        ("pim-1", "pixelate"),
    ],
)
def test_the_mean_distance_rises_with_severity(name, corruption, photographs):
    chosen = dict(list(photographs.items())[:: 4 if name == "pim-1" else 1])
    means = [0.0, *_means(pim.load(name), corruption, range(1, 6), chosen)]
    assert all(a < b for a, b in pairwise(means)), means


@pytest.mark.development_data
@pytest.mark.slow
def test_the_mean_of_two_by_two_pixels_is_seen_by_the_band_of_detail_alone(photographs):
    metric = pim.load("pim")
    odd = [0.0, *_means(metric, "pixelate", (1, 3, 4, 5), photographs)]
    assert all(a < b for a, b in pairwise(odd)), odd  # blocks of other sizes
    blocks = [picture.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3)) for picture in photographs.values()]
    reference, halved = _tensor(list(photographs.values())), _tensor([b.repeat(2, 0).repeat(2, 1) for b in blocks])
    *rest, detail = metric.per_band(reference, halved).mean(1).tolist()
    assert detail > 0.1
    assert max(rest) < 1e-3 * detail


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
    assert all(a < b for a, b in pairwise(means)), means


@pytest.mark.parametrize(("name", "sources"), [("pim", 170), ("pim-1", 170), ("pim-5", 48)])
def test_every_shipped_file_was_trained_without_the_held_out_clips(name, sources):
    header = weights.read_header(weights.shipped()[name])
    assert header.training["steps"] >= 300
    assert len(set(header.training["sources"])) == sources
    assert np.mean(header.training["bound_held_out"]) > 2.2  # nats, under the jitter of training
    assert min(header.training["bound_held_out"]) > 1  # no dead band


def test_the_default_is_much_cheaper_than_the_published_shape():
    default, full = (pim.load(name).info.operations for name in FAMILY)
    assert full == pytest.approx(782_432, rel=1e-4)
    assert default <= full / 500


def test_the_example_pair_is_ordered_as_anyone_would_order_it():
    from conftest import ROOT

    reference, distorted = (ROOT / "examples" / f"{name}.png" for name in ("reference", "distorted"))
    picture = pim.open_image(reference).pixels
    slightly = (picture * 0.98).astype(np.float32)
    assert pim.distance(reference, reference) == 0
    assert 0 < pim.distance(picture, slightly) < pim.distance(reference, distorted)
