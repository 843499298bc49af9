"""Displacement: which shift, turn and zoom lies between two pictures.

A warp says where in the distorted picture the content of each pixel of the reference lies: w(p) = A p + t, with p
and t in pixels of the full picture, x to the right, y down, from its middle. It is the matrix [A | t], (N, 2, 3).

Steps go uphill in the enhanced correlation coefficient, inverse compositional. Source: Evangelidis and Psarakis,
"Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI 2008. Deviations: only what both
pictures show counts, so that all moments are taken again in every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.device import accumulation

Point = tuple[float, float]
Row = tuple[float, float, float]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SEARCHED = 96  # longest side of the copies on which everything is tried
LARGEST = 1 << 19  # blocks of the finest copy
STILL = 0.1  # pixels in the mean: less is taken for none
SAME = 0.7  # correlation of details under which two pictures show different things

# Shift right and down, growth, turn; each as weights of six fields: right, down, and both times x and times y.
MOTIONS = (
    (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 1.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 0.0, 1.0, -1.0, 0.0),
)


@dataclass(frozen=True)
class Displacement:
    """How the content of a reference lies in the distorted picture: a shift, a turn and a zoom about the middle.

    Lengths are in pixels, x to the right and y down.
    """

    matrix: tuple[Row, Row]  # takes (x, y, 1), 0 the middle of the first pixel, from the reference to the distorted
    pixels: float  # mean length of the displacement over the picture
    corners: tuple[Point, Point, Point, Point]  # the displacement top left, top right, bottom left, bottom right
    shift: Point  # of the middle
    turn: float  # degrees, clockwise
    zoom: float  # percent; above 0 the distorted picture shows things larger
    overlap: float  # share of the reference whose content the distorted picture shows too
    reason: str | None  # why the pictures are compared as they lie; None if they are displaced

    @property
    def found(self) -> bool:
        """Whether the pictures are displaced."""
        return self.reason is None

    @classmethod
    def of(cls, warp: Tensor, size: tuple[int, int], overlap: float, reason: str | None = None) -> Displacement:
        """The displacement of a warp (2, 3) about the middle of a picture of `size`, height and width."""
        warp = warp.cpu().double()
        linear, shift = warp[:, :2], warp[:, 2]
        middle = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=torch.float64)
        offset = middle + shift - linear @ middle
        ends = torch.tensor([[x, y] for y in (0.0, size[0] - 1) for x in (0.0, size[1] - 1)], dtype=torch.float64)
        corners = [(x, y) for x, y in (ends @ linear.T + offset - ends).tolist()]
        return cls(
            matrix=((*linear[0].tolist(), float(offset[0])), (*linear[1].tolist(), float(offset[1]))),
            pixels=float(mean_length(warp[None], size)),
            corners=(corners[0], corners[1], corners[2], corners[3]),
            shift=(float(shift[0]), float(shift[1])),
            turn=math.degrees(math.atan2(float(linear[1, 0] - linear[0, 1]), float(linear[0, 0] + linear[1, 1]))),
            zoom=100 * (math.sqrt(float(torch.det(linear))) - 1),
            overlap=overlap,
            reason=reason,
        )


def mean_length(warps: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean displacement over a picture of `size` by warps (N, 2, 3) about its middle, from 16 x 16 places, (N,)."""
    y, x = (((torch.arange(16, device=warps.device, dtype=warps.dtype) + 0.5) / 16 - 0.5) * side for side in size)
    places = torch.stack([x.expand(16, 16), y[:, None].expand(16, 16), torch.ones_like(x).expand(16, 16)])
    moved = warps @ places.flatten(1) - places[:2].flatten(1)
    return moved.square().sum(1).sqrt().mean(1)


def register(reference: Tensor, distorted: Tensor) -> list[Displacement]:
    """Find how the content of each reference (N, 3, H, W), sRGB in [0, 1], lies in the distorted picture.

    Returns:
        N displacements; where none explains the pair better, that of no motion with the reason.
    """
    with torch.no_grad():
        gray, other = (_gray(image.float()) for image in (reference, distorted))
        first, second = _copies(gray), _copies(other)
        size = (gray.shape[-2], gray.shape[-1])
        warps, overlap = identity(len(gray), gray), [1.0] * len(gray)
        reasons: list[str | None] = ["not displaced"] * len(gray)
        here = step(analyse(first.images[0], first.lattices[0]), second.images[0])
        moves = (mean_length(plus_identity(here.motion), size) >= STILL) | (here.correlation < SAME)
        moving = torch.nonzero(moves)[:, 0]
        if len(moving):
            from pim.pim.registration.search import judge, polish, search

            found = search(first.of(moving), second.of(moving))
            found = polish(smooth(gray[moving]), smooth(other[moving]), found)
            judged = judge(first.of(moving), second.of(moving), found)
            for pair, warp, (reason, share) in zip(moving.cpu().tolist(), found, judged, strict=True):
                reasons[pair] = reason
                if reason is None:
                    warps[pair], overlap[pair] = warp, share
        return [Displacement.of(w, size, s, why) for w, s, why in zip(warps.cpu(), overlap, reasons, strict=True)]


