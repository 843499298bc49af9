"""What lies between two pictures geometrically, as numbers a person can read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Point = tuple[float, float]
Row = tuple[float, float, float]


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
