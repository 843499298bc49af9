"""From judgements and values to every number of a run, in a form that a report can draw.

Needs no images: a finished run is analysed again from its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pim.eval import choices, opinions, sameness
from pim.eval.estimate import Clusters, IntervalOptions
from pim.eval.figures import Collected, Comparison, Figure, as_records, compare
from pim.eval.judgements import About, Judgement
from pim.eval.two_afc import quadruple_scores, row_scores

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MetricValues:
    """What one metric said about every judgement."""

    description: Mapping[str, Any]  # name, lower_is_better, weights_hash and more, see `fingerprint.describe`
    values: tuple[tuple[float | None, ...], ...]  # for every judgement, of its one or two pairs; None: failed

    @property
    def name(self) -> str:
        """What tables call it."""
        return str(self.description["name"])

    @property
    def lower_is_better(self) -> bool:
        """Whether it is a distance."""
        return bool(self.description["lower_is_better"])


if TYPE_CHECKING:
    from pim.eval.severities import CellAgreement


@dataclass(frozen=True)
class AnalysisOptions:
    """How numbers are made from values."""

    intervals: IntervalOptions = IntervalOptions()
    fit_parameters: int = 4  # of the logistic curve
    baseline: str | None = None  # compare metrics with this one only, not each with each


@dataclass(frozen=True)
class Analysis:
    """Every number of a run."""

    about: About
    metrics: tuple[dict[str, Any], ...]  # descriptions
    rows: int  # judgements
    used: int  # judgements that every metric has values for
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    cells: tuple[CellAgreement, ...]  # of metrics over corruptions and severities
    notes: tuple[str, ...]
    options: AnalysisOptions
    pictures: Mapping[str, int] = field(default_factory=dict)  # how files were opened, and how many
    constant: tuple[str, ...] = ()  # a sentence for every metric that gives all rows the same value

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "about": self.about.as_dict(),
            "metrics": list(self.metrics),
            "rows": self.rows,
            "used": self.used,
            "figures": as_records(self.figures),
            "comparisons": as_records(self.comparisons),
            "cells": [asdict(c) for c in self.cells],
            "notes": list(self.notes),
            "options": asdict(self.options),
            "pictures": dict(self.pictures),
        }


@dataclass(frozen=True)
class _Rows:
    """The judgements that every metric has values for, as columns."""

    about: About
    judgements: list[Judgement]
    metrics: dict[str, Array]  # (n, 1) or (n, 2), published direction
    lower_is_better: dict[str, bool]
    clusters: Clusters

    @property
    def value(self) -> Array:
        """What was judged, (n,)."""
        return np.array([j.value for j in self.judgements], dtype=np.float64)

    def distances(self) -> dict[str, Array]:
        """Similarities negated, so that a larger number means more different."""
        return {name: v if self.lower_is_better[name] else -v for name, v in self.metrics.items()}


HEADLINES = (
    (opinions.SECTION, opinions.ALL, "SRCC"),
    (opinions.SECTION, opinions.MEAN_OF_TYPES, "SRCC"),
    ("two_afc", choices.ALL, choices.STATISTIC),
    ("quadruple", choices.ALL, choices.STATISTIC),
    (sameness.SECTION, sameness.ALL, sameness.STATISTIC),
)  # what metrics are compared by


def analyse(
    about: About,
    judgements: Sequence[Judgement],
    metrics: Sequence[MetricValues],
    options: AnalysisOptions = AnalysisOptions(),
) -> Analysis:
    """Every number of a run.

    Args:
        about: The data set.
        judgements: Its rows.
        metrics: With values in the order of the rows.
        options: How intervals and fits are made.

    Returns:
        Figures of all metrics on the same rows: those that every metric has values for.
    """
    complete = [i for i in range(len(judgements)) if all(None not in metric.values[i] for metric in metrics)]
    found = Collected()
    cells: list[CellAgreement] = []
    constant: list[str] = []
    if complete and metrics:
        rows = _rows(about, judgements, metrics, complete, options.intervals)
        cells = _ANALYSES[about.kind](rows, options, found)
        constant = _constant(rows)
    lost = len(judgements) - len(complete)
    if lost:
        found.notes.insert(0, f"{lost} of {len(judgements)} rows are left out: not every metric has a value for them")
    return Analysis(
        about=about,
        metrics=tuple(dict(metric.description) for metric in metrics),
        rows=len(judgements),
        used=len(complete),
        figures=tuple(m.figure for m in found.measured),
        comparisons=tuple(compare(found.measured, [m.name for m in metrics], HEADLINES, options.baseline)),
        cells=tuple(cells),
        notes=(*_not_blind(about, metrics), *about.notes, *found.notes, *constant),
        options=options,
        constant=tuple(constant),
    )


def parts_of(judgements: Sequence[Judgement], order: Sequence[str] = ()) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """The named subsets of the rows, and their types of distortion.

    Where no distortion is named and every row has exactly one subset, the subsets are the types.

    Args:
        judgements: The rows.
        order: Names that come first; the others follow by name.
    """

    def masks(names_of: Callable[[Judgement], Sequence[str]]) -> dict[str, Mask]:
        met = {name for j in judgements for name in names_of(j)}
        names = [*(name for name in order if name in met), *sorted(met.difference(order))]
        return {name: np.array([name in names_of(j) for j in judgements]) for name in names}

    in_subset = masks(lambda j: j.subsets)
    of_type = masks(lambda j: () if j.distortion is None else (j.distortion,))
    subsets = {name: rows for name, rows in in_subset.items() if name not in of_type}
    if not of_type and all(len(j.subsets) == 1 for j in judgements):
        return {}, subsets
    return subsets, of_type


def _rows(
    about: About,
    judgements: Sequence[Judgement],
    metrics: Sequence[MetricValues],
    complete: list[int],
    options: IntervalOptions,
) -> _Rows:
    chosen = [judgements[i] for i in complete]
    return _Rows(
        about=about,
        judgements=chosen,
        metrics={m.name: np.array([m.values[i] for i in complete], dtype=np.float64) for m in metrics},
        lower_is_better={m.name: m.lower_is_better for m in metrics},
        clusters=Clusters.of([j.group for j in chosen], options),
    )


def _opinions(rows: _Rows, options: AnalysisOptions, found: Collected) -> list[CellAgreement]:
    parts, types = parts_of(rows.judgements, rows.about.categories)
    table = opinions.OpinionTable(
        score=rows.value,
        higher_is_better=bool(rows.about.higher_is_better),
        metrics={name: values[:, 0] for name, values in rows.metrics.items()},
        lower_is_better=rows.lower_is_better,
        parts=parts,
        types=types,
        clusters=rows.clusters,
        fit_parameters=options.fit_parameters,
    )
    opinions.analyse(table, found)
    return []


def _choices(rows: _Rows, options: AnalysisOptions, found: Collected) -> list[CellAgreement]:
    rule = quadruple_scores if rows.about.kind == "quadruple" else row_scores
    judge = rows.value
    scores = {name: rule(pair[:, 0], pair[:, 1], judge) for name, pair in rows.distances().items()}
    types = parts_of(rows.judgements, rows.about.categories)[1]
    people = min((j.people for j in rows.judgements if j.people is not None), default=None)
    known = any(j.group != j.key for j in rows.judgements)
    table = choices.ChoiceTable(
        rows.about.kind, judge, scores, types, rows.about.categories, rows.clusters, people, known
    )
    choices.analyse(table, found)
    return []


def _sameness(rows: _Rows, options: AnalysisOptions, found: Collected) -> list[CellAgreement]:
    distances = {name: values[:, 0] for name, values in rows.distances().items()}
    types = parts_of(rows.judgements, rows.about.categories)[1]
    sameness.analyse(sameness.SameTable(rows.value, distances, types, rows.about.categories, rows.clusters), found)
    return []


def _severities(rows: _Rows, options: AnalysisOptions, found: Collected) -> list[CellAgreement]:
    from pim.eval import severities

    table = severities.SeverityTable(
        corruption=[j.distortion or "" for j in rows.judgements],
        severity=[j.level or 0 for j in rows.judgements],
        image=[j.group for j in rows.judgements],
        distances={name: values[:, 0] for name, values in rows.distances().items()},
        options=options.intervals,
    )
    return severities.analyse(table, found)


_ANALYSES = {
    "opinion": _opinions,
    "two_afc": _choices,
    "quadruple": _choices,
    "jnd": _sameness,
    "severity": _severities,
}


def _not_blind(about: About, metrics: Sequence[MetricValues]) -> list[str]:
    known = [metric.name for metric in metrics if about.dataset in metric.description.get("trained_on", ())]
    return [f"{name} was trained or tuned on {about.dataset}: this is no blind test of it" for name in known]


def _constant(rows: _Rows) -> list[str]:
    return [
        f"{name} has one value, {values.flat[0]:g}, for all pairs"
        for name, values in rows.metrics.items()
        if len(values) > 1 and np.all(values == values.flat[0])
    ]
