"""Agreement with "same" votes (JND): average precision by category and its mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.eval.estimate import Clusters, Estimate, estimate, mean_of, undefined
from pim.eval.figures import Collected

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SECTION, STATISTIC, ALL = "jnd", "mAP", "all"
WORTH_TELLING = 1e-4  # difference that the order of tied rows makes


@dataclass(frozen=True)
class SameTable:
    """Shares of "same" votes and the distances that several metrics give."""

    same: Array  # (n,)
    distances: dict[str, Array]  # (n,), similarities negated
    categories: dict[str, Mask]
    expected: tuple[str, ...]  # the categories that "all" stands for; empty: those there are
    clusters: Clusters


def analyse(table: SameTable, found: Collected) -> None:
    """Add the average precision of every metric, by category and over categories."""
    everything = np.ones(len(table.same), dtype=bool)
    categories = table.categories or {ALL: everything}
    missing = [name for name in table.expected if name not in categories]
    if missing:
        found.notes.append(f"no mean over all categories: {', '.join(missing)} missing")
    clustered = len(table.clusters.names) < len(table.same)
    references = len(table.clusters.names) if clustered else None
    if not clustered:
        found.notes.append("the data set names no sources, so rows were drawn: these intervals are optimistic")
    for metric in table.distances:
        results = {name: _category(table, mask, metric, found) for name, mask in categories.items()}
        if len(results) > 1 and not missing:
            found.add(SECTION, ALL, STATISTIC, metric, mean_of(list(results.values())), len(table.same), references)
        for name, result in results.items():
            found.add(SECTION, name, STATISTIC, metric, result, int(categories[name].sum()), references)


def _category(table: SameTable, mask: Mask, metric: str, found: Collected) -> Estimate:
    from pim.eval.jnd import average_precision_draws, in_given_order

    distance, same, member = table.distances[metric][mask], table.same[mask], table.clusters.member[mask]
    if not same.any():
        return undefined("nobody answered same")
    used = np.unique(member)

    def statistic(counts: Array) -> Array:
        return average_precision_draws(distance, same, counts[:, member])

    result = estimate(statistic, table.clusters, used)
    ordered = in_given_order(distance, same)
    if result.value is not None and abs(ordered - result.value) > WORTH_TELLING:
        found.notes.append(
            f"{metric}: rows of equal distance are one step, mAP {result.value:.4f}; "
            f"taken in the order of the files it is {ordered:.4f}"
        )
    return result
