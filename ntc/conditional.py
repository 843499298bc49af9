"""Gaussian latents whose scale and mean somebody else predicts, and the table of scales.

Source: arXiv 1802.01436 (scales), 1809.02736 (means); table and bounds of tensorflow/compression.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntc.bounds import lower_bound
from ntc.prior import LIKELIHOOD_BOUND
from ntc.quantize import soft_round_inverse

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


def likelihood(y: Tensor, mean: Tensor | float, scale: Tensor, alpha: Tensor | float | None = None) -> Tensor:
    """Probability, in [0, 1], of the unit interval around y under a Gaussian; at rounded y, their probability.

    Args:
        y: Any shape; mean and scale are broadcast to it.
        mean: Of the Gaussian.
        scale: Below 0.11 it counts as 0.11, with the gradient of `lower_bound`.
        alpha: What lies around the mean was soft-rounded with this before noise came; None: it was not.
    """
    scale = lower_bound(scale, SMALLEST_SCALE)
    # Mirrored to the upper side, where erfc keeps its digits.
    distance = (y - mean).abs()
    near, far = distance - 0.5, distance + 0.5
    if alpha is not None:
        near, far = soft_round_inverse(near, alpha), soft_round_inverse(far, alpha)
    root = math.sqrt(0.5)
    return 0.5 * (torch.erfc(near / scale * root) - torch.erfc(far / scale * root))


def bits(y: Tensor, mean: Tensor | float, scale: Tensor, alpha: Tensor | float | None = None) -> Tensor:
    """Bits of every noisy or rounded latent, >= 0; at most 29.9, with a gradient even there."""
    return -torch.log2(lower_bound(likelihood(y, mean, scale, alpha), LIKELIHOOD_BOUND))
