"""Low-dimensional sources whose rate-distortion behaviour is known or can be computed.

Source: Ballé et al., "Nonlinear Transform Coding", arXiv 2007.03034, sections III and IV (Laplace and banana).
The ring is ours: a source whose mass surrounds a hole, as no Gaussian does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.integrate import quad
from torch import Tensor

from reproductions.toys.limits import LAPLACE_ENTROPY

BANANA_DEVIATIONS = (3.0, 0.5)  # of the two normals before the bend
BANANA_BEND, BANANA_ANGLE, BANANA_SHIFT = 0.1, math.radians(240), -1.0
RING_RADIUS, RING_DEVIATION = 4.0, 0.25


@dataclass(frozen=True)
class Source:
    """A memoryless source of vectors."""

    name: str
    dimensions: int
    entropy: float  # differential entropy in bits per vector
    sample: Callable[[int, torch.Generator], Tensor]  # count, generator -> (count, dimensions), float32


def laplace_from_uniform(u: Tensor) -> Tensor:
    """Laplace with location 0 and scale 1 (variance 2) from uniform numbers in (0, 1), by the inverse distribution."""
    centred = u - 0.5
    return -torch.sign(centred) * torch.log1p(-2 * centred.abs())


def banana_from_normal(z: Tensor) -> Tensor:
    """The banana from normals with deviations 3 and 1/2: bent, turned by 240 degrees, moved. Keeps volumes.

    Shapes: (N, 2) -> (N, 2)
    """
    bent = torch.stack([z[:, 0], z[:, 1] - BANANA_BEND * z[:, 0] ** 2], dim=1)
    cos, sin = math.cos(BANANA_ANGLE), math.sin(BANANA_ANGLE)
    rotation = torch.tensor([[cos, -sin], [sin, cos]], dtype=z.dtype)
    return bent @ rotation + BANANA_SHIFT


def _sample_laplace(count: int, generator: torch.Generator) -> Tensor:
    u = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return laplace_from_uniform(u.clamp_min(2**-54)).float()


def _sample_banana(count: int, generator: torch.Generator) -> Tensor:
    deviations = torch.tensor(BANANA_DEVIATIONS)
    return banana_from_normal(torch.randn(count, 2, generator=generator) * deviations)


def _sample_ring(count: int, generator: torch.Generator) -> Tensor:
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    radius = RING_RADIUS + RING_DEVIATION * torch.randn(count, generator=generator)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


def _ring_entropy() -> float:
    """h(radius) + E log2(2 pi radius): in polar coordinates the angle is uniform."""

    def weighted(t: float) -> float:
        density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        return density * math.log2(2 * math.pi * (RING_RADIUS + RING_DEVIATION * t))

    return 0.5 * math.log2(2 * math.pi * math.e * RING_DEVIATION**2) + float(quad(weighted, -8, 8)[0])


LAPLACE = Source("laplace", 1, LAPLACE_ENTROPY, _sample_laplace)
BANANA = Source("banana", 2, math.log2(2 * math.pi * math.e * math.prod(BANANA_DEVIATIONS)), _sample_banana)
RING = Source("ring", 2, _ring_entropy(), _sample_ring)
SOURCES = {source.name: source for source in (LAPLACE, BANANA, RING)}
