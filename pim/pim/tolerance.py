"""What pim-tiny adds to the distance: tolerance to displacement, and more weight for the worst places.

Ours, not the paper's. Where a picture is moved, turned or zoomed a little, latents differ at every position, but their
means over windows hardly; where it is blurred, noisy or compressed, both do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pim.core.device import accumulation
from pim.pim.filtering import window_means

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
    window = window_means(difference, side).square().mean(1)
    place = difference.square().mean(1)
    both = (1 - share) * torch.log1p(place / FLOOR) + share * torch.log1p(window / FLOOR)
    return FLOOR * torch.expm1(both)


def power_mean(parts: Iterable[Tensor], power: float) -> Tensor:
    """The (mean of d^power)^(1 / power) of all positions of a band, (N,), from its parts (N, h, w)."""
    norms, count = [], 0
    for part in parts:
        # The norm has a gradient at 0, where a root has none.
        norms.append(torch.linalg.vector_norm(part, power, (1, 2), dtype=accumulation(part.device)))
        count += part.shape[1] * part.shape[2]
    pooled: Tensor = torch.linalg.vector_norm(torch.stack(norms), power, 0) / count ** (1 / power)
    return pooled


def power_map(positions: Tensor, power: float) -> Tensor:
    """A map whose mean is what `power_mean` gives of these distances (N, h, w): d^p / pooled^(p-1)."""
    count = positions.shape[1] * positions.shape[2]
    # In units of the largest, which cancel: powers of small distances leave the range of float32.
    unit = positions / positions.detach().amax((1, 2), keepdim=True).clamp_min(1e-30)
    pooled = torch.linalg.vector_norm(unit, power, (1, 2), keepdim=True) / count ** (1 / power)
    share: Tensor = positions * (unit / pooled.clamp_min(1e-30)) ** (power - 1)
    return share
