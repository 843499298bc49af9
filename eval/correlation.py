"""Rank and linear correlation, also under resampling.

Every statistic is written for row weights: a bootstrap sample is only another weighting of the same
rows (how often each was drawn), so the estimate and its resamples come from one formula.

NaN means undefined (fewer than 3 rows, or one side constant); `why_undefined` gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError

Array = NDArray[np.float64]

MIN_ROWS = 3
BLOCK = 1 << 21  # array elements handled at once


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation with average ranks for ties.

    Args:
        x: (n,), infinities allowed, no NaN.
        y: (n,), the same.

    Returns:
        In [-1, 1]; NaN if undefined.

    Raises:
        InputError: if the lengths differ or there is a NaN.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([9.0, 5.0, 1.0]))
    -1.0
    """
    return float(spearman_draws(x, y, np.ones((1, len(x))))[0])


def spearman_draws(x: Array, y: Array, weights: Array) -> Array:
    """Spearman's correlation of every weighting of the rows.

    Args:
        x: (n,).
        y: (n,).
        weights: (B, n), how often each row counts.

    Returns:
        (B,).

    Raises:
        InputError: as `spearman`.
    """
    x, y = _checked(x, y)
    rank_x, rank_y = _Ranker(x), _Ranker(y)
    return np.concatenate([_pearson(rank_x(block), rank_y(block), block) for block in _blocks(weights)])


def pearson(x: Array, y: Array) -> float:
    """Pearson's correlation of the values as they are; arguments and result as `spearman`, values finite."""
    return float(pearson_draws(x, y, np.ones((1, len(x))))[0])


def pearson_draws(x: Array, y: Array, weights: Array) -> Array:
    """Pearson's correlation of every weighting (B, n) of the rows: (B,)."""
    x, y = _checked(x, y)
    return np.concatenate([_pearson(x[None], y[None], block) for block in _blocks(weights)])


def kendall(x: Array, y: Array) -> float:
    """Kendall's tau-b; arguments and result as `spearman`."""
    one_group = np.zeros(len(x), dtype=np.int64)
    return float(KendallPairs.count(x, y, one_group).tau(np.ones((1, 1)))[0])


@dataclass(frozen=True)
class KendallPairs:
    """Pair counts between clusters of rows, from which tau-b of any resample of clusters follows.

    Drawing cluster a c[a] times makes c[a] c[b] copies of every row pair between a and b, so each
    count of pairs in the resample is the quadratic form c N c. Copies of one row tie with themselves.
    """

    rows: Array  # (G,) rows of each cluster
    agreeing: Array  # (G, G) concordant minus discordant ordered pairs
    untied_x: Array  # (G, G) ordered pairs that differ in x
    untied_y: Array  # (G, G)

    @classmethod
    def count(cls, x: Array, y: Array, cluster: NDArray[np.int64]) -> KendallPairs:
        """Compare all n^2 pairs once.

        Args:
            x: (n,).
            y: (n,).
            cluster: (n,) numbers 0..G-1.

        Raises:
            InputError: as `spearman`.
        """
        x, y = _checked(x, y)
        rank_x, rank_y = _Ranker(x).inverse, _Ranker(y).inverse
        clusters = int(cluster.max(initial=-1)) + 1
        member = np.zeros((len(x), clusters))
        member[np.arange(len(x)), cluster] = 1
        sums = np.zeros((3, clusters, clusters))
        step = max(1, BLOCK // max(1, len(x)))
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            sign_x = np.sign(rank_x[rows, None] - rank_x).astype(np.float64)
            sign_y = np.sign(rank_y[rows, None] - rank_y).astype(np.float64)
            for total, pairs in zip(sums, (sign_x * sign_y, np.abs(sign_x), np.abs(sign_y)), strict=True):
                total += member[rows].T @ (pairs @ member)
        return cls(member.sum(axis=0), *sums)

    def tau(self, counts: Array) -> Array:
        """Tau-b of every resample.

        Args:
            counts: (B, G), how often each cluster was drawn.

        Returns:
            (B,); NaN where undefined.
        """
        agreeing, untied_x, untied_y = (
            np.einsum("bg,bg->b", counts @ pairs, counts) for pairs in (self.agreeing, self.untied_x, self.untied_y)
        )
        scale = np.sqrt(untied_x) * np.sqrt(untied_y)
        defined = (scale > 0) & (counts @ self.rows >= MIN_ROWS)
        return np.where(defined, agreeing / np.where(defined, scale, 1), np.nan)


def why_undefined(x: Array, y: Array) -> str | None:
    """Why a correlation of these rows is undefined, as the end of a sentence; None if it is defined."""
    if len(x) < MIN_ROWS:
        return f"{len(x)} rows; a correlation needs {MIN_ROWS}"
    if np.all(x == x[0]):
        return f"the metric has one value, {x[0]:g}, on all {len(x)} rows"
    if np.all(y == y[0]):
        return f"the score has one value, {y[0]:g}, on all {len(y)} rows"
    return None


class _Ranker:
    """Average ranks of one set of values under any weighting; the sorting is done once."""

    def __init__(self, values: Array) -> None:
        distinct, inverse = np.unique(values, return_inverse=True)
        self.inverse: NDArray[np.int64] = inverse.astype(np.int64)  # (n,) which distinct value a row has
        self._order = np.argsort(inverse, kind="stable")
        self._starts = np.searchsorted(inverse[self._order], np.arange(len(distinct)))

    def __call__(self, weights: Array) -> Array:
        """Ranks (B, n) when the rows are repeated `weights` (B, n) times."""
        copies = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        below = np.cumsum(copies, axis=1) - copies
        ranks: Array = (below + (copies + 1) / 2)[:, self.inverse]
        return ranks


def _blocks(weights: Array) -> list[Array]:
    step = max(1, BLOCK // weights.shape[1])
    return [weights[i : i + step] for i in range(0, len(weights), step)]


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    """Weighted correlation; x and y are (B, n) or (1, n), weights (B, n)."""
    total = weights.sum(axis=1, keepdims=True)
    used = weights > 0
    safe = np.where(total > 0, total, 1)
    dx = x - (weights * x).sum(axis=1, keepdims=True) / safe
    dy = y - (weights * y).sum(axis=1, keepdims=True) / safe
    covariance = (weights * dx * dy).sum(axis=1)
    scale = np.sqrt((weights * dx * dx).sum(axis=1)) * np.sqrt((weights * dy * dy).sum(axis=1))
    defined = (total[:, 0] >= MIN_ROWS) & (scale > 0) & _varies(x, used) & _varies(y, used)
    return np.where(defined, np.clip(covariance / np.where(defined, scale, 1), -1, 1), np.nan)


def _varies(values: Array, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the used values differ; exact, while a variance of rounding errors is not."""
    highest = np.where(used, values, -np.inf).max(axis=1)
    lowest = np.where(used, values, np.inf).min(axis=1)
    return np.asarray(highest > lowest)


def _checked(x: Array, y: Array) -> tuple[Array, Array]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"two columns of one length are expected; got shapes {x.shape} and {y.shape}")
    if len(x) == 0:
        raise InputError("there are no rows to correlate")
    if np.isnan(x).any() or np.isnan(y).any():
        raise InputError("values must not be NaN; a pair without a value has no place in a correlation")
    return x, y
