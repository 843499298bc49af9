"""The numbers of an analysis as flat records, from which tables, files and reports are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import holm
from pim.eval.estimate import Clusters, Estimate, difference
from pim.eval.judgements import About, Judgement

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALL, ROWS, MEAN_OF_TYPES, WITHIN = "all", "row mean", "mean of types", "within references"  # parts that are no types
AGREED, PRECISION = "2AFC", "mAP"  # statistics that people read as percent


@dataclass(frozen=True)
class Rows:
    """The judgements that every metric has values for, as columns."""

    about: About
    judgements: Sequence[Judgement]
    metrics: Mapping[str, Array]  # (n, 1) or (n, 2), of the pairs of every row in the published direction
    lower_is_better: Mapping[str, bool]
    subsets: Mapping[str, Mask]
    types: Mapping[str, Mask]  # of distortion, or categories
    clusters: Clusters
    fit_parameters: int  # of the logistic curve through opinions

    @cached_property
    def value(self) -> Array:
        """What was judged, (n,)."""
        return np.array([j.value for j in self.judgements], dtype=np.float64)

    @cached_property
    def sourced(self) -> bool:
        """Whether it is known which rows share a source picture; else every row stands alone."""
        return any(j.group != j.key for j in self.judgements)

    def distances(self) -> dict[str, Array]:
        """Similarities negated, so that a larger number means more different."""
        return {name: v if self.lower_is_better[name] else -v for name, v in self.metrics.items()}


@dataclass(frozen=True)
class Figure:
    """One statistic of one metric on one part of the data."""

    section: str  # the kind of the data set, see `Judgement`
    part: str  # such as "all", "noise", "type: JPEG"
    statistic: str  # such as "SRCC"
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int  # rows
    references: int | None  # clusters of the interval; None: rows were drawn
    note: str | None  # why there is no value or no interval, or a warning


@dataclass(frozen=True)
class Comparison:
    """A metric minus another on the same rows."""

    section: str
    part: str
    statistic: str
    first: str
    second: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # adjusted for all comparisons of the analysis
    n: int


@dataclass(frozen=True)
class Measured:
    """A figure together with its draws, before it is compared with others."""

    figure: Figure
    estimate: Estimate


@dataclass(frozen=True)
class RankAgreement:
    """How far two metrics rank the same cells alike."""

    spearman: float | None  # None if a metric is constant over the cells
    cells: int
    furthest: tuple[tuple[str, float], ...]  # cells with the largest difference of rank: second minus first


@dataclass(frozen=True)
class CellAgreement:
    """How far two metrics rank the cells of corruptions and severities alike."""

    first: str
    second: str
    ranks: RankAgreement


@dataclass
class Collected:
    """What the analysis of a section found, in the order of its tables."""

    measured: list[Measured] = field(default_factory=list)
    cells: list[CellAgreement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Bootstrap draws behind the intervals; 0 without any."""
        return max((len(m.estimate.draws) for m in self.measured), default=0)

    def add(
        self, section: str, part: str, statistic: str, metric: str, estimate: Estimate, n: int, references: int | None
    ) -> None:
        """Add one statistic."""
        low, high = estimate.interval or (None, None)
        figure = Figure(section, part, statistic, metric, estimate.value, low, high, n, references, estimate.note)
        self.measured.append(Measured(figure, estimate))


def compare(
    measured: Iterable[Measured],
    metrics: Collection[str],
    statistics: Sequence[tuple[str, str, str]],
    baseline: str | None = None,
) -> list[Comparison]:
    """Compare each two metrics, or the others with a baseline, on the named (section, part, statistic).

    All have to share their draws; p values are adjusted over all comparisons.
    """
    found: list[Comparison] = []
    table = [m for m in measured if m.figure.metric in metrics]
    for section, part, statistic in statistics:
        rows = [m for m in table if (m.figure.section, m.figure.part, m.figure.statistic) == (section, part, statistic)]
        known = [m for m in rows if m.figure.metric == baseline]
        for first, second in combinations(rows, 2) if baseline is None else product(rows, known):
            if first is second:
                continue
            change = difference(first.estimate, second.estimate)
            if change is None or first.figure.n != second.figure.n:
                continue
            low, high = change.interval or (None, None)
            names = (first.figure.metric, second.figure.metric)
            found.append(
                Comparison(section, part, statistic, *names, change.value, low, high, change.p, None, first.figure.n)
            )
    return _adjusted(found)


def _adjusted(comparisons: list[Comparison]) -> list[Comparison]:
    tested = [c for c in comparisons if c.p is not None]
    adjusted = iter(holm([c.p for c in tested if c.p is not None]))
    return [c if c.p is None else Comparison(**{**asdict(c), "p_holm": next(adjusted)}) for c in comparisons]


def as_records(items: Iterable[Figure | Comparison]) -> list[dict[str, Any]]:
    """As dictionaries of plain values."""
    return [asdict(item) for item in items]
