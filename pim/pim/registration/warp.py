"""Affine warps of pictures about their middle, and sampling through them.

A warp says where in the distorted picture the content of each pixel of the reference lies: w(p) = A p + t, with p
and t in pixels of the full picture, x to the right, y down, from its middle. It is the matrix [A | t], (N, 2, 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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


def compose(first: Tensor, then: Tensor) -> Tensor:
    """The warp p -> then(first(p)), (N, 2, 3)."""
    linear = then[..., :2] @ first
    return torch.cat([linear[..., :2], linear[..., 2:] + then[..., 2:]], -1)


def inverse(warp: Tensor) -> Tensor:
    """The warp that undoes one, (N, 2, 3); singular ones raise."""
    linear = torch.linalg.inv(warp[..., :2])
    return torch.cat([linear, -linear @ warp[..., 2:]], -1)


def inside(places: Tensor, size: tuple[int, int], margin: float = 0.0) -> Tensor:
    """Which places lie between the middles of pixels and `margin` pixels from the outermost, (N, h, w), bool."""
    limit = places.new_tensor([1 - (1 + 2 * margin) / side for side in reversed(size)])
    return (places.abs() <= limit).all(-1)


def sample(image: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """A picture (N, C, h, w) at places (N, h, w, 2); beyond its border it is continued by it."""
    return F.grid_sample(image, places, mode=mode, padding_mode="border", align_corners=False)


def about_middle(matrix: tuple[tuple[float, ...], ...], size: tuple[int, int]) -> Tensor:
    """The warp (1, 2, 3) about the middle of a picture of `size` that a matrix gives from its first pixel."""
    given = torch.tensor(matrix, dtype=torch.float64)
    middle = torch.tensor([[(size[1] - 1) / 2], [(size[0] - 1) / 2]], dtype=torch.float64)
    return torch.cat([given[:, :2], given[:, 2:] + given[:, :2] @ middle - middle], 1)[None]
