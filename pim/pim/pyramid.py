"""The fixed multi-scale front end of PIM: steerable, Laplacian or none.

Source: arXiv 2006.06752; steerable filters of Simoncelli and Freeman (ICIP 1995), spatial-domain
taps sp0, sp1, sp3, sp5. Deviations: none; the Laplacian is PIM's own (unpadded, 3 x 3 taps) and
differs from the one of `pim.metrics.nlpd`; images can be reduced first, a band of the detail that this loses added, and
the high-pass rest left out.

Bands come coarsest first, orientations of a scale reversed: for sp1 and 3 scales
low, (scale 2: o1, o0), (scale 1: o1, o0), (scale 0: o1, o0), high.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.device import Constants
from pim.pim.config import PIMConfig
from pim.pim.filtering import Padding, blocks, correlate, padded, sum_of


@dataclass(frozen=True)
class SteerableFilters:
    """Taps of one filter set; cross-correlate, do not flip."""

    lo0: Tensor  # (k, k), sums to 1: the low-pass that is not sampled down
    hi0: Tensor  # (k, k), sums to 0: the high-pass
    lo: Tensor  # (k, k), sums to 2: the low-pass before every second sample is dropped
    oriented: Tensor  # (S, k, k), each sums to 0


@functools.cache
def steerable_filters(name: str) -> SteerableFilters:
    """The taps of sp0, sp1, sp3 or sp5, float64, on the CPU."""
    with resources.files("pim.pim").joinpath("steerable_filters.npz").open("rb") as stream, np.load(stream) as taps:
        lo0, hi0, lo, oriented = (
            torch.from_numpy(taps[f"{name}/{key}"]) for key in ("lo0filt", "hi0filt", "lofilt", "bfilts")
        )
    # sp5 is published as 7 x 7 taps in a 9 x 9 frame, which matters where borders are not padded.
    frame = (9 - oriented.shape[-1]) // 2
    return SteerableFilters(lo0, hi0, lo, F.pad(oriented, (frame,) * 4))


def binomial() -> Tensor:
    """The 3 x 3 taps of the Laplacian pyramid, which sum to 1, float64, on the CPU."""
    row = torch.tensor([1, 2, 1], dtype=torch.float64)
    return torch.outer(row, row) / 16


@dataclass(frozen=True)
class Band:
    """A band that has not been computed yet: filters that still have to be applied to a source.

    Large images are analysed in tiles, and a tile needs only its own part of the source.
    """

    source: Tensor  # (N, 3, h, w)
    filters: tuple[Tensor, ...]  # (k, k) each, applied in order with stride 1; the last may be several, (S, k, k)

    def compute(self, padding: Padding = "same") -> Tensor:
        """The band, (N, 3, h', w'), with h' = h for padding "same"; with S filters (N, 3 S, h', w'), the last first."""
        out = self.source
        for taps in self.filters:
            if taps.ndim == 3:
                return torch.cat([correlate(out, one, padding) for one in reversed(taps.unbind(0))], 1)
            out = correlate(out, taps, padding)
        return out


def reduce(image: Tensor, side: int) -> Tensor:
    """Mean of blocks of side x side pixels, (N, C, H, W) -> (N, C, ceil(H / side), ceil(W / side)).

    Blocks that the border cuts are the mean of what is left of them.
    """
    if side == 1:
        return image
    height, width = image.shape[-2:]
    down, across = blocks(height, side), blocks(width, side)
    image = padded(image, down * side - height, across * side - width)
    # Sums of slices, rows first: `avg_pool2d` takes ten times as long on a CPU.
    for dim in (-2, -1):
        image = sum_of(image.unfold(dim, side, side).unbind(-1))
    rows, columns = (_pixels(n, side, count, image) for n, count in zip((height, width), image.shape[-2:], strict=True))
    return image / (rows[:, None] * columns)


def _pixels(length: int, side: int, count: int, like: Tensor) -> Tensor:
    """How many of `length` pixels lie within each of `count` blocks: `side`, or fewer in the last one."""
    # As many as there are blocks, rather than as many as fit: exporters cannot prove that these are equal.
    starts = torch.arange(count, dtype=like.dtype, device=like.device) * side
    return (length - starts).clamp(max=side)


FLAT = 1e-3  # gradient that counts as none: below it the root of `gradient_strength` would have no derivative


