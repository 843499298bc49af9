"""Agreement with forced choices: by category, their mean, and what people reach themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import TOO_FEW_CLUSTERS, clusters_warning, row_mean_draws
from pim.eval.estimate import Clusters, Estimate, estimate, from_draws, mean_of, row_mean
from pim.eval.figures import Collected
from pim.eval.two_afc import ALGORITHMS, DISTORTIONS, ceiling_scores, one_sided_share, person_scores

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALL, ROWS = "all", "row mean"
PERSON, CEILING = "(a person)", "(best possible)"
GROUPS = {"traditional and cnn": DISTORTIONS, "algorithms": ALGORITHMS}  # means that BAPPS is also reported by
STATISTIC = "2AFC"
FEW_PEOPLE = 5  # votes of a row below which the human lines flatter


@dataclass(frozen=True)
class ChoiceTable:
    """Shares of votes and how far several metrics side with them, row by row."""

    section: str  # "two_afc" or "quadruple"
    judge: Array  # (n,)
    scores: dict[str, Array]  # row scores of each metric, (n,)
    categories: dict[str, Mask]
    expected: tuple[str, ...]  # the categories that "all" stands for; empty: those there are
    clusters: Clusters
    people: int | None = None  # votes of the row with fewest
    clustered: bool = True  # whether it is known which rows share a source picture; else every row stands alone


def analyse(table: ChoiceTable, found: Collected) -> None:
    """Add the score of every metric, and the human lines, by category and over categories."""
    lines = {**table.scores, PERSON: person_scores(table.judge), CEILING: ceiling_scores(table.judge)}
    categories = table.categories or {ALL: np.ones(len(table.judge), dtype=bool)}
    by_category = {name: _category(table, place, mask, lines) for place, (name, mask) in enumerate(categories.items())}
    rows = {name: int(mask.sum()) for name, mask in categories.items()}
    if table.categories:
        _means(table, by_category, rows, found)
    for name, estimates in by_category.items():
        for line, result in estimates.items():
            found.add(table.section, name, STATISTIC, line, result, rows[name], _references(table, categories[name]))
    _notes(table, found)


def _category(table: ChoiceTable, place: int, mask: Mask, lines: Mapping[str, Array]) -> dict[str, Estimate]:
    """The mean of every line over the rows of one category."""
    if table.clustered:
        member = table.clusters.member[mask]
        used = np.unique(member)
        return {name: estimate(row_mean(values[mask], member), table.clusters, used) for name, values in lines.items()}
    columns = np.stack([values[mask] for values in lines.values()], axis=1)
    if too_few := clusters_warning(len(columns), "rows") if len(columns) < TOO_FEW_CLUSTERS else None:
        return {name: Estimate(float(columns[:, i].mean()), None, too_few) for i, name in enumerate(lines)}
    options = table.clusters.options
    draws = row_mean_draws(columns, options.draws, [options.seed, place])
    means = columns.mean(axis=0)
    return {name: from_draws(float(means[i]), draws[:, i]) for i, name in enumerate(lines)}


def _means(
    table: ChoiceTable, by_category: dict[str, dict[str, Estimate]], rows: dict[str, int], found: Collected
) -> None:
    wanted = {ALL: table.expected or tuple(by_category), **GROUPS}
    references = _references(table, np.ones(len(table.judge), dtype=bool))
    for part, names in wanted.items():
        missing = [name for name in names if name not in by_category]
        if missing:
            if part == ALL:
                found.notes.append(f"no mean over all categories: {', '.join(missing)} missing")
            continue
        for line in next(iter(by_category.values())):
            result = mean_of([by_category[name][line] for name in names])
            found.add(table.section, part, STATISTIC, line, result, sum(rows[name] for name in names), references)
    for line in table.scores if len(by_category) > 1 else ():
        everything = mean_of([estimates[line] for estimates in by_category.values()], list(rows.values()))
        found.add(table.section, ROWS, STATISTIC, line, everything, len(table.judge), references)


def _references(table: ChoiceTable, mask: Mask) -> int | None:
    return len(np.unique(table.clusters.member[mask])) if table.clustered else None


def _notes(table: ChoiceTable, found: Collected) -> None:
    if not table.clustered:
        found.notes.append(
            "the data set does not say which rows share a source picture, so rows were drawn within each category: "
            "these intervals are optimistic"
        )
    if table.people is not None and table.people < FEW_PEOPLE:
        found.notes.append(
            f"rows of {table.people} votes flatter the human lines, which contain the votes they predict"
        )
    names = list(table.scores)
    for i, first in enumerate(names):
        ties = int(np.sum(table.scores[first] == 0.5) - np.sum((table.scores[first] == 0.5) & (table.judge == 0.5)))
        if ties:
            found.notes.append(f"{first} ties in {ties} of {len(table.judge)} rows; each counts one half")
        for second in names[i + 1 :]:
            share = one_sided_share(table.scores[first], table.scores[second])
            found.notes.append(f"in {share:.1%} of rows exactly one of {first} and {second} is with the majority")
