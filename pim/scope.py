"""Tolerance to displacement: a difference counts as far as the mean over its surroundings shows it too.

Ours, not the paper's. Where a picture is moved, turned or zoomed a little, latents differ at every position, but their
means over blocks hardly; where it is blurred, noisy or compressed, both do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pim import pyramid

FLOOR = 1e-6  # a distance that hardly counts: without it a root of 0 would have no gradient


def scoped_distance(difference: Tensor, side: int, share: float) -> Tensor:
    """Distance at every position, and that of the block that holds it, as one: their geometric mean.

    f (1 + d / f)^(1 - share) (1 + D / f)^share - f, where d is the mean square of the difference over the D dimensions,
    D the mean square of its mean over the block, and f is FLOOR.

    Args:
        difference: (N, D, h, w), between the latents of two images.
        side: Of the blocks, in positions; they start at the first row and column, and the border may cut them.
        share: Exponent of the block's distance, 0 to 1.

    Returns:
        (N, h, w), >= 0, 0 where both distances are.
    """
    size = (difference.shape[-2], difference.shape[-1])
    # With a block to spare, as exporters take a plane of one block for something else than a plane of several.
    means = pyramid.reduce(F.pad(difference, (0, side, 0, side)), side)
    means = means * (side**2 / pyramid.block_areas(size, side, means).clamp(min=1))  # no zeros of the border
    block = torch.log1p(means.square().mean(1) / FLOOR)
    place = torch.log1p(difference.square().mean(1) / FLOOR)
    return FLOOR * torch.expm1((1 - share) * place + share * pyramid.repeat(block, side, size))
