"""What is compared after registration: only what both pictures show, one lying on the other."""

from __future__ import annotations

import math

import pytest
import torch
from textures import Matrix, similarity, texture

from pim.metrics.registry import load
from pim.pim.registration import (
    Charges,
    Displacement,
    Stage,
    Tone,
    _largest_rectangle,
    overlay,
    register,
    stages,
)


def displacement(matrix: Matrix, size: tuple[int, int]) -> Displacement:
    return Displacement.of(torch.tensor(matrix), size, 1.0, None)


def test_a_shift_by_whole_pixels_leaves_the_very_pixels() -> None:
    big = texture(90, 120)
    reference, distorted = big[:, 5:85, 10:110], big[:, 2:82, 3:103]  # what lies at p lies at p + (7, 3)
    a, b = overlay(reference, distorted, displacement(similarity(7.0, 3.0), (80, 100)))
    assert a.shape == (3, 77, 93)
    torch.testing.assert_close(a, reference[:, :77, :93])
    torch.testing.assert_close(b, a, atol=1e-4, rtol=0)


def test_pictures_that_are_not_displaced_are_not_touched() -> None:
    a, b = texture(64, 64), texture(64, 64, seed=1)
    (none,) = register(a[None], b[None])
    first, second = overlay(a, b, none)
    assert first is a
    assert second is b


@pytest.mark.parametrize("seed", range(8))
def test_the_rectangle_is_the_largest_in_the_area(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(13) - 6.0, torch.arange(17) - 8.0, indexing="ij")
    inside = torch.ones(13, 17, dtype=torch.bool)
    for _ in range(4):  # half planes about the middle: convex
        angle, far = torch.rand(2, generator=generator).tolist()
        inside &= x * math.cos(6.3 * angle) + y * math.sin(6.3 * angle) < 3 + 6 * far
    top, bottom, left, right = _largest_rectangle(inside)
    assert bool(inside[top:bottom, left:right].all())
    sums = torch.nn.functional.pad(inside.double().cumsum(0).cumsum(1), (1, 0, 1, 0)).tolist()
    best = max(
        (b - t) * (r - le)
        for t in range(13)
        for b in range(t + 1, 14)
        for le in range(17)
        for r in range(le + 1, 18)
        if sums[b][r] - sums[t][r] - sums[b][le] + sums[t][le] == (b - t) * (r - le)
    )
    assert (bottom - top) * (right - left) == best


def test_the_rectangle_of_a_wide_area_is_nearly_the_largest() -> None:
    inside = torch.zeros(40, 3000, dtype=torch.bool)
    inside[3:33, 100:2900] = True
    top, bottom, left, right = _largest_rectangle(inside)
    assert (top, bottom) == (3, 33)
    assert left - 100 < 6
    assert 2900 - right < 6
    assert bool(inside[top:bottom, left:right].all())


@pytest.mark.parametrize("name", ["psnr", "ssim", "pim"])
def test_any_metric_sees_what_is_left_when_the_displacement_is_taken_back(name: str) -> None:
    metric = load(name)
    truth = similarity(6.4, -3.3, turn=4.0)
    noise = 0.03 * torch.randn(3, 160, 192, generator=torch.Generator().manual_seed(0))
    image, still = texture(160, 192), texture(160, 192, through=truth)
    noisy = (image + noise).clamp(0, 1)
    undisplaced = metric(image[None], noisy[None])
    (found,) = register(still[None], noisy[None])
    as_they_are, aligned = stages(still, noisy, found, tone=False)
    value = metric(aligned.reference[None], aligned.distorted[None])
    plain = metric(as_they_are.reference[None], as_they_are.distorted[None])
    # The kernel takes some of the noise away.
    if metric.lower_is_better:
        assert value < 1.1 * undisplaced
        assert plain > 1.5 * value
    else:
        assert value > 0.95 * undisplaced
        assert plain < 0.9 * value


def test_gradients_reach_the_distorted_picture_through_the_warp_and_descend() -> None:
    truth = similarity(3.3, -1.2, turn=2.0)
    reference = texture(64, 80, through=truth)
    start = (texture(64, 80) + 0.2 * torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    (found,) = register(reference[None], start[None])
    distorted = start.clone().requires_grad_()
    losses = []
    for _ in range(30):
        *_, last = stages(reference, distorted, found, tone=True)
        loss = (last.reference - last.distorted).square().mean()
        (gradient,) = torch.autograd.grad(loss, distorted)
        assert bool(gradient.isfinite().all())
        distorted = (distorted - 300 * gradient).detach().requires_grad_()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    unseen = (distorted - start).abs().amax(0) == 0
    assert 0 < unseen.float().mean() < 0.3  # what no pixel of the reference shows gets no gradient


def test_stages_are_only_those_that_change_something() -> None:
    image = texture(96, 96)
    moved = texture(96, 96, through=similarity(4.0))
    for reference, distorted, kinds in [
        (image, image, [(False, False)]),
        (moved, image, [(False, False), (True, False)]),
        (image, image / 2 + 0.1, [(False, False), (False, True)]),
        (moved, image / 2 + 0.1, [(False, False), (True, False), (True, True)]),
    ]:
        (found,) = register(reference[None], distorted[None])
        taken = [
            (s.displacement is not None, s.tone is not None) for s in stages(reference, distorted, found, tone=True)
        ]
        assert taken == kinds


def test_charges_rise_with_displacement_and_with_less_contrast_most() -> None:
    image = torch.zeros(3, 8, 8)

    def charge(contrast: float = 1.0, brightness: float = 0.0, right: float = 0.0) -> float:
        tone = Tone(contrast, (brightness,) * 3, (0.5,) * 3, None)
        return Stage(image, image, displacement(similarity(right), (8, 8)), tone).charge(Charges())

    assert charge() == 0
    assert charge(right=5.0) == pytest.approx(5 * Charges().pixel)
    assert charge(0.5) == pytest.approx(math.log(2) * Charges().contrast)
    assert charge(2.0) == pytest.approx(Charges().more * charge(0.5))
    assert charge(brightness=-0.1) == charge(brightness=0.1) == pytest.approx(0.1 * Charges().brightness)
    assert Stage(image, image).charge(Charges()) == 0
