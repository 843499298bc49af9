"""Agreement with opinion scores: pooled, by part, within references, mean over distortion types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.eval.correlation import KendallPairs, kendall, pearson_draws, spearman, spearman_draws, why_undefined
from pim.eval.estimate import Clusters, Estimate, Statistic, estimate, mean_of, undefined
from pim.eval.figures import ALL, MEAN_OF_TYPES, WITHIN, Array, Collected, Mask, Rows
from pim.eval.logistic import LogisticFit, fit

SECTION = "opinion"
MANY_CLUSTERS = 2000


def analyse(table: Rows, found: Collected) -> None:
    """Add all statistics of all metrics, part by part."""
    everything = np.ones(len(table.value), dtype=bool)
    for part, mask in {ALL: everything, **table.subsets, **table.types}.items():
        for metric in table.metrics:
            _part(table, part, mask, metric, found)
    for metric in table.metrics:
        if len(table.types) > 1:
            _mean_of_types(table, metric, found)
        _within(table, metric, found)
        _hints(table, metric, found)


def agreement_sign(table: Rows, metric: str) -> float:
    """+1 or -1: what makes agreement positive, from the stated directions alone."""
    return -1.0 if table.lower_is_better[metric] == bool(table.about.higher_is_better) else 1.0


@dataclass(frozen=True)
class _Column:
    """One part of the table under one metric."""

    x: Array  # (n,) values of the metric
    y: Array  # (n,) scores
    member: NDArray[np.int64]  # (n,) cluster of every row
    clusters: Clusters
    sign: float  # makes agreement positive
    note: str | None = None

    def estimate(self, statistic: Statistic, note: str | None = None) -> Estimate:
        """A statistic with its interval, and what there is to say."""
        result = estimate(statistic, self.clusters, np.unique(self.member))
        notes = [text for text in (result.note, self.note, note) if text is not None]
        return Estimate(result.value, result.interval, "; ".join(notes) or None, result.draws)

    def finite(self) -> _Column:
        """Without infinite values (PSNR of equal images), which have no place in linear statistics."""
        kept = np.isfinite(self.x)
        if kept.all():
            return self
        note = f"infinite values left out: {np.sum(~kept)}"
        return _Column(self.x[kept], self.y[kept], self.member[kept], self.clusters, self.sign, note)


def _part(table: Rows, part: str, mask: Mask, metric: str, found: Collected) -> None:
    member = table.clusters.member[mask]
    sign = agreement_sign(table, metric)
    rows = _Column(table.metrics[metric][mask, 0], table.value[mask], member, table.clusters, sign)
    finite = rows.finite()
    results = [(rows, _ranked(rows)), (finite, _linear(finite))]
    if part not in table.types:  # the rows of one type are few: a curve would fit their noise
        results.append((finite, _fitted(finite, table.fit_parameters)))
    for used, statistics in results:
        for statistic, result in statistics.items():
            found.add(SECTION, part, statistic, metric, result, len(used.x), len(np.unique(used.member)))


def _ranked(rows: _Column) -> dict[str, Estimate]:
    reason = why_undefined(rows.x, rows.y)
    if reason is not None:
        return dict.fromkeys(("SRCC", "KRCC"), undefined(reason))
    return {
        "SRCC": rows.estimate(lambda counts: rows.sign * spearman_draws(rows.x, rows.y, counts[:, rows.member])),
        "KRCC": _kendall(rows),
    }


def _kendall(rows: _Column) -> Estimate:
    used = np.unique(rows.member)
    if len(used) > MANY_CLUSTERS:  # a table of their pairs would fill the memory
        value = rows.sign * kendall(rows.x, rows.y)
        return Estimate(value, None, f"no interval: more than {MANY_CLUSTERS} references")
    pairs = KendallPairs.count(rows.x, rows.y, np.searchsorted(used, rows.member))
    return rows.estimate(lambda counts: rows.sign * pairs.tau(counts[:, used]))


def _linear(rows: _Column) -> dict[str, Estimate]:
    reason = why_undefined(rows.x, rows.y)
    if reason is not None:
        return {"PLCC": undefined(reason)}
    return {"PLCC": rows.estimate(lambda counts: rows.sign * pearson_draws(rows.x, rows.y, counts[:, rows.member]))}


def _fitted(rows: _Column, parameters: int) -> dict[str, Estimate]:
    """Correlation and error after a logistic curve, which is fitted once and held while references are drawn."""
    reason = why_undefined(rows.x, rows.y)
    if reason is None and len(rows.x) <= parameters:
        reason = f"{len(rows.x)} rows cannot fit {parameters} parameters"
    if reason is not None:
        return dict.fromkeys(("PLCC fitted", "RMSE fitted"), undefined(reason))
    curve = fit(rows.x, rows.y, parameters)
    squared = (curve.predicted - rows.y) ** 2

    def rmse(counts: Array) -> Array:
        weights = counts[:, rows.member]
        return np.sqrt(_ratio(weights @ squared, weights.sum(axis=1)))

    return {
        "PLCC fitted": rows.estimate(
            lambda counts: pearson_draws(curve.predicted, rows.y, counts[:, rows.member]), _curve_note(curve)
        ),
        "RMSE fitted": rows.estimate(rmse, _curve_note(curve)),
    }


def _curve_note(curve: LogisticFit) -> str | None:
    if curve.curve == "line":
        return "no logistic curve fits better than a straight line"
    return None if curve.monotone else "the fitted curve turns inside the data"


def _mean_of_types(table: Rows, metric: str, found: Collected) -> None:
    rows = int(np.sum(np.any(list(table.types.values()), axis=0)))
    for statistic in ("SRCC", "KRCC"):
        chosen = [
            m.estimate
            for m in found.measured
            if m.figure.part in table.types and m.figure.statistic == statistic and m.figure.metric == metric
        ]
        references = len(table.clusters.names)
        found.add(SECTION, MEAN_OF_TYPES, statistic, metric, mean_of(chosen), rows, references)


def _within(table: Rows, metric: str, found: Collected) -> None:
    """The mean over references of the correlation among the rows of one reference."""
    sign = agreement_sign(table, metric)
    clusters = table.clusters
    rows_of = [np.flatnonzero(clusters.member == cluster) for cluster in range(len(clusters.names))]
    for name, statistic in (("SRCC", spearman), ("KRCC", kendall)):
        each = np.array([sign * statistic(table.metrics[metric][rows, 0], table.value[rows]) for rows in rows_of])
        defined = np.flatnonzero(~np.isnan(each))
        if len(defined) == 0:
            result = undefined("no reference has 3 rows that differ")
        else:
            result = estimate(_mean_over(each, defined), clusters, defined)
        found.add(SECTION, WITHIN, name, metric, result, len(table.value), len(defined))


def _mean_over(each: Array, defined: NDArray[np.int64]) -> Statistic:
    """The mean of one value per cluster over the drawn clusters that have one."""
    return lambda counts: _ratio(counts[:, defined] @ each[defined], counts[:, defined].sum(axis=1))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """NaN where there is nothing to divide by."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def _hints(table: Rows, metric: str, found: Collected) -> None:
    pooled = next(
        m.figure
        for m in found.measured
        if (m.figure.metric, m.figure.part, m.figure.statistic) == (metric, ALL, "SRCC")
    )
    if pooled.high is not None and pooled.high < 0:
        direction = "lower" if table.lower_is_better[metric] else "higher"
        scores = "higher" if table.about.higher_is_better else "lower"
        found.notes.append(
            f"{metric} disagrees with people (SRCC {pooled.value:.3f}): check the directions, "
            f"{direction} values of the metric and {scores} scores were taken to be better"
        )