class Copies(NamedTuple):
    """Reduced lumas of N pictures, (N, 1, h, w) each, finest first."""

    images: list[Tensor]
    lattices: list[Lattice]  # where the pixels of each lie
    surround: Tensor  # (N, 1, h, w) means of wide surroundings, as small as the last image

    def of(self, pairs: Tensor) -> Copies:
        """The copies of some of the pictures."""
        return Copies([image[pairs] for image in self.images], self.lattices, self.surround[pairs])

    def details(self, level: int) -> Tensor:
        """What an image has beside its surroundings: light and borders that both pictures share hide a displacement."""
        image = self.images[level]
        return image - F.interpolate(self.surround, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _copies(gray: Tensor) -> Copies:
    size = (gray.shape[-2], gray.shape[-1])
    lattices = [Lattice(size, finest(size))]
    images = [smooth(F.avg_pool2d(gray, lattices[0].factor))]
    while max(images[-1].shape[-2:]) > SEARCHED and min(images[-1].shape[-2:]) >= 32:
        images.append(F.avg_pool2d(images[-1], 2))
        lattices.append(Lattice(size, 2 * lattices[-1].factor))
    side = min(images[-1].shape[-2:]) // 4 | 1
    surround = F.avg_pool2d(images[-1], side, 1, side // 2, count_include_pad=False)
    return Copies(images, lattices, surround)


def finest(size: tuple[int, int]) -> int:
    """The side of the blocks of the finest copy."""
    factor = 1 if min(size) < 128 else 2
    while size[0] * size[1] > LARGEST * factor**2:
        factor *= 2
    return factor


def _gray(image: Tensor) -> Tensor:
    luma: Tensor = torch.tensordot(image, image.new_tensor(LUMA), ([1], [0]))
    return luma[:, None]


def smooth(gray: Tensor) -> Tensor:
    """Pictures (N, 1, h, w) without the finest noise, the same shape."""
    kernel = gray.new_tensor([0.25, 0.5, 0.25])
    return F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel)[None, None])


