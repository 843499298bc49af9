"""How metrics follow the severity of corruptions, for ImageNet-C and its like.

Nobody rated these pictures: nothing here is agreement with people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pim.errors import InputError
from pim.eval.bootstrap import row_mean_draws
from pim.eval.correlation import spearman
from pim.eval.estimate import Estimate, IntervalOptions, from_draws, mean_of, undefined
from pim.eval.figures import ALL, Array, CellAgreement, Collected, RankAgreement, Rows

SECTION = "severity"
FEW_SEVERITIES = 3  # below: no order to speak of
FEW_IMAGES = 5  # below: no interval


@dataclass(frozen=True)
class SeverityGrid:
    """Distances of one metric for one corruption: a row per picture, a column per severity."""

    corruption: str
    images: tuple[str, ...]
    severities: tuple[int, ...]  # ascending
    distance: Array  # (images, severities)


def analyse(rows: Rows, found: Collected) -> None:
    """Add means, order and adjacency of every corruption, and compare the metrics cell by cell."""
    options, judged = rows.clusters.options, rows.judgements
    places = [j.distortion or "" for j in judged], [j.level or 0 for j in judged], [j.group for j in judged]
    cells: dict[str, dict[str, float]] = {}
    for metric, distance in rows.distances().items():
        cells[metric] = {}
        order: dict[str, list[Estimate]] = {"Kendall": [], "adjacent": []}
        count = 0
        for place, grid in enumerate(grids(*places, distance[:, 0])):
            if len(grid.images) == 0:
                found.notes.append(f"{grid.corruption}: no picture has all severities; left out")
                continue
            count += grid.distance.size
            cells[metric] |= _means(grid, metric, options, place, found)
            if len(grid.severities) >= FEW_SEVERITIES:
                for name, result in _order(grid, metric, options, place, found).items():
                    order[name].append(result)
        for name, results in order.items():
            if len(results) > 1:
                found.add(SECTION, ALL, name, metric, mean_of(results), count, None)
    usable = {metric: values for metric, values in cells.items() if len(values) >= FEW_SEVERITIES}
    found.cells += [CellAgreement(a, b, rank_agreement(usable[a], usable[b])) for a, b in combinations(usable, 2)]


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
    if not (np.diff(grid.distance.mean(axis=0)) > 0).all():
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


def grids(
    corruption: Sequence[str], severity: Sequence[int], image: Sequence[str], distance: Array
) -> list[SeverityGrid]:
    """Rows as one grid per corruption; pictures that lack a severity are left out of that corruption.

    Args:
        corruption: (n,).
        severity: (n,), 1 is mildest.
        image: (n,), the picture.
        distance: (n,), higher is further from the clean picture; negate a similarity.

    Returns:
        Corruptions in the order of their first row.

    Raises:
        InputError: if a picture has one severity of a corruption twice, or a distance is NaN.
    """
    if np.isnan(distance).any():
        raise InputError("distances must not be NaN")
    table = pd.DataFrame({"corruption": corruption, "severity": severity, "image": image, "distance": distance})
    for row in table[table.duplicated(["corruption", "severity", "image"])].itertuples():
        raise InputError(f"picture {row.image} has severity {row.severity} of {row.corruption} twice")
    found = []
    for name, rows in table.groupby("corruption", sort=False):
        whole = rows.pivot(index="image", columns="severity", values="distance").dropna()
        found.append(SeverityGrid(str(name), tuple(whole.index), tuple(whole.columns.tolist()), whole.to_numpy()))
    return found


def image_kendall(grid: SeverityGrid) -> Array:
    """Tau-b of severity and distance for every picture, (images,); NaN where all distances are equal."""
    milder, stronger = np.triu_indices(len(grid.severities), 1)
    before, after = grid.distance[:, milder], grid.distance[:, stronger]
    rising, differing = (after > before).sum(axis=1), (after != before).sum(axis=1)
    scale = np.sqrt(differing * len(milder))
    agreeing = 2 * rising - differing
    return np.where(differing > 0, agreeing / np.where(differing > 0, scale, 1), np.nan)


def image_adjacent(grid: SeverityGrid) -> Array:
    """Share of neighbouring severities in strictly rising order for every picture, (images,)."""
    return np.asarray((grid.distance[:, 1:] > grid.distance[:, :-1]).mean(axis=1))


def rank_agreement(first: Mapping[str, float], second: Mapping[str, float], furthest: int = 5) -> RankAgreement:
    """Compare mean distances of two metrics over the cells both have, such as "fog 3"; names the `furthest` apart.

    Raises:
        InputError: if they share fewer than 3 cells.
    """
    cells = [cell for cell in first if cell in second]
    if len(cells) < 3:
        raise InputError(f"two metrics can be compared over 3 cells or more; they share {len(cells)}")
    a, b = (np.array([values[cell] for cell in cells]) for values in (first, second))
    rho = spearman(a, b)
    shift = rankdata(b) - rankdata(a)
    order = np.argsort(-np.abs(shift), kind="stable")[:furthest]
    named = tuple((cells[i], float(shift[i])) for i in order)
    return RankAgreement(None if np.isnan(rho) else rho, len(cells), named)
