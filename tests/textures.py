"""Textures that are known everywhere between their pixels, so that a displaced one needs no interpolation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Matrix = list[list[float]]


def similarity(right: float = 0.0, down: float = 0.0, turn: float = 0.0, zoom: float = 1.0) -> Matrix:
    """[A | t] about the middle: shift in pixels, turn in degrees clockwise, zoom as a factor."""
    c, s = zoom * math.cos(math.radians(turn)), zoom * math.sin(math.radians(turn))
    return [[c, -s, right], [s, c, down]]


def texture(height: int, width: int, *, seed: int = 0, through: Matrix | None = None) -> Tensor:
    """A picture (3, H, W) in [0, 1] that shows at p what lies at A p + t: waves, weaker the finer they are."""
    generator = torch.Generator().manual_seed(seed)
    count = 96
    frequency = 0.004 * (0.2 / 0.004) ** torch.rand(count, generator=generator)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    mix = (torch.rand(3, count, generator=generator) + 0.5) * frequency**-0.7
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    right, down = (row[0] * x + row[1] * y + row[2] for row in through or similarity())
    along = angle.cos()[:, None, None] * right + angle.sin()[:, None, None] * down
    waves = torch.cos(2 * math.pi * frequency[:, None, None] * along + phase)
    scale = 0.14 / mix.square().sum(1).div(2).sqrt()
    return (0.5 + torch.einsum("ck,khw->chw", mix * scale[:, None], waves)).clamp(0, 1)
