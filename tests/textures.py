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
    """A picture (3, H, W) in [0, 1] that shows at p what lies at A p + t: waves whose strength falls as 1 / frequency."""
    generator = torch.Generator().manual_seed(seed)
    count = 160
    frequency = 0.004 * (0.2 / 0.004) ** torch.rand(count, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    mix = torch.rand(3, count, generator=generator, dtype=torch.float64) + 0.5
    matrix = torch.tensor(through or similarity(), dtype=torch.float64)
    y = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    there = [row[0] * x + row[1] * y + row[2] for row in matrix]
    along = torch.cos(angle)[:, None, None] * there[0] + torch.sin(angle)[:, None, None] * there[1]
    waves = torch.cos(2 * math.pi * frequency[:, None, None] * along + phase)
    strength = frequency**-0.7
    sums = torch.einsum("ck,khw->chw", mix * strength, waves)
    scale = 0.14 / (mix * strength).square().sum(1).div(2).sqrt()
    return (0.5 + scale[:, None, None] * sums).clamp(0, 1).float()
