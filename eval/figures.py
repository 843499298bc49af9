"""The numbers of an analysis as flat records, from which tables, files and reports are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, product
from typing import Any

from pim.eval.bootstrap import holm
from pim.eval.estimate import Estimate, difference


@dataclass(frozen=True)
class Figure:
    """One statistic of one metric on one part of the data."""

    section: str  # "opinion", "choice", "quadruple", "same" or "severity"
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


@dataclass
class Collected:
    """What the analysis of a section found, in the order of its tables."""

    measured: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Bootstrap draws behind the intervals; 0 without any."""
        return max((len(m.estimate.draws) for m in self.measured), default=0)

    def add(
        self, section: str, part: str, statistic: str, metric: str, estimate: Estimate, n: int, references: int | None
    ) -> None:
        """Add one statistic."""
        interval = estimate.interval
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        figure = Figure(section, part, statistic, metric, estimate.value, low, high, n, references, estimate.note)
        self.measured.append(Measured(figure, estimate))


def compare(
    measured: Iterable[Measured],
    metrics: Collection[str],
    statistics: Sequence[tuple[str, str, str]],
    baseline: str | None = None,
) -> list[Comparison]:
    """Each two metrics on the named (section, part, statistic), with p values adjusted over all of them.

    Args:
        measured: With the draws that the metrics share.
        metrics: Those to compare.
        statistics: What by.
        baseline: Compare the others with this metric only.
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
            low, high = (None, None) if change.interval is None else (change.interval.low, change.interval.high)
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