@dataclass(frozen=True)
class Lattice:
    """Where to look in a picture, or in a copy of it reduced by whole blocks."""

    full: tuple[int, int]  # height and width of the picture
    factor: int = 1  # side of the blocks
    every: int = 1  # only each second block or so, along rows and columns

    @property
    def blocks(self) -> tuple[int, int]:
        """Height and width of the reduced copy; a rest that fills no block is left out."""
        return self.full[0] // self.factor, self.full[1] // self.factor

    @property
    def reach(self) -> float:
        """From the middle of the picture to its corners, pixels."""
        return math.hypot(*self.full) / 2

    def axes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Where the middles of the blocks lie, y (h,) and x (w,), in pixels from the middle of the picture."""
        y, x = (
            (torch.arange(0, blocks, self.every, device=like.device, dtype=like.dtype) + 0.5) * self.factor - side / 2
            for blocks, side in zip(self.blocks, self.full, strict=True)
        )
        return y, x

    def places(self, warp: Tensor) -> Tensor:
        """Where a warp takes every block, (N, h, w, 2), as `sample` reads it: -1 and 1 are the outer borders."""
        y, x = self.axes(warp)
        sides = [blocks * self.factor / 2 for blocks in reversed(self.blocks)]
        shift = warp.new_tensor([full / 2 for full in reversed(self.full)]) - warp.new_tensor(sides)
        to = torch.cat([warp[..., :2], warp[..., 2:] + shift[:, None]], -1) / warp.new_tensor(sides)[:, None]
        a, b, c = (column[:, None, None] for column in to.unbind(-1))  # (N, 1, 1, 2)
        return (y[:, None, None] * b + c) + x[:, None] * a


def identity(count: int, like: Tensor) -> Tensor:
    """Warps that leave everything where it is, (N, 2, 3)."""
    return torch.eye(2, 3, device=like.device, dtype=like.dtype).repeat(count, 1, 1)


def plus_identity(motion: Tensor) -> Tensor:
    """The warps that add a motion (N, 2, 3) to every place."""
    return motion + identity(len(motion), motion)


def inside(places: Tensor, size: tuple[int, int], margin: float = 0.0) -> Tensor:
    """Which places lie between the middles of pixels and `margin` pixels from the outermost, (N, h, w), bool."""
    limit = places.new_tensor([1 - (1 + 2 * margin) / side for side in reversed(size)])
    return (places.abs() <= limit).all(-1)


def sample(image: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """A picture (N, C, h, w) at places (N, h, w, 2); beyond its border it is continued by it."""
    return F.grid_sample(image, places, mode=mode, padding_mode="border", align_corners=False)


class Template(NamedTuple):
    """What a reference contributes to every step on one lattice."""

    rows: Tensor  # (N, 6, h * w): ones, the picture, and its change with each of four motions
    lattice: Lattice


class Step(NamedTuple):
    """One step uphill for N pairs."""

    correlation: Tensor  # (N,) of what both show, before the step
    motion: Tensor  # (N, 2, 3) the reference displaced by it fits better
    share: Tensor  # (N,) of the reference that has a partner


def analyse(reference: Tensor, lattice: Lattice) -> Template:
    """Prepare reference pictures (N, 1, h, w) on a lattice."""
    slopes = torch.gradient(reference[:, 0], spacing=float(lattice.factor), dim=(-2, -1))
    down, right = (slope[:, :: lattice.every, :: lattice.every] for slope in slopes)
    y, x = (axis / lattice.reach for axis in lattice.axes(reference))
    changes = torch.stack([right, down, right * x, down * x, right * y[:, None], down * y[:, None]], 1)
    changes = torch.einsum("kp,nphw->nkhw", reference.new_tensor(MOTIONS), changes)
    seen = reference[..., :: lattice.every, :: lattice.every]
    return Template(torch.cat([torch.ones_like(seen), seen, changes], 1).flatten(2), lattice)


def step(known: Template, distorted: Tensor, warp: Tensor | None = None, mode: str = "bilinear") -> Step:
    """The step from a warp (N, 2, 3), or from none, for distorted pictures (N, 1, h, w)."""
    if warp is None:
        seen = distorted[..., :: known.lattice.every, :: known.lattice.every]
        rows = torch.cat([known.rows, seen.flatten(2)], 1)
        weighted = rows
    else:
        places = known.lattice.places(warp)
        rows = torch.cat([known.rows, sample(distorted, places, mode).flatten(2)], 1)
        weighted = rows * inside(places, known.lattice.blocks).flatten(1)[:, None]
    moments = (weighted @ rows.transpose(1, 2)).to(accumulation(rows.device))
    correlation, amounts = _ascend(moments)
    amounts = amounts.clamp(-known.lattice.reach / 2, known.lattice.reach / 2)  # no fold, however poor the fit
    fields = (amounts @ moments.new_tensor(MOTIONS)).reshape(-1, 3, 2).transpose(1, 2)  # offset, along x, along y
    offset, linear = fields[..., :1], fields[..., 1:] / known.lattice.reach
    share = moments[:, 0, 0] / known.rows.shape[2]
    return Step(correlation.to(rows), torch.cat([linear, offset], -1).to(rows), share.to(rows))


def _ascend(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (N,) and the step (N, K) that raises it most; second moments of ones, r, its K changes, and w."""
    count = moments[:, :1, :1].clamp_min(1)
    spread = (moments - moments[:, :, :1] * moments[:, :1] / count)[:, 1:, 1:]
    r, w = spread[:, 0], spread[:, -1]
    slopes = spread[:, 1:-1, 1:-1]
    tiny = torch.finfo(moments.dtype).tiny
    ridge = slopes.diagonal(dim1=1, dim2=2).mean(1) * 1e-6 + tiny
    slopes = slopes + torch.diag_embed(ridge[:, None].expand(-1, slopes.shape[1]))
    solved = torch.linalg.solve(slopes, torch.stack([r[:, 1:-1], w[:, 1:-1]], -1))  # of r and of w by the changes
    fitted = (r[:, None, 1:-1] @ solved)[:, 0]
    over, under = r[:, 0] - fitted[:, 0], w[:, 0] - fitted[:, 1]
    gain = torch.where(under > 0, over / under.clamp_min(tiny), 0)
    step = solved[..., 1] * gain[:, None] - solved[..., 0]
    correlation = w[:, 0] / (r[:, 0] * w[:, -1]).clamp_min(tiny).sqrt()
    return correlation, step
