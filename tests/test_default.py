"""What the default metric promises: a norm of the difference of latents, spread over the pixels by its map."""

from __future__ import annotations

import copy
import io
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

import pim
from pim.metrics.registry import DEFAULT
from pim.pim import model, tiled


@pytest.fixture(scope="module")
def metric():
    return pim.load(DEFAULT)


@pytest.fixture(scope="module")
def pictures():
    """Twelve small pictures, (12, 3, 32, 32): noise of several strengths over ramps, some nearly equal, one black."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 32).expand(3, 32, 32)
    strengths = torch.tensor([0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.0])[:, None, None, None]
    noise = torch.rand(11, 3, 32, 32, generator=generator)
    return torch.cat([ramp * (1 - strengths) + noise * strengths, torch.zeros(1, 3, 32, 32)])


@torch.no_grad()
def test_it_is_symmetric_and_obeys_the_triangle_inequality_on_every_triple(metric, pictures):
    exact, images = copy.deepcopy(metric).double(), pictures.double()
    first, second = map(list, zip(*combinations(range(12), 2), strict=True))
    forth, back = exact(images[first], images[second]), exact(images[second], images[first])
    torch.testing.assert_close(forth, back, rtol=1e-12, atol=0)
    assert (forth > 0).all()
    apart = torch.zeros(12, 12, dtype=torch.float64)
    apart[first, second] = apart[second, first] = forth
    detour = apart[:, :, None] + apart[None]  # from a by b to c: 12 * 11 * 10 triples, and those with equal pictures
    assert (apart[:, None, :] <= detour + 1e-12).all()


@torch.no_grad()
def test_the_map_averages_to_the_value(metric, random_images):
    x, y = random_images(3, 75, 58, seed=1), random_images(3, 75, 58, seed=2)
    torch.testing.assert_close(metric(x, y, spatial=True).mean((1, 2, 3)), metric(x, y), rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_batch_has_the_values_of_its_pairs(metric, random_images):
    x, y = random_images(5, 48, 61, seed=1), random_images(5, 48, 61, seed=2)
    alone = torch.stack([metric(a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(metric(x, y), alone, rtol=1e-6, atol=0)


@torch.no_grad()
def test_tiles_change_nothing(metric, random_images, monkeypatch):
    exact = copy.deepcopy(metric).double()
    x, y = (random_images(1, 151, 230, seed=s, dtype=torch.float64) for s in (1, 2))
    whole, whole_map = exact(x, y), exact(x, y, spatial=True)
    monkeypatch.setattr(model, "TILED", 1000)
    monkeypatch.setattr(model, "KEEP", 1000)
    monkeypatch.setattr(tiled, "TILE", 24)
    torch.testing.assert_close(exact(x, y), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(exact(exact.prepare(x), y), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(exact(x, y, spatial=True), whole_map, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step", [0.0, 1e-7, 1e-3])
def test_gradients_are_finite_at_and_near_equal_pictures(metric, random_images, step):
    x = random_images(2, 40, 40) * 0.9
    for spatial in (False, True):
        y = (x + step).requires_grad_()
        metric(x, y, spatial=spatial).mean().backward()
        assert torch.isfinite(y.grad).all()
        assert step == 1e-7 or bool(y.grad.any()) == (step > 0)  # in float32 so small a step may vanish


@pytest.mark.usefixtures("fresh_compiler")
def test_it_compiles_into_one_graph_and_exports(metric, random_images):
    x, y = random_images(2, 40, 44, seed=1), random_images(2, 40, 44, seed=2)
    expected = metric(x, y)
    compiled = torch.compile(metric, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, y), expected, rtol=1e-4, atol=0)  # other forms of the filters
    exported = torch.export.export(metric, (x, y)).module()
    torch.testing.assert_close(exported(x, y), expected, rtol=1e-4, atol=0)
    with pytest.raises(RuntimeError, match="images must be finite"):
        exported(x, y + 2)


@torch.no_grad()
@pytest.mark.development_data
def test_no_few_pixels_hold_the_distance_of_a_jpeg(metric, shared):
    shares = {}
    for file in sorted((shared / "data" / "kodak").glob("*.png")):
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        coded = io.BytesIO()
        picture.save(coded, "JPEG", quality=30)
        both = (np.asarray(p, np.float32) / 255 for p in (picture, Image.open(coded)))
        x, y = (torch.from_numpy(pixels).permute(2, 0, 1) for pixels in both)
        pixels = metric(x, y, spatial=True).flatten().sort(descending=True).values
        shares[file.name] = float(pixels[: len(pixels) // 100].sum() / pixels.sum())
    assert {name: share for name, share in shares.items() if share >= 0.1} == {}
