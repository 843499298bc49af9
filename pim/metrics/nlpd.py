"""Normalised Laplacian pyramid distance (NLPD), exact and fast.

Laparra, Berardino, Balle and Simoncelli, "Perceptually optimized image rendering", JOSA A 34:1511, 2017.
An image becomes what a display would emit, then what the retina would keep: a Laplacian pyramid
whose bands are divided by their local activity.

Deviations: none in value. Where two bands are equal the gradient is 0; the formula alone gives NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.metric import Metric, Prepared
from pim.errors import InputError
from pim.metrics import registry
from pim.pim.tiles import WHOLE, Place, grid, with_halo

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
_REACH = 2  # of the filter that pools, to each side
TILED = 1 << 20  # positions of an image above which it is computed channel by channel and tile by tile
TILE = 512  # side of a tile; even


def nlpd(reference: Tensor, distorted: Tensor, levels: int = LEVELS, *, fast: bool = False) -> Tensor:
    """Compute the distance of every channel, as seen on a display of 5 to 180 cd/m^2.

    Args:
        reference: (N, C, H, W), values 0..255 (sRGB or gray); values below 0 count as black.
        distorted: The same shape.
        levels: Bands of the pyramid, the low rest included.
        fast: Without the display: the pyramid sees the values as they are. [0, 1] would give a meaningless number.

    Returns:
        (N, C), 0 for equal channels, lower is more alike.

    Raises:
        InputError: if the shapes differ or a side is below `smallest_side(levels)`.
    """
    _check(reference, distorted, levels)
    first, second = (image if fast else luminance(image) for image in (reference, distorted))
    return _distance(subbands(first, levels), subbands(second, levels))


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
    rest, bands, filters = image.flatten(0, 1)[:, None], [], _filters(image)
    for _ in range(levels - 1):
        low = _lowpassed(rest, filters)
        bands.append(_band(rest, low, filters))
        rest = low[..., 1:-1, 1:-1]
    bands.append(_residue(rest))
    return [band.reshape(batch, channels, *band.shape[-2:]) for band in bands]


class _Filters(NamedTuple):
    lowpass: Tensor  # (1, 1, 5, 5), as is `pool`
    pool: Tensor


def _filters(image: Tensor) -> _Filters:
    row = image.new_tensor(LOWPASS)
    return _Filters(torch.outer(row, row)[None, None], image.new_tensor(POOL)[None, None])


def _lowpassed(rest: Tensor, filters: _Filters, tile: int | None = None) -> Tensor:
    """The next level, with one more value at each border than the pyramid keeps, from (N, 1, H, W)."""
    padded, kernel = F.pad(rest, [_MARGIN] * 4, mode="reflect"), filters.lowpass
    if tile is None:
        return F.conv2d(padded, kernel, stride=2)
    height = (padded.shape[-2] - len(LOWPASS)) // 2 + 1
    parts = [padded[..., 2 * top : 2 * min(top + tile, height) + len(LOWPASS) - 2, :] for top in range(0, height, tile)]
    return torch.cat([F.conv2d(part, kernel, stride=2) for part in parts], -2)


def _band(rest: Tensor, low: Tensor, filters: _Filters, where: Place = WHOLE) -> Tensor:
    """A normalised band, or a tile of it that begins at even positions."""
    size = rest.shape[-2:]
    (rows, columns), inner = with_halo(where, _REACH, size)
    (top, bottom), (left, right) = (
        (part.start or 0, length if part.stop is None else part.stop)
        for part, length in zip((rows, columns), size, strict=True)
    )
    around = low[..., top // 2 : (bottom + 3) // 2 + 1, left // 2 : (right + 3) // 2 + 1]
    up = F.conv_transpose2d(around, 4 * filters.lowpass, stride=2)
    up = up[..., _MARGIN : _MARGIN + bottom - top, _MARGIN : _MARGIN + right - left]
    detail = rest[..., rows, columns] - up
    band = detail / (SIGMA + F.conv2d(detail.abs(), filters.pool, padding=_REACH))
    return band[..., inner[0], inner[1]]


def _residue(rest: Tensor) -> Tensor:
    return rest / (SIGMA_LOW + rest.abs())


def smallest_side(levels: int = LEVELS) -> int:
    """The smallest image side in pixels: every level needs more than the reflected margin.

    >>> smallest_side(6), smallest_side(5)
    (65, 33)
    """
    return 1 if levels == 1 else _MARGIN * 2 ** (levels - 2) + 1


class NLPD(Metric):
    """NLPD as a metric: [0, 1] images times 255, the mean of the three channels' distances."""

    info = registry.NLPD

    def _analyse(self, image: Tensor) -> list[Tensor] | Tensor:
        """The bands; of a large image, which would fill the memory with them, the image."""
        large = image.shape[-2] * image.shape[-1] > TILED and not torch.compiler.is_compiling()
        return image if large else subbands(luminance(255 * image))

    def _compare(self, features: Sequence[Tensor] | Tensor, distorted: Tensor) -> Tensor:
        return self._between(features, self._analyse(distorted))

    def _compare_analysed(self, reference: Prepared, distorted: Prepared) -> Tensor:
        return self._between(reference.features, distorted.features)

    def _between(self, first: Sequence[Tensor] | Tensor, second: Sequence[Tensor] | Tensor) -> Tensor:
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            pairs = zip(first.flatten(0, 1), second.flatten(0, 1), strict=True)
            squares = torch.stack([_tiled_squares(a, b) for a, b in pairs])
            return _pooled(squares.reshape(*first.shape[:2], LEVELS)).mean(1)
        return _distance(list(first), list(second)).mean(1)


def _tiled_squares(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of every band of one channel, (H, W) in [0, 1]: (LEVELS,); little memory is used."""
    rests = [luminance(255 * channel)[None, None] for channel in (first, second)]
    squares, filters = [], _filters(first)
    for _ in range(LEVELS - 1):
        lows = [_lowpassed(rest, filters, TILE) for rest in rests]
        total = rests[0].new_zeros(())
        for where in grid(rests[0].shape[-2:], TILE):
            a, b = (_band(rest, low, filters, where) for rest, low in zip(rests, lows, strict=True))
            total = total + (a - b).square().sum() / rests[0].numel()
        squares.append(total)
        rests = [low[..., 1:-1, 1:-1] for low in lows]
    return torch.stack([*squares, (_residue(rests[0]) - _residue(rests[1])).square().mean()])


def _distance(reference: Sequence[Tensor], distorted: Sequence[Tensor]) -> Tensor:
    """(sum over K bands of rms^0.6 / K)^(1 / 0.6), per image and channel."""
    pairs = zip(reference, distorted, strict=True)
    return _pooled(torch.stack([(a - b).square().mean((2, 3)) for a, b in pairs], -1))


def _pooled(squares: Tensor) -> Tensor:
    """The distance from the mean squared differences of the bands, (..., K)."""
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
