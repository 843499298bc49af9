"""Tolerance to displacement: a difference counts as far as the mean over its surroundings shows it too.

Ours, not the paper's. Where a picture is moved, turned or zoomed a little, latents differ at every position, but their
means over windows hardly; where it is blurred, noisy or compressed, both do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pim.pim import pyramid

FLOOR = 1e-6  # a distance that hardly counts: without it a root of 0 would have no gradient


def scoped_distance(difference: Tensor, side: int, share: float) -> Tensor:
    """Distance at every position, and that of the window around it, as one: their geometric mean.

    f (1 + d / f)^(1 - share) (1 + w / f)^share - f, where d is the mean square of the difference over the D dimensions,
    w the mean square of its mean over the window, and f is FLOOR.

    Args:
        difference: (N, D, h, w), between the latents of two images.
        side: Of the windows, in positions, odd; the border cuts them.
        share: Exponent of the window's distance, 0 to 1.

    Returns:
        (N, h, w), >= 0, 0 where both distances are.
    """
    window = pyramid.window_means(difference, side).square().mean(1)
    place = difference.square().mean(1)
    both = (1 - share) * torch.log1p(place / FLOOR) + share * torch.log1p(window / FLOOR)
    return FLOOR * torch.expm1(both)
