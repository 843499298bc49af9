"""Gaussian latents whose scale and mean somebody else predicts, and the table of scales.

Source: arXiv 1802.01436 (scales), 1809.02736 (means); table and bounds of tensorflow/compression.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntc.bounds import lower_bound
from ntc.prior import LIKELIHOOD_BOUND

SCALES = 64  # entries of the table
SMALLEST_SCALE, LARGEST_SCALE = 0.11, 256.0
_LOG_SMALLEST = math.log(SMALLEST_SCALE)
_LOG_STEP = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)


def scale_table() -> Tensor:
    """The 64 scales that are coded with, from 0.11 to 256 in equal ratios, float64."""
    return torch.exp(torch.linspace(_LOG_SMALLEST, math.log(LARGEST_SCALE), SCALES, dtype=torch.float64))


def scale_of(index: Tensor) -> Tensor:
    """The scale at an index into the table; between whole indices too, so that training has a gradient."""
    return torch.exp(_LOG_SMALLEST + index * _LOG_STEP)


def index_of(scale: Tensor) -> Tensor:
    """The smallest index whose scale is at least this one, 0 .. 63: whole numbers, no gradient."""
    table = scale_table().to(scale.device)
    return torch.bucketize(scale.detach().double(), table).clamp_max(SCALES - 1)


def likelihood(y: Tensor, mean: Tensor | float, scale: Tensor) -> Tensor:
    """Probability of the unit interval around y under a Gaussian; at rounded y, their probability.

    Args:
        y: Any shape.
        mean: Broadcast to y.
        scale: Broadcast to y; below 0.11 it counts as 0.11, with the gradient of `lower_bound`.

    Returns:
        The shape of y, in [0, 1].
    """
    scale = lower_bound(scale, SMALLEST_SCALE)
    distance = (y - mean).abs()
    root = math.sqrt(0.5)
    # Both terms lie in the lower tail, where erfc keeps its digits.
    upper = torch.erfc((distance - 0.5) / scale * root)
    lower = torch.erfc((distance + 0.5) / scale * root)
    return 0.5 * (upper - lower)


def bits(y: Tensor, mean: Tensor | float, scale: Tensor) -> Tensor:
    """Bits of every noisy or rounded latent, >= 0; at most 29.9, with a gradient even there."""
    return -torch.log2(lower_bound(likelihood(y, mean, scale), LIKELIHOOD_BOUND))
