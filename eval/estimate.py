"""One statistic with its interval, and the difference between two metrics: the cells of every table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.bootstrap import (
    DRAWS,
    SEED,
    TOO_FEW_CLUSTERS,
    Interval,
    bca_interval,
    clusters_warning,
    draw_clusters,
    paired_p,
    percentile_interval,
)

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # how often each cluster counts, (B, G) -> values (B,), NaN where undefined

BLOCK = 1 << 22  # rows times draws that are held at once
MOST_UNDEFINED = 0.05  # share of draws without a value up to which an interval is given


@dataclass(frozen=True)
class IntervalOptions:
    """How intervals are made."""

    draws: int = DRAWS
    seed: int = SEED
    bca: bool = False


@dataclass(frozen=True)
class Clusters:
    """Which rows belong together, and the draws that all statistics of one table share."""

    names: tuple[str, ...]  # (G,)
    member: NDArray[np.int64]  # (n,) cluster of every row
    options: IntervalOptions

    @classmethod
    def of(cls, groups: list[str], options: IntervalOptions) -> Clusters:
        """Clusters of rows by the name of their group; the order of the rows does not matter."""
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        return cls(tuple(names.tolist()), member.astype(np.int64), options)

    def draw(self, statistic: Statistic) -> Array:
        """A statistic of every bootstrap sample, (B,); the samples are the same for every statistic."""
        options, at_once = self.options, max(1, BLOCK // len(self.member))
        blocks = draw_clusters(len(self.names), options.draws, options.seed, at_once)
        return np.concatenate([statistic(counts) for counts in blocks])


@dataclass(frozen=True)
class Estimate:
    """A statistic of all rows, how far it could move, and what to say about it."""

    value: float | None  # None: undefined, and `note` says why
    interval: Interval | None
    note: str | None = None
    draws: Array = field(default_factory=lambda: np.empty(0), repr=False, compare=False)  # (B,), for differences


@dataclass(frozen=True)
class Difference:
    """A metric minus another on the same rows."""

    value: float
    interval: Interval | None
    p: float | None  # two-sided, not adjusted


def row_mean(values: Array, member: NDArray[np.int64], weights: Array | None = None) -> Statistic:
    """Take the mean of values (n,) over the rows of drawn clusters, from sums by `member`, the cluster of every row.

    Rows may have weights (n,); else they count alike.
    """
    weights = np.ones(len(values)) if weights is None else weights

    def statistic(counts: Array) -> Array:
        sums = np.bincount(member, weights=weights * values, minlength=counts.shape[1])
        sizes = np.bincount(member, weights=weights, minlength=counts.shape[1])
        drawn = counts @ sizes
        return np.where(drawn > 0, (counts @ sums) / np.where(drawn > 0, drawn, 1), np.nan)

    return statistic


def undefined(reason: str) -> Estimate:
    """An estimate that there is none of."""
    return Estimate(None, None, reason)


def estimate(statistic: Statistic, clusters: Clusters, used: NDArray[np.int64] | None = None) -> Estimate:
    """Give a statistic its interval over clusters; only those `used` have rows in it, all if nothing is said."""
    names = len(clusters.names)
    value = float(statistic(np.ones((1, names)))[0])
    if np.isnan(value):
        return undefined("undefined for these rows")
    present = np.arange(names) if used is None else used
    note = clusters_warning(len(present))
    if len(present) < TOO_FEW_CLUSTERS:
        return Estimate(value, None, note)
    draws = clusters.draw(statistic)
    defined, lost = _usable(draws), int(np.isnan(draws).sum())
    if defined is None:
        return Estimate(value, None, f"no interval: undefined in {lost} of {len(draws)} draws", draws)
    if lost:
        note = f"{lost} of {len(draws)} draws are undefined and left out"
    try:
        interval = _interval(statistic, value, defined, present, clusters)
    except InputError as error:
        return Estimate(value, None, str(error), draws)
    return Estimate(value, interval, note, draws)


def _usable(draws: Array) -> Array | None:
    """The draws that have a value; None if too many have none."""
    defined = draws[~np.isnan(draws)]
    return None if len(draws) - len(defined) > MOST_UNDEFINED * len(draws) else defined


def _interval(
    statistic: Statistic, value: float, draws: Array, present: NDArray[np.int64], clusters: Clusters
) -> Interval:
    if not clusters.options.bca:
        return percentile_interval(draws)
    left_out = np.ones((len(present), len(clusters.names)))
    left_out[np.arange(len(present)), present] = 0
    return bca_interval(draws, value, statistic(left_out))


def from_draws(value: float, draws: Array, note: str | None = None) -> Estimate:
    """An estimate whose bootstrap values (B,), all defined, are already there."""
    return Estimate(value, percentile_interval(draws), note, draws)


def mean_of(estimates: list[Estimate], weights: list[int] | None = None) -> Estimate:
    """The mean of statistics that share their draws, unweighted if nothing is said; undefined if one of them is."""
    missing = sum(e.value is None for e in estimates)
    if missing or not estimates:
        return undefined(f"{missing} of {len(estimates)} are undefined" if estimates else "there are none")
    value = float(np.average([e.value for e in estimates if e.value is not None], weights=weights))
    notes = [e.note for e in estimates if e.note is not None]
    if any(len(e.draws) == 0 for e in estimates):
        return Estimate(value, None, notes[0] if notes else None)
    draws = np.average([e.draws for e in estimates], axis=0, weights=weights)
    defined = _usable(draws)
    if defined is None:
        return Estimate(value, None, "no interval: undefined in too many draws", draws)
    return Estimate(value, percentile_interval(defined), notes[0] if notes else None, draws)


def difference(first: Estimate, second: Estimate) -> Difference | None:
    """The difference of two metrics that saw the same draws; None if one of them has no value."""
    if first.value is None or second.value is None:
        return None
    value = first.value - second.value
    if len(first.draws) == 0 or len(second.draws) == 0:
        return Difference(value, None, None)
    defined = _usable(first.draws - second.draws)
    if defined is None:
        return Difference(value, None, None)
    return Difference(value, percentile_interval(defined), paired_p(defined))
