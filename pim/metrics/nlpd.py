"""Normalised Laplacian pyramid distance (NLPD), exact and fast.

Laparra, Berardino, Balle and Simoncelli, "Perceptually optimized image rendering", JOSA A 34:1511, 2017.
An image becomes what a display would emit, then what the retina would keep: a Laplacian pyramid
whose bands are divided by their local activity.

Deviations: none in value. Where two bands are equal the gradient is 0; the formula alone gives NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.info import MetricInfo
from pim.core.metric import Metric, Prepared
from pim.errors import InputError
from pim.metrics import catalogue

LEVELS = 6
LOWPASS = (0.05, 0.25, 0.4, 0.25, 0.05)  # applied along rows and along columns
POOL = (
    (0.04, 0.04, 0.05, 0.04, 0.04),
    (0.04, 0.03, 0.04, 0.03, 0.04),
    (0.05, 0.04, 0.05, 0.04, 0.05),
    (0.04, 0.03, 0.04, 0.03, 0.04),
    (0.04, 0.04, 0.05, 0.04, 0.04),
)
SIGMA, SIGMA_LOW = 0.17, 4.86  # activity at which a band, or the low rest, is halved
DARKEST, BRIGHTEST, DISPLAY_GAMMA = 5.0, 180.0, 2.4  # the display: cd/m^2, cd/m^2, exponent
RETINA_GAMMA = 1 / 2.6
BAND_EXPONENT = 0.6  # of the sum over bands; within a band the differences are squared
_MARGIN = 4  # pixels reflected at each border


def nlpd(reference: Tensor, distorted: Tensor, levels: int = LEVELS) -> Tensor:
    """The distance of every channel, as seen on a display of 5 to 180 cd/m^2.

    Args:
        reference: (N, C, H, W), values 0..255 (sRGB or gray); values below 0 count as black.
        distorted: The same shape.
        levels: Bands of the pyramid, the low rest included.

    Returns:
        (N, C), 0 for equal channels, lower is more alike.

    Raises:
        InputError: if the shapes differ or a side is below `smallest_side(levels)`.
    """
    _check(reference, distorted, levels)
    return _distance(subbands(luminance(reference), levels), subbands(luminance(distorted), levels))


def nlpd_fast(reference: Tensor, distorted: Tensor, levels: int = LEVELS) -> Tensor:
    """Like `nlpd`, without the display model: the pyramid sees the values 0..255 as they are.

    Args:
        reference: (N, C, H, W), values 0..255. Not invariant to scale: [0, 1] gives another, meaningless number.
        distorted: The same shape.
        levels: Bands of the pyramid, the low rest included.

    Returns:
        (N, C), 0 for equal channels, lower is more alike.

    Raises:
        InputError: if the shapes differ or a side is below `smallest_side(levels)`.
    """
    _check(reference, distorted, levels)
    return _distance(subbands(reference, levels), subbands(distorted, levels))


def luminance(image: Tensor) -> Tensor:
    """Values 0..255 as light on the display, compressed by the retina: 1.86 to 7.37, any shape."""
    light = (image.clamp(min=0) / 255) ** DISPLAY_GAMMA * (BRIGHTEST - DARKEST) + DARKEST
    return light**RETINA_GAMMA


def subbands(image: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """The normalised Laplacian pyramid, finest first, then the low rest.

    Shapes:
        (N, C, H, W) -> [(N, C, H, W), (N, C, H/2, W/2), ..., (N, C, h, w)], halves rounded up
    """
    batch, channels = image.shape[:2]
    row = image.new_tensor(LOWPASS)
    lowpass, pool = torch.outer(row, row)[None, None], image.new_tensor(POOL)[None, None]
    rest, bands = image.flatten(0, 1)[:, None], []
    for _ in range(levels - 1):
        low = F.conv2d(F.pad(rest, [_MARGIN] * 4, mode="reflect"), lowpass, stride=2)
        grow = (1 - rest.shape[-2] % 2, 1 - rest.shape[-1] % 2)
        up = F.conv_transpose2d(low, 4 * lowpass, stride=2, padding=_MARGIN, output_padding=grow)
        detail = rest - up
        bands.append(detail / (SIGMA + F.conv2d(detail.abs(), pool, padding=2)))
        rest = low[..., 1:-1, 1:-1]
    bands.append(rest / (SIGMA_LOW + rest.abs()))
    return [band.reshape(batch, channels, *band.shape[-2:]) for band in bands]


def smallest_side(levels: int = LEVELS) -> int:
    """The smallest image side in pixels: every level needs more than the reflected margin.

    >>> smallest_side(6), smallest_side(5)
    (65, 33)
    """
    return 1 if levels == 1 else _MARGIN * 2 ** (levels - 2) + 1


class NLPD(Metric):
    """NLPD as a metric: [0, 1] images times 255, the mean of the three channels' distances."""

    def __init__(self, info: MetricInfo = catalogue.NLPD) -> None:
        super().__init__()
        self.info = info

    def _analyse(self, image: Tensor) -> list[Tensor]:
        return subbands(luminance(255 * image))

    def _compare(self, features: Sequence[Tensor], distorted: Tensor) -> Tensor:
        return _distance(features, self._analyse(distorted)).mean(1)

    def _compare_analysed(self, reference: Prepared, distorted: Prepared) -> Tensor:
        return _distance(reference.features, distorted.features).mean(1)


def _distance(reference: Sequence[Tensor], distorted: Sequence[Tensor]) -> Tensor:
    """(sum over K bands of rms^0.6 / K)^(1 / 0.6), per image and channel."""
    pairs = zip(reference, distorted, strict=True)
    squares = torch.stack([(a - b).square().mean((2, 3)) for a, b in pairs], -1)
    # The power has an infinite slope at 0, so equal bands are kept away from it.
    differ = squares > 0
    powers = torch.where(differ, torch.where(differ, squares, 1) ** (BAND_EXPONENT / 2), 0)
    return powers.mean(-1) ** (1 / BAND_EXPONENT)


def _check(reference: Tensor, distorted: Tensor, levels: int) -> None:
    if levels < 1:
        raise InputError(f"levels must be at least 1; got {levels}")
    if reference.ndim != 4 or reference.shape != distorted.shape:
        raise InputError(
            "reference and distorted must have one shape (N, C, H, W); "
            f"got {tuple(reference.shape)} and {tuple(distorted.shape)}"
        )
    if min(reference.shape[-2:]) < smallest_side(levels):
        height, width = reference.shape[-2:]
        raise InputError(
            f"image sides must be at least {smallest_side(levels)} pixels for {levels} levels; got {width} x {height}"
        )
