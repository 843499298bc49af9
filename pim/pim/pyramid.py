"""The fixed multi-scale front end of PIM: steerable, Laplacian or none.

Source: arXiv 2006.06752; steerable filters of Simoncelli and Freeman (ICIP 1995), spatial-domain
taps sp0, sp1, sp3, sp5. Deviations: images can be reduced first, a band of the detail that this loses added, and the
high-pass rest left out.

Bands come coarsest first, orientations of a scale reversed: for sp1 and 3 scales
low, (scale 2: o1, o0), (scale 1: o1, o0), (scale 0: o1, o0), high.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.device import Constants

if TYPE_CHECKING:
    from pim.pim.networks import PIMConfig

Padding = Literal["same", "replicate", "valid"]  # zeros around the picture, its border again, nothing


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
                return correlate(out, taps.flip(0), padding)
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
    and below; 0 at the border. Images that should not be held several times are taken strip by strip if `frugal`.

    Shapes:
        (N, C, H, W) -> (N, C, ceil(H / side), ceil(W / side))
    """
    rows = max(side, STRIP // image.shape[-1] // side * side)
    strips = [image[:, :, t : t + rows + 1] for t in range(0, image.shape[-2], rows)] if frugal else [image]
    means = [reduce(_squared_gradient(strip)[:, :, : rows if frugal else None], side) for strip in strips]
    return (torch.cat(means, 2) / 2 + FLAT**2).sqrt()


def _squared_gradient(image: Tensor) -> Tensor:
    # Written into zeros and squared in place: padding and fresh memory take several times as long on a CPU.
    squares = torch.zeros_like(image)
    squares[..., :-1] = (image[..., 1:] - image[..., :-1]).pow_(2)
    squares[..., :-1, :] += (image[..., 1:, :] - image[..., :-1, :]).pow_(2)
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
    """Split images into oriented bands, a low-pass and a high-pass rest, coarsest first.

    Shapes for padding "same", with S oriented filters:
        (N, C, H, W) -> [(N, C, h, w), S x (N, C, H / 2^(n-1), ...), ..., S x (N, C, H, W), (N, C, H, W)]

    Args:
        image: (N, C, H, W).
        filters: From `steerable_filters`.
        scales: n, how often every second sample is dropped; sizes are rounded up.
        padding: Of every filter; zeros again at each stage, not once around the image.
        grouped: All orientations of a scale are one band, (N, C S, ...).
        frugal: Do not store the full-size low-pass image, filter it again for each band instead.
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


class Pyramid(Constants):
    """The front end that the settings of a PIM ask for, with its filters as buffers."""

    def __init__(self, config: PIMConfig) -> None:
        """The settings; weights there are none."""
        taps = {}
        if config.pyramid == "steerable":
            taps = vars(steerable_filters(config.filter_set))
        elif config.pyramid == "laplacian":
            from pim.pim.laplacian import binomial

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
            from pim.pim.laplacian import laplacian

            return laplacian(image, self["binomial"], config.scales, config.residual)
        return [Band(image, ())]


def correlate(image: Tensor, taps: Tensor, padding: Padding = "same", stride: int = 1) -> Tensor:
    """Correlate every channel with the same taps, or with each of several.

    Args:
        image: (N, C, H, W).
        taps: (k, k) or (S, k, k), k odd.
        padding: "same" puts (k - 1) / 2 zeros on every side, also where the stride is 2, so that
            samples sit at 0, 2, 4, ...; "replicate" the pixels of the border instead; "valid" puts nothing.
        stride: Distance of the samples.

    Returns:
        (N, S C, ceil(H / stride), ceil(W / stride)), smaller for "valid"; all colours of the first filter first.
    """
    if padding != "valid" and _phases_pay(image, taps):
        return _correlate_phases(image, taps, padding, stride)
    if taps.ndim == 3:
        return torch.cat([correlate(image, one, padding, stride) for one in taps.unbind(0)], 1)
    channels = image.shape[1]
    pad = taps.shape[-1] // 2
    if padding == "replicate":
        image = replicated(image, pad, pad)
    pad = pad if padding == "same" else 0
    kernel = taps.to(image).expand(channels, 1, *taps.shape)
    # Channels last and as groups: otherwise a CPU takes two to five times as long, and more for gradients.
    image = image.contiguous(memory_format=torch.channels_last)
    return F.conv2d(image, kernel, padding=pad, stride=stride, groups=channels)


def _phases_pay(image: Tensor, taps: Tensor) -> bool:
    """Whether the detour over phases is faster: for large filters on a CPU; exporters get the plain form."""
    plain = image.device.type != "cpu" or image.dtype != torch.float32 or torch.compiler.is_compiling()
    return taps.shape[-1] >= 7 and not plain


def _correlate_phases(image: Tensor, taps: Tensor, padding: Padding, stride: int) -> Tensor:
    """`correlate` with padding, as a convolution with many channels: the pixels of blocks of side x side.

    A CPU multiplies channels many at a time. With one channel in and out most of its width lies idle, so this takes
    two thirds of the time or less for about twice the operations.
    """
    n, c, height, width = image.shape
    side = 1 << (taps.shape[-1] // 2 - 1).bit_length()  # half the filter at least, so the next blocks are all it sees
    bank = F.pad(taps.to(image).reshape(-1, taps.shape[-1] ** 2), (0, 1))
    kernel = bank[:, _phase_taps(taps.shape[-1], stride, side)].flatten(0, 1)
    down, across, phases = blocks(height, side), blocks(width, side), side // stride
    below, right = down * side - height, across * side - width
    edge = 1 if padding == "replicate" else 0  # blocks more on every side
    if edge:
        image = F.pad(image, (side, side + right, side, side + below), mode="replicate")
    else:
        image = padded(image, below, right)
    channels = image.reshape(n * c, down + 2 * edge, side, across + 2 * edge, side)
    channels = channels.permute(0, 2, 4, 1, 3).reshape(n * c, side**2, down + 2 * edge, across + 2 * edge)
    out = F.conv2d(channels, kernel, padding=1 - edge).reshape(n, c, -1, phases, phases, down, across)
    out = out.permute(0, 2, 1, 5, 3, 6, 4).reshape(n, -1, down * phases, across * phases)
    return out[..., : blocks(height, stride), : blocks(width, stride)]


@functools.cache
def _phase_taps(size: int, stride: int, side: int) -> Tensor:
    """Which of size^2 taps, or a 0 after them, stands between phases: ((side / stride)^2, side^2, 3, 3)."""
    reach, phases = size // 2, side // stride
    which = np.full((phases, phases, side, side, 3, 3), size**2)
    taps = np.arange(size**2).reshape(size, size)
    first = np.arange(phases)[:, None] * stride + np.arange(size) - reach  # (phases, size): pixels that a tap meets
    for i, rows in enumerate(first):
        for j, columns in enumerate(first):
            (block_y, y), (block_x, x) = np.divmod(rows, side), np.divmod(columns, side)
            which[i, j, y[:, None], x, block_y[:, None] + 1, block_x + 1] = taps
    with torch.inference_mode(False):  # kept for calls with gradients too
        return torch.from_numpy(which.reshape(phases**2, side**2, 3, 3))


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Of tensors of one shape."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def padded(image: Tensor, below: int, right: int) -> Tensor:
    """Zeros below and to the right; the image itself where there is nothing to add, which `F.pad` would copy."""
    # Exported programs take any size, so they always pad.
    if not torch.compiler.is_compiling() and below == right == 0:
        return image
    return F.pad(image, (0, right, 0, below))


def replicated(image: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the border outwards, (N, C, H, W) -> (N, C, H + 2 rows, W + 2 columns)."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return F.pad(image, (columns, columns, rows, rows), "replicate")
    # Compiled code expects the gradient of that in another memory order than it has, and stops (torch 2.14).
    for dim, count in ((-1, columns), (-2, rows)):
        first, last = (image.narrow(dim, at, 1) for at in (0, image.shape[dim] - 1))
        image = torch.cat([*[first] * count, image, *[last] * count], dim)
    return image


def blocks(length: int, side: int) -> int:
    """How many blocks of `side`, the last one perhaps cut, make up a length."""
    # Not -(-length // side): exported to ONNX, the quotient of a negative number is rounded the other way.
    return (length + side - 1) // side
