"""How metrics follow the severity of corruptions. Nobody rated them: this is not agreement with people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import row_mean_draws
from pim.eval.estimate import Estimate, IntervalOptions, from_draws, mean_of, undefined
from pim.eval.figures import Collected
from pim.eval.severity import (
    RankAgreement,
    SeverityGrid,
    grids,
    image_adjacent,
    image_kendall,
    rank_agreement,
    severity_order,
)

Array = NDArray[np.float64]

SECTION, ALL = "severity", "all"
FEW_SEVERITIES = 3  # below: no order to speak of
FEW_IMAGES = 5  # below: no interval


@dataclass(frozen=True)
class SeverityTable:
    """Corrupted pictures and the distances that several metrics give."""

    corruption: Sequence[str]
    severity: Sequence[int]
    image: Sequence[str]
    distances: dict[str, Array]  # (n,), similarities negated
    options: IntervalOptions


@dataclass(frozen=True)
class CellAgreement:
    """How far two metrics rank the corruption x severity cells alike."""

    first: str
    second: str
    ranks: RankAgreement


def analyse(table: SeverityTable, found: Collected) -> list[CellAgreement]:
    """Add means, order and adjacency of every corruption, and compare the metrics cell by cell."""
    cells: dict[str, dict[str, float]] = {}
    for metric, distance in table.distances.items():
        cells[metric] = {}
        order: dict[str, list[Estimate]] = {"Kendall": [], "adjacent": []}
        rows = 0
        for place, grid in enumerate(grids(table.corruption, table.severity, table.image, distance)):
            if len(grid.images) == 0:
                found.notes.append(f"{grid.corruption}: no picture has all severities; left out")
                continue
            rows += grid.distance.size
            cells[metric] |= _means(grid, metric, table.options, place, found)
            if len(grid.severities) >= FEW_SEVERITIES:
                for name, result in _order(grid, metric, table.options, place, found).items():
                    order[name].append(result)
        for name, results in order.items():
            if len(results) > 1:
                found.add(SECTION, ALL, name, metric, mean_of(results), rows, None)
    usable = {metric: values for metric, values in cells.items() if len(values) >= FEW_SEVERITIES}
    return [CellAgreement(a, b, rank_agreement(usable[a], usable[b])) for a, b in combinations(usable, 2)]


def _means(grid: SeverityGrid, metric: str, options: IntervalOptions, place: int, found: Collected) -> dict[str, float]:
    """Add the mean distance of every severity; returns the finite ones by cell."""
    results = _column_means(grid.distance, options, place)
    named: dict[str, float] = {}
    for severity, result in zip(grid.severities, results, strict=True):
        found.add(SECTION, grid.corruption, f"mean {severity}", metric, result, len(grid.images), len(grid.images))
        if result.value is not None:
            named[f"{grid.corruption} {severity}"] = result.value
    return named


def _order(
    grid: SeverityGrid, metric: str, options: IntervalOptions, place: int, found: Collected
) -> dict[str, Estimate]:
    taus = image_kendall(grid)
    defined = taus[~np.isnan(taus)]
    lost = len(taus) - len(defined)
    kendall = undefined("the metric has one value at all severities")
    if len(defined):
        note = f"{lost} pictures have one value at all severities" if lost else None
        kendall = _column_means(defined[:, None], options, place, note)[0]
    adjacent = _column_means(image_adjacent(grid)[:, None], options, place)[0]
    if not severity_order(grid).monotone:
        found.notes.append(f"{metric}: the mean over pictures does not rise with every severity of {grid.corruption}")
    results = {"Kendall": kendall, "adjacent": adjacent}
    for name, result in results.items():
        found.add(SECTION, grid.corruption, name, metric, result, len(grid.images), len(grid.images))
    return results


def _column_means(columns: Array, options: IntervalOptions, place: int, note: str | None = None) -> list[Estimate]:
    """Means over pictures, the rows of (n, M), with intervals over pictures."""
    bad = int(np.sum(~np.isfinite(columns).all(axis=1)))
    if bad:
        return [undefined(f"{bad} pictures have an infinite value")] * columns.shape[1]
    means = columns.mean(axis=0)
    if len(columns) < FEW_IMAGES:
        few = f"no interval: {len(columns)} pictures, at least {FEW_IMAGES} are needed"
        return [Estimate(float(mean), None, few) for mean in means]
    draws = row_mean_draws(columns, options.draws, [options.seed, place])
    return [from_draws(float(mean), draws[:, i], note) for i, mean in enumerate(means)]
