"""How far a number could move with other pictures: bootstrap intervals and paired tests.

Ratings of one reference picture are not independent, so references are drawn, with all their
rows. Every metric of a table sees the same draws, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pim.errors import InputError, UsageError

Array = NDArray[np.float64]

DRAWS = 2000
SEED = 20240229
LEVEL = 0.95
BLOCK = 1 << 20  # array elements handled at once
FEW_CLUSTERS = 10  # below: an interval with a warning
TOO_FEW_CLUSTERS = 5  # below: none


class Interval(NamedTuple):
    """A bootstrap interval of one statistic."""

    low: float
    high: float


def draw_clusters(clusters: int, draws: int = DRAWS, seed: int = SEED, at_once: int = DRAWS) -> Iterator[Array]:
    """How often each cluster is drawn, with replacement, in every bootstrap sample.

    Args:
        clusters: Number of clusters, G.
        draws: Number of samples, B.
        seed: Of the PCG64 generator.
        at_once: Samples in a block; the samples do not depend on it.

    Yields:
        Blocks (b, G) of whole numbers; each row sums to G.

    Raises:
        UsageError: if a number is not positive.
    """
    if clusters < 1 or draws < 1:
        raise UsageError(f"clusters and draws must be positive; got {clusters} and {draws}")
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, draws, at_once):
        yield counts_of(generator.integers(0, clusters, size=(min(at_once, draws - start), clusters)))


def counts_of(drawn: NDArray[np.int64]) -> Array:
    """Drawn cluster numbers (B, G) as how often each cluster occurs: (B, G)."""
    draws, clusters = drawn.shape
    flat = drawn + clusters * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * clusters).reshape(draws, clusters).astype(np.float64)


def row_mean_draws(values: Array, draws: int = DRAWS, seed: int | Sequence[int] = SEED) -> Array:
    """Means of bootstrap samples of rows, for data that publish no sources to draw.

    Optimistic: rows that share a source picture are treated as independent.

    Args:
        values: (n,) or (n, M), M columns that see the same draws.
        draws: B.
        seed: Of the PCG64 generator; several numbers name a stratum.

    Returns:
        (B,) or (B, M).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = len(values)
    step = max(1, BLOCK // rows)
    blocks = [min(step, draws - start) for start in range(0, draws, step)]
    return np.concatenate([counts_of(generator.integers(0, rows, size=(b, rows))) @ values / rows for b in blocks])


def clusters_warning(clusters: int, what: str = "references") -> str | None:
    """What to say about an interval over so few clusters; None if they suffice."""
    if clusters < TOO_FEW_CLUSTERS:
        return f"no interval: {clusters} {what}, at least {TOO_FEW_CLUSTERS} are needed"
    if clusters < FEW_CLUSTERS:
        return f"the interval rests on {clusters} {what} only"
    return None


def percentile_interval(values: Array, level: float = LEVEL) -> Interval:
    """The middle `level` of the bootstrap values (B,), by linearly interpolated quantiles.

    Raises:
        InputError: if a value is NaN; leave undefined draws out and count them.
    """
    low, high = np.quantile(_defined(values), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bca_interval(values: Array, estimate: float, left_out: Array, level: float = LEVEL) -> Interval:
    """Bias-corrected and accelerated interval (Efron 1987).

    Args:
        values: Bootstrap values, (B,).
        estimate: The statistic of all rows.
        left_out: The statistic with each cluster left out in turn, (G,).
        level: Share of values inside.

    Raises:
        InputError: if a value is NaN, or all bootstrap values lie on one side of the estimate.
    """
    bias, acceleration = bca_constants(_defined(values), estimate, _defined(left_out))
    z = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(values, norm.cdf(bias + z / (1 - acceleration * z)))
    return Interval(float(low), float(high))


def bca_constants(values: Array, estimate: float, left_out: Array) -> tuple[float, float]:
    """Bias correction z0, where values equal to the estimate count half, and acceleration."""
    below = np.mean(values < estimate) + np.mean(values == estimate) / 2
    if not 0 < below < 1:
        raise InputError("no BCa interval: all bootstrap values lie on one side of the estimate")
    change = left_out.mean() - left_out
    spread = float(np.sum(change**2))
    acceleration = float(np.sum(change**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    return float(norm.ppf(below)), acceleration


def paired_p(differences: Array) -> float:
    """Two-sided p value of "no difference" from bootstrap differences (B,) of two metrics on the same draws.

    Never below `smallest_p(B)`: the resolution of the draws.

    Raises:
        InputError: if a difference is NaN.
    """
    values = _defined(differences)
    rarer = min(int(np.sum(values <= 0)), int(np.sum(values >= 0)))
    return min(1.0, (1 + rarer) * smallest_p(len(values)))


def smallest_p(draws: int) -> float:
    """The smallest p value that so many draws can show."""
    return 2 / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values for a family of tests, in the order given.

    >>> [round(p, 6) for p in holm([0.001, 0.02, 0.04, 0.03, 0.5])]
    [0.005, 0.08, 0.09, 0.09, 0.5]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * float(p_values[index])))
        adjusted[index] = highest
    return adjusted


def _defined(values: Array) -> Array:
    if len(values) == 0 or np.isnan(values).any():
        raise InputError("bootstrap values must be defined; leave undefined draws out and count them")
    return values
