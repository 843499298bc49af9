"""Where two metrics disagree most: the rows that one ranks high and the other low."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pim.eval.analysis import MetricValues
from pim.eval.judgements import Judgement
from pim.eval.session import Finished

Array = NDArray[np.float64]

PEOPLE = {"severity": "the severity"}  # whom a metric is compared with where it is alone; else people
CANDIDATES = 200  # rows looked at for every two metrics


@dataclass(frozen=True)
class Disagreement:
    """A row that two judges rank differently."""

    row: int
    first: str
    second: str
    gap: float  # difference of their ranks, as a share of the rows


@dataclass(frozen=True)
class Ranks:
    """How different every judge finds every row, as a share of the rows that are less so."""

    rows: tuple[int, ...]  # those that all metrics have values for
    shares: dict[str, Array]  # by judge, (n,) in (0, 1]

    def of(self, row: int) -> dict[str, float]:
        """What every judge says of a row."""
        place = self.rows.index(row)
        return {judge: float(share[place]) for judge, share in self.shares.items()}


def ranks(run: Finished) -> Ranks:
    """Rank all rows by every metric and by people.

    A row of one pair is ranked by how different its images are; a row of two pairs by how much more
    different the second of them is than the first, or than that of the other row.
    """
    rows = [i for i in range(len(run.judgements)) if all(None not in metric.values[i] for metric in run.values)]
    shares = {metric.name: _shares(_differences(metric, rows)) for metric in run.values}
    judged = _judged(run, [run.judgements[i] for i in rows])
    if judged is not None:
        shares[PEOPLE.get(run.about.kind, "people")] = _shares(judged)
    return Ranks(tuple(rows), shares)


def disagreements(run: Finished, ranked: Ranks, count: int) -> list[Disagreement]:
    """Find the rows with the largest difference of rank between two metrics; of one metric and people if there is one.

    The strongest come first; no row twice, and no reference twice as long as there are others.
    """
    judges = [metric.name for metric in run.values]
    judges = judges if len(judges) > 1 else list(ranked.shares)
    found: list[Disagreement] = []
    for first, second in combinations(judges, 2):
        gap = ranked.shares[first] - ranked.shares[second]
        strongest = np.argsort(-np.abs(gap), kind="stable")[:CANDIDATES]
        found += [Disagreement(ranked.rows[i], first, second, float(gap[i])) for i in strongest if gap[i] != 0]
    found.sort(key=lambda d: -abs(d.gap))
    return _spread(found, run.judgements, count)


def _spread(found: Sequence[Disagreement], judgements: Sequence[Judgement], count: int) -> list[Disagreement]:
    chosen: dict[int, Disagreement] = {}
    groups: set[str] = set()
    for other_references_only in (True, False):
        for candidate in found:
            group = judgements[candidate.row].group
            if len(chosen) == count:
                break
            if candidate.row in chosen or (other_references_only and group in groups):
                continue
            chosen[candidate.row] = candidate
            groups.add(group)
    return sorted(chosen.values(), key=lambda d: -abs(d.gap))


def _differences(metric: MetricValues, rows: Sequence[int]) -> Array:
    values = np.array([metric.values[i] for i in rows], dtype=np.float64).reshape(len(rows), -1)
    values = values if metric.lower_is_better else -values
    if values.shape[1] == 1:
        return values[:, 0]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values[:, 1] - values[:, 0])  # two infinite values are equal


def _judged(run: Finished, judgements: Sequence[Judgement]) -> Array | None:
    """How different people find the rows; None if they were not asked or cannot be compared."""
    if run.about.kind == "severity":
        return np.array([j.level or 0 for j in judgements], dtype=np.float64)
    value = np.array([j.value for j in judgements], dtype=np.float64)
    if run.about.kind == "jnd" or run.about.kind == "two_afc":
        return -value  # a share that said "same", or that found the second closer
    if run.about.kind == "opinion" and run.about.higher_is_better:
        return -value
    return value


def _shares(values: Array) -> Array:
    return np.asarray(rankdata(values) / max(len(values), 1))
