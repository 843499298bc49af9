"""The distance of a position together with that of the window around it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pim import PIM, PIMConfig
from pim.errors import UsageError
from pim.pim.tolerance import FLOOR, scoped_distance


def _difference(height: int = 23, width: int = 17) -> torch.Tensor:
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("side", "share"), [(3, 0.3), (5, 0.5), (17, 0.35), (101, 0.8)])
def test_it_is_the_geometric_mean_of_the_position_and_its_window(side, share):
    difference = _difference()
    expected = np.empty((2, 23, 17))
    for n in range(2):
        for row in range(23):
            for column in range(17):
                top, left = max(0, row - side // 2), max(0, column - side // 2)
                window = difference[n, :, top : row + side // 2 + 1, left : column + side // 2 + 1]
                around = window.mean((1, 2)).square().mean()
                place = difference[n, :, row, column].square().mean()
                expected[n, row, column] = (place + FLOOR) ** (1 - share) * (around + FLOOR) ** share - FLOOR
    np.testing.assert_allclose(scoped_distance(difference, side, share).numpy(), expected, rtol=1e-9, atol=1e-15)


def test_a_difference_that_all_positions_share_counts_in_full_and_one_that_cancels_hardly():
    shared = torch.full((1, 3, 16, 16), 0.5)
    torch.testing.assert_close(scoped_distance(shared, 9, 0.35), torch.full((1, 16, 16), 0.25), rtol=1e-4, atol=0)
    cancels = shared.clone()
    cancels[..., ::2] *= -1
    assert (scoped_distance(cancels, 9, 0.35) < 0.35 * 0.25).all()  # a window of 9 has one column too many


def test_no_difference_is_no_distance_and_its_gradient_is_finite():
    difference = torch.zeros(1, 3, 9, 9, requires_grad=True)
    distance = scoped_distance(difference, 5, 0.35)
    assert not distance.any()
    distance.sum().backward()
    assert not difference.grad.any()


def test_tiny_differences_keep_their_digits():
    difference = 1e-5 * _difference().float()
    exact = scoped_distance(difference.double(), 5, 0.35)
    torch.testing.assert_close(scoped_distance(difference, 5, 0.35).double(), exact, rtol=1e-4, atol=0)


def test_a_metric_pools_it_as_it_pools_distances_of_positions(random_images):
    torch.manual_seed(1)
    plain = PIM(PIMConfig(filters=(4, 3), position_power=3.0)).double().eval()
    metric = PIM(dataclasses.replace(plain.config, scope=9, scope_share=0.4)).double().eval()
    metric.load_state_dict(plain.state_dict())
    x, y = (random_images(1, 61, 45, seed=s, dtype=torch.float64) for s in (1, 2))
    expected = [
        scoped_distance((p.means - q.means)[:, 0], 9, 0.4).pow(3).mean().pow(1 / 3)
        for p, q in zip(plain.latents(x), plain.latents(y), strict=True)
    ]
    torch.testing.assert_close(metric.per_band(x, y)[:, 0], torch.stack(expected), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scope": 0}, "scope must be a whole number"),
        ({"scope": 8}, "scope must be odd"),
        ({"scope": 9, "scope_share": 1.0}, "scope_share must lie between 0 and 1"),
        ({"scope": 9, "mixtures": 5}, "latents of one Gaussian"),
        ({"scope": 9, "pyramid": "laplacian"}, "need the steerable pyramid"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        PIMConfig(**settings)