def gradient_strength(image: Tensor, side: int, *, frugal: bool = False) -> Tensor:
    """How strongly neighbouring pixels differ, block by block: what `reduce` averages out, without its pattern.

    sqrt(mean over the block of (dx^2 + dy^2) / 2 + FLAT^2), dx and dy the differences from the next pixel to the right
    and below; 0 at the border.

    Args:
        image: (N, C, H, W).
        side: Of the blocks, as in `reduce`.
        frugal: Strip by strip, for images that should not be held several times.

    Returns:
        (N, C, ceil(H / side), ceil(W / side)).
    """
    rows = max(side, STRIP // image.shape[-1] // side * side)
    strips = [image[:, :, t : t + rows + 1] for t in range(0, image.shape[-2], rows)] if frugal else [image]
    means = [reduce(_squared_gradient(strip)[:, :, : rows if frugal else None], side) for strip in strips]
    return (torch.cat(means, 2) / 2 + FLAT**2).sqrt()


def _squared_gradient(image: Tensor) -> Tensor:
    # Written into zeros: padding takes several times as long on a CPU.
    squares = torch.zeros_like(image)
    squares[..., :-1] = (image[..., 1:] - image[..., :-1]).square()
    squares[..., :-1, :] += (image[..., 1:, :] - image[..., :-1, :]).square()
    return squares


def steerable(
    image: Tensor,
    filters: SteerableFilters,
    scales: int,
    padding: Padding = "same",
    *,
    grouped: bool = False,
    frugal: bool = False,
) -> list[Band]:
    """Split images into oriented bands, a low-pass and a high-pass rest.

    Shapes for padding "same", with S oriented filters:
        (N, C, H, W) -> [(N, C, h, w), S x (N, C, H / 2^(n-1), ...), ..., S x (N, C, H, W), (N, C, H, W)]

    Args:
        image: (N, C, H, W).
        filters: From `steerable_filters`.
        scales: n, how often every second sample is dropped; sizes are rounded up.
        padding: Of every filter; zeros again at each stage, not once around the image.
        grouped: All orientations of a scale are one band, (N, C S, ...).
        frugal: Do not store the full-size low-pass image, filter it again for each band instead.

    Returns:
        n * S + 2 bands, or n + 2 if grouped, coarsest first.
    """
    finest_first = [Band(image, (filters.hi0,))]
    low = Band(image, (filters.lo0,))
    if not frugal:
        low = Band(low.compute(padding), ())
    for _ in range(scales):
        each = [filters.oriented] if grouped else filters.oriented.unbind(0)
        finest_first += [Band(low.source, (*low.filters, taps)) for taps in each]
        low = Band(_halve(low, filters.lo, padding), ())
    return [low, *reversed(finest_first)]


STRIP = 1 << 20  # positions filtered at once where memory has to be bounded


def _halve(band: Band, taps: Tensor, padding: Padding) -> Tensor:
    """Low-pass, then every second sample; strip by strip if the band was not computed yet."""
    if not band.filters:
        return correlate(band.source, taps, padding, stride=2)
    n, c, height, width = band.source.shape
    out = band.source.new_empty(n, c, (height + 1) // 2, (width + 1) // 2)
    halo = taps.shape[-1] // 2 + sum(f.shape[-1] // 2 for f in band.filters)
    halo += halo % 2  # the first sample of a strip must stay on the grid 0, 2, 4, ...
    rows = max(2, STRIP // width // 2 * 2)
    for top in range(0, height, rows):
        start, stop = max(0, top - halo), min(height, top + rows + halo)
        strip = Band(band.source[:, :, start:stop].contiguous(), band.filters).compute(padding)
        half = correlate(strip, taps, padding, stride=2)
        first = (top - start) // 2
        count = (min(rows, height - top) + 1) // 2
        out[:, :, top // 2 : top // 2 + count] = half[:, :, first : first + count]
    return out


def laplacian(image: Tensor, taps: Tensor, scales: int, residual: bool = True) -> list[Band]:
    """PIM's Laplacian pyramid: unpadded 3 x 3 low-pass, differences cropped by 2 on every side.

    Shapes, one level:
        (N, C, H, W) -> band (N, C, H - 4, W - 4), next image (N, C, (H - 3) // 2 + 1, ...)

    Args:
        image: (N, C, H, W).
        taps: (3, 3), of `binomial`.
        scales: Number of bands.
        residual: The last band is the remaining low-pass image itself; otherwise it is a
            difference too, and the mean of the image is lost.

    Returns:
        `scales` bands, coarsest first.
    """
    finest_first = []
    for level in range(scales):
        if residual and level == scales - 1:
            finest_first.append(Band(image, ()))
            break
        low = correlate(image, taps, "valid", stride=2)
        n, c, height, width = image.shape
        flat = low.reshape(n * c, 1, *low.shape[-2:])
        up = F.conv_transpose2d(flat, 4 * taps.to(image)[None, None], stride=2)
        up = up.reshape(n, c, *up.shape[-2:])[..., 2 : height - 2, 2 : width - 2]
        finest_first.append(Band(image[..., 2 : height - 2, 2 : width - 2] - up, ()))
        image = low
    return finest_first[::-1]


class Pyramid(Constants):
    """The front end that the settings of a PIM ask for, with its filters as buffers."""

    def __init__(self, config: PIMConfig) -> None:
        """The settings; weights there are none."""
        taps = {}
        if config.pyramid == "steerable":
            taps = vars(steerable_filters(config.filter_set))
        elif config.pyramid == "laplacian":
            taps = {"binomial": binomial()}
        super().__init__(**taps)
        self.config = config

    def forward(self, image: Tensor, *, frugal: bool = False) -> list[Band]:
        """The bands of images (N, 3, H, W), coarsest first; `frugal` as in `steerable`."""
        bands = self._decompose(reduce(image, self.config.reduction), frugal)
        if self.config.detail:
            bands.append(Band(gradient_strength(image, self.config.reduction, frugal=frugal), ()))
        return bands

    def of_crops(self, crops: Tensor) -> list[Band]:
        """The same for crops of training: cut at random scales, they count as reduced, unless detail is asked for."""
        return self(crops) if self.config.detail else self._decompose(crops, False)

    def _decompose(self, image: Tensor, frugal: bool) -> list[Band]:
        config = self.config
        if config.pyramid == "steerable":
            filters = SteerableFilters(self["lo0"], self["hi0"], self["lo"], self["oriented"])
            bands = steerable(image, filters, config.scales, config.padding, grouped=config.grouped, frugal=frugal)
            return bands if config.high_pass else bands[:-1]
        if config.pyramid == "laplacian":
            return laplacian(image, self["binomial"], config.scales, config.residual)
        return [Band(image, ())]
