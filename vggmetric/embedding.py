"""Images as points: normalised features of VGG-16, and how far two images are apart in each of them.

    u_0 = z                                                the pixels, as the network sees them
    u_l = f_l / sqrt(sum_c f_l,c^2 + eps)                  norm "unit"
    u_l = f_l / s_l                                        norm "none"; s_l: fixed scales
    q_l,c(x, y) = mean_p (u_l,c(x)(p) - u_l,c(y)(p))^2     the quantities that a head weights

With eps inside the root the gradient is finite where all channels of a position are 0, and 0 at x = y.
Large images are computed in tiles, and features are compared strip by strip, unless gradients are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pim.core.device import accumulation
from pim.errors import UsageError
from pim.pim.tiles import WHOLE, Place, grid, with_halo
from vggmetric.features import CHANNELS, STRIDES, Network, reach

Norm = Literal["unit", "none"]

EPS = 1e-10
TILE = 1024  # side of a tile in pixels, a multiple of the largest stride
TILED = 1 << 21  # pixels of an image above which it is computed in tiles
KEEP = 5 << 29  # bytes of normalised features up to which an analysis keeps them
STRIP = 1 << 18  # values that are compared at a time: few enough for a cache, enough to keep threads busy


@dataclass(frozen=True)
class Analysis:
    """An image analysed once: its normalised features, or the image itself if they are too large to keep."""

    image: Tensor  # (N, 3, H, W)
    units: Mapping[str, Tensor] | None  # by tap, (N, C, h, w)


@dataclass(frozen=True)
class _Part:
    """The features of two images at some positions of a tap."""

    tap: str
    place: Place  # of the positions in the whole tap
    first: Tensor  # (N, C, h, w)
    second: Tensor
    known: bool  # the first are normalised


class Embedding(nn.Module):
    """Normalised features of a network.

    Args:
        network: The backbone.
        norm: "unit" divides by the length over channels, "none" by a fixed scale.
        eps: Added to the squared length.
        scales: For "none": root mean square of each tap; 1 where it is missing.
        cache_dtype: In which an analysis is kept; None: as computed. float16 halves it and costs digits.

    Raises:
        UsageError: if the norm is unknown.
    """

    def __init__(
        self,
        network: Network,
        norm: Norm = "unit",
        eps: float = EPS,
        scales: Mapping[str, float] | None = None,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("unit", "none"):
            raise UsageError(f"norm must be 'unit' or 'none'; got {norm!r}")
        self.network, self.norm, self.eps, self.cache_dtype = network, norm, eps, cache_dtype
        self.scales = dict(scales or {})

    def normalise(self, tap: str, features: Tensor) -> Tensor:
        """Features of a tap, (N, C, h, w), as the distance sees them."""
        if tap == "pixels":
            return features
        if self.norm == "none":
            return features / self.scales.get(tap, 1.0)
        # vector_norm passes once over memory, and its gradient is 0 where the length is.
        length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        return features * (length.square() + self.eps).rsqrt()

    def analyse(self, image: Tensor, taps: Sequence[str] | None = None) -> Analysis:
        """Analyse one image alone, (N, 3, H, W), sRGB in [0, 1], not checked here; without `taps` in all of them."""
        taps = self.network.taps if taps is None else taps
        if _tiled(image) or self._bytes(image, taps) > KEEP:
            return Analysis(image, None)
        found = self.network(image, self._deepest(taps))
        units = {tap: self.normalise(tap, features) for tap, features in found if tap in taps}
        if self.cache_dtype is not None:
            units = {tap: values.to(self.cache_dtype) for tap, values in units.items()}
        return Analysis(image, units)

    def differences(
        self, first: Tensor | Analysis, second: Tensor, taps: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """How far two images are apart in every channel of every tap.

        Args:
            first: (N, 3, H, W), sRGB in [0, 1], not checked here; or its analysis for the same taps.
            second: The same shape.
            taps: Those wanted; without it all of the network.

        Returns:
            By tap, (N, C): q, the mean over positions of the squared difference, 0 or more.
        """
        wide = accumulation(second.device)  # sums over millions of positions lose digits in float32
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for part in self._parts(first, second, taps):
            for rows in _strips(part.second):
                found = self._difference(part, rows).square().sum((2, 3)).to(wide)
                sums[part.tap] = sums[part.tap] + found if part.tap in sums else found
            counts[part.tap] = counts.get(part.tap, 0) + part.second.shape[-2] * part.second.shape[-1]
            del part  # the next tap finds room
        return {tap: (total / counts[tap]).to(second.dtype) for tap, total in sums.items()}

    def maps(self, first: Tensor | Analysis, second: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Show where two images differ in each tap; they are as for `differences`.

        Weights are by tap, (C,) or (1,), 0 or more. Returns e by tap, (N, h, w), 0 or more: the weighted sum over
        channels of the squared difference.
        """
        found: dict[str, Tensor] = {}
        for part in self._parts(first, second, tuple(weights)):
            channels = weights[part.tap].expand(part.second.shape[1])
            strips = [self._difference(part, r).square().movedim(1, -1) @ channels for r in _strips(part.second)]
            values = torch.cat(strips, 1)
            if part.place[0].stop is None:
                found[part.tap] = values
            else:
                if part.tap not in found:
                    found[part.tap] = values.new_empty(len(values), *_size(second, part.tap))
                found[part.tap][:, *part.place] = values
            del part, values  # the next tap finds room
        return found

    def _difference(self, part: _Part, rows: slice) -> Tensor:
        first, second = part.first[:, :, rows], part.second[:, :, rows]
        known = first.to(second.dtype) if part.known else self.normalise(part.tap, first)
        return known - self.normalise(part.tap, second)

    def _parts(self, first: Tensor | Analysis, second: Tensor, taps: Sequence[str] | None) -> Iterator[_Part]:
        """Every tap, tile by tile; the features of one part at a time."""
        taps = self.network.taps if taps is None else taps
        image, units = (first.image, first.units) if isinstance(first, Analysis) else (first, None)
        size, last = second.shape[-2:], self._deepest(taps)
        coarsest = max(STRIDES.values())  # tiles and their surroundings begin where positions of every tap begin
        halo = -(-reach(last, self.network.pool) // coarsest) * coarsest
        for where in grid(size, TILE if _tiled(second) else None):
            outer, _ = with_halo(where, halo, size)
            others = self.network(second[:, :, *outer], last)
            ones = self.network(image[:, :, *outer], last) if units is None else None
            for tap, features in others:
                same = None if ones is None else next(ones)[1]
                if tap not in taps:
                    continue
                place, inside = _placed(where, outer, STRIDES[tap])
                known = same[:, :, *inside] if same is not None else units[tap][:, :, *place]  # type: ignore[index]
                yield _Part(tap, place, known, features[:, :, *inside], same is None)
                del features, same, known  # the next tap finds room

    def _deepest(self, taps: Sequence[str]) -> str:
        return max(taps, key=list(CHANNELS).index)

    def _bytes(self, image: Tensor, taps: Sequence[str]) -> int:
        width = (self.cache_dtype or image.dtype).itemsize
        return sum(len(image) * CHANNELS[tap] * _size(image, tap).numel() * width for tap in taps)


def _tiled(image: Tensor) -> bool:
    return not torch.is_grad_enabled() and image.shape[-2] * image.shape[-1] > TILED


def _size(image: Tensor, tap: str) -> torch.Size:
    """Rows and columns of a tap."""
    return torch.Size(side // STRIDES[tap] for side in image.shape[-2:])


def _strips(features: Tensor) -> Iterator[slice]:
    """Rows that are compared together: all of them where a graph is recorded."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield slice(None)
        return
    height = features.shape[-2]
    rows = max(1, STRIP * height // max(1, features.numel()))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _placed(where: Place, outer: Place, stride: int) -> tuple[Place, Place]:
    """Where the positions of a tile lie in the whole tap, and in the tap of the tile with its surroundings."""
    if where[0].stop is None:
        return WHOLE, WHOLE
    whole, inside = [], []
    for part, around in zip(where, outer, strict=True):
        start, stop, offset = part.start // stride, part.stop // stride, around.start // stride
        whole.append(slice(start, stop))
        inside.append(slice(start - offset, stop - offset))
    return (whole[0], whole[1]), (inside[0], inside[1])
