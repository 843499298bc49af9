"""A change of tone is found as it was made, and not where something else was done."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from textures import texture
from torch import Tensor

from pim.images.made import coarse
from pim.pim.registration import Tone, register_tone, take_back


def find(reference: Tensor, distorted: Tensor) -> Tone:
    (found,) = register_tone(reference[None], distorted[None])
    return found


def toned(image: Tensor, contrast: float, brightness: tuple[float, ...]) -> Tensor:
    mean = image.mean((1, 2), keepdim=True)
    return (image - mean) * contrast + mean + torch.tensor(brightness)[:, None, None]


@pytest.mark.parametrize("contrast", [0.5, 0.75, 0.9, 1.1, 1.3])
@pytest.mark.parametrize("brightness", [(0.0, 0.0, 0.0), (-0.06, -0.06, -0.06), (0.03, 0.0, -0.04)])
def test_contrast_and_brightness_are_those_that_were_given(contrast: float, brightness: tuple[float, ...]) -> None:
    image = texture(100, 132) * 0.6 + 0.2
    changed = toned(image, contrast, brightness)
    assert 0 <= changed.min() <= changed.max() <= 1
    found = find(image, changed)
    assert found.found
    assert found.contrast == pytest.approx(contrast, rel=1e-3)
    assert found.brightness == pytest.approx(brightness, abs=1e-4)
    torch.testing.assert_close(take_back(changed, found), image, atol=2e-3, rtol=0)


def test_the_gain_without_outliers_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    image = texture(160, 160) * 0.5 + 0.25
    changed = (toned(image, 0.7, (0.0, 0.0, 0.0)) + 0.02 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    a, b = (F.avg_pool2d(t, 8).flatten(1) for t in (image, changed))
    a, b = (t - t.mean(1, keepdim=True) for t in (a, b))
    expected = float((a * b).sum() / (b * b).sum())
    assert 1 / find(image, changed).contrast == pytest.approx(expected, rel=0.01)


def test_contrast_is_found_beside_what_is_cut_off_and_what_is_covered() -> None:
    image = texture(160, 160)
    cut = toned(image, 1.5, (0.0, 0.0, 0.0)).clamp(0, 1)
    assert find(image, cut).contrast == pytest.approx(1.5, rel=0.03)
    covered = toned(image, 0.6, (0.0, 0.0, 0.0))
    covered[:, :40, :40] = 0.9
    assert find(image, covered).contrast == pytest.approx(0.6, rel=0.03)


def test_other_distortions_are_no_change_of_tone() -> None:
    image = texture(160, 240) * 0.8 + 0.1
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    for kind, distorted in {
        "identical": image,
        "noise": (image + 0.1 * noise).clamp(0, 1),
        "blur": F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, 1),
        "cosines": coarse(image[None])[0],
        "another picture": texture(160, 240, seed=5) * 0.8 + 0.1,
        "mirrored": image.flip(-1),
        "negative": 1 - image,
        "shifted": texture(160, 240, through=[[1, 0, 6], [0, 1, 0]]) * 0.8 + 0.1,
    }.items():
        found = find(image, distorted)
        assert found.reason is not None, kind
        assert take_back(distorted, found) is distorted


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (32, 33)])
def test_flat_and_tiny_pictures_are_safe(size: tuple[int, int]) -> None:
    flat, other = torch.full((3, *size), 0.25), torch.full((3, *size), 0.75)
    lit = find(flat, other)
    assert lit.contrast == pytest.approx(1.0)
    assert lit.brightness == pytest.approx((0.5, 0.5, 0.5))
    torch.testing.assert_close(take_back(other, lit), flat)
    assert not find(flat, flat).found
    assert not find(torch.zeros(3, *size), torch.zeros(3, *size)).found
    for pair in ((flat, texture(*size)), (texture(*size), flat), (texture(*size), texture(*size, seed=2))):
        found = find(*pair)
        back = take_back(pair[1], found)
        assert bool(back.isfinite().all())
        assert 0 <= back.min() <= back.max() <= 1


def test_a_pair_has_the_tone_it_has_alone() -> None:
    reference = torch.stack([texture(64, 80, seed=i) * 0.6 + 0.2 for i in range(4)])
    distorted = torch.stack(
        [toned(r, c, (0.02, 0.0, 0.0)) for r, c in zip(reference, (1.0, 0.5, 1.3, 0.8), strict=True)]
    )
    together = register_tone(reference, distorted)
    alone = [find(r, d) for r, d in zip(reference, distorted, strict=True)]
    for a, b in zip(together, alone, strict=True):
        assert a.reason == b.reason
        assert a.contrast == pytest.approx(b.contrast, rel=1e-5)


def test_gradients_reach_the_distorted_picture() -> None:
    distorted = torch.linspace(0, 1, 3 * 16 * 16).reshape(3, 16, 16).requires_grad_()
    tone = Tone(0.5, (0.1, 0.1, 0.1), (0.4, 0.4, 0.4), None)
    take_back(distorted, tone).sum().backward()
    assert distorted.grad is not None
    assert set(distorted.grad.unique().tolist()) == {0.0, 2.0}  # nothing where it is cut off
