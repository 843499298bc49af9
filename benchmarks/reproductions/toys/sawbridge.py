"""The sawbridge: a process in infinitely many dimensions with one degree of freedom.

X(t) = t - [t > Z] for Z uniform on (0, 1). Its covariance is that of the Brownian bridge, so linear transforms
see a process of slowly falling spectrum, while a code that finds Z needs exponentially less.

Source: Wagner, Ballé, "Neural Networks Optimally Compress the Sawbridge", arXiv 2011.05065. Distortion is the
mean squared error over t, rates are bits per realisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reproductions.toys.limits import Point

Array = NDArray[np.float64]


def sawbridge(z: Tensor, points: int) -> Tensor:
    """Realisations with given jumps, at `points` equally spaced times from 0 to 1.

    Shapes: (N,) -> (N, points)
    """
    t = torch.linspace(0, 1, points, dtype=z.dtype)
    return t - (t > z[:, None]).to(z.dtype)


def sample(count: int, points: int, generator: torch.Generator, *, stationary: bool = False) -> Tensor:
    """Random realisations, (count, points), float32.

    Args:
        count: How many.
        points: Times from 0 to 1.
        generator: Of the jumps.
        stationary: Shift every realisation in a circle by a uniform time: the variant with a second unknown.
    """
    z = torch.rand(count, generator=generator)
    if not stationary:
        return sawbridge(z, points)
    shift = torch.rand(count, 1, generator=generator)
    t = (torch.linspace(0, 1, points) + shift) % 1
    return t - (t > z[:, None]).float()


@dataclass(frozen=True)
class Cells:
    """The best code of a given Lagrangian: n intervals of Z of equal probability."""

    n: int
    point: Point


def corner(n: int) -> Point:
    """Rate and distortion of n equal cells: (log2 n, 1 / (6 n)); the corners of the optimal trade-off."""
    return Point(math.log2(n), 1 / (6 * n))


def optimum(lmbda: float) -> Cells:
    """The code with the smallest L = rate + lambda * distortion, over all codes of single realisations."""
    return _best(lmbda, corner)


def breakpoint(n: int) -> float:
    """The lambda at which n and n + 1 cells are equally good."""
    return 6 * n * (n + 1) * math.log2((n + 1) / n)


def grid_optimum(lmbda: float, points: int) -> Cells:
    """The same for equal cells of the sampled process, whose distortion is smaller than that of the continuous one."""
    return _best(lmbda, lambda n: Point(math.log2(n), _grid_distortion(n, points)))


def best_partition(lmbda: float, points: int) -> float:
    """L of the best code of the sampled process, over all partitions into runs of neighbouring jumps.

    Sampled, Z can only be told apart by the gap between points in which it lies: a discrete source, whose best
    partition dynamic programming finds.
    """
    gaps = points - 1
    cost = np.array([_run_cost(lmbda, m, points) for m in range(gaps + 1)])
    best = np.full(gaps + 1, math.inf)
    best[0] = 0.0
    for end in range(1, gaps + 1):
        best[end] = min(best[end - m] + cost[m] for m in range(1, end + 1))
    return float(best[gaps])


def eigenvalues(count: int) -> Array:
    """The largest eigenvalues 1 / (pi k)^2 of the covariance min(s, t) - s t, (count,)."""
    return np.asarray(1 / (math.pi * np.arange(1, count + 1)) ** 2)


def eigenfunctions(count: int, points: int) -> Array:
    """sqrt(2) sin(pi k t) at equally spaced times, (count, points); a row has mean square about 1."""
    t = np.linspace(0, 1, points)
    return np.asarray(math.sqrt(2) * np.sin(math.pi * np.arange(1, count + 1)[:, None] * t))


def coefficients(z: Array, count: int) -> Array:
    """Karhunen-Loeve coefficients -sqrt(2) cos(pi k z) / (pi k) of realisations with given jumps, (N, count)."""
    k = np.arange(1, count + 1)
    return np.asarray(-math.sqrt(2) * np.cos(math.pi * np.asarray(z)[:, None] * k) / (math.pi * k))


def water_filling(level: float) -> Point:
    """Rate and distortion of a Gaussian process with the covariance of the sawbridge.

    No linear code beats it that ignores how the coefficients depend on each other.

    Args:
        level: The water level theta, > 0: components with larger variance are coded, each with distortion theta.
    """
    coded = math.floor(1 / (math.pi * math.sqrt(level)) + 1e-12)
    variances = eigenvalues(coded)
    rate = 0.5 * float(np.log2(variances / level).sum())
    return Point(rate, coded * level + 1 / 6 - float(variances.sum()))


def water_filling_at(rate: float) -> Point:
    """The point of `water_filling` with a given rate in bits, > 0."""
    low, high = -40.0, math.log(eigenvalues(1)[0])
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if water_filling(math.exp(middle)).rate > rate else (low, middle)
    return water_filling(math.exp(high))


def water_filling_optimum(lmbda: float) -> Point:
    """The point of `water_filling` with the smallest rate + lambda * distortion: level 1 / (2 lambda ln 2)."""
    return water_filling(1 / (2 * lmbda * math.log(2)))


def _best(lmbda: float, at: Callable[[int], Point]) -> Cells:
    """The best number of cells: L falls, then rises with it."""
    n, point = 1, at(1)
    while (following := at(n + 1)).loss(lmbda) < point.loss(lmbda):
        n, point = n + 1, following
    return Cells(n, point)


def _grid_distortion(n: int, points: int) -> float:
    """Mean over times of F (1 - F), averaged over n equal cells; F is the share of a cell that has jumped."""
    t = np.linspace(0, 1, points)
    edges = np.arange(n)[:, None] / n
    jumped = np.clip((t - edges) * n, 0, 1)
    return float((jumped * (1 - jumped)).mean(axis=1).mean())


def _run_cost(lmbda: float, m: int, points: int) -> float:
    """What a cell of m gaps adds to L: inside, the share that has jumped rises in m steps."""
    if m == 0:
        return math.inf
    p = m / (points - 1)
    jumped = np.arange(1, m) / m
    return p * (-math.log2(p) + lmbda * float((jumped * (1 - jumped)).sum()) / points)
