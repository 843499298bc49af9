"""From judgements and values to every number of a run, in a form that a report can draw.

Needs no images: a finished run is analysed again from its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from pim.eval.estimate import Clusters, IntervalOptions
from pim.eval.figures import (
    AGREED,
    ALL,
    MEAN_OF_TYPES,
    PRECISION,
    CellAgreement,
    Collected,
    Comparison,
    Figure,
    Mask,
    Rows,
    compare,
)
from pim.eval.judgements import About, Judgement


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
        content = asdict(self)
        del content["constant"]  # is in the notes
        return content


ANALYSES = {"opinion": "opinions", "two_afc": "two_afc", "quadruple": "two_afc", "jnd": "jnd", "severity": "severity"}
HEADLINES = (
    ("opinion", ALL, "SRCC"),
    ("opinion", MEAN_OF_TYPES, "SRCC"),
    ("two_afc", ALL, AGREED),
    ("quadruple", ALL, AGREED),
    ("jnd", ALL, PRECISION),
)  # what metrics are compared by


def analyse(
    about: About,
    judgements: Sequence[Judgement],
    metrics: Sequence[MetricValues],
    options: AnalysisOptions = AnalysisOptions(),
) -> Analysis:
    """Make every number of a run, of all metrics on the same rows: those that every metric has values for."""
    complete = [i for i in range(len(judgements)) if all(None not in metric.values[i] for metric in metrics)]
    found = Collected()
    constant: list[str] = []
    if complete and metrics:
        rows = _rows(about, judgements, metrics, complete, options)
        # What other kinds of data set need is not imported.
        import_module(f"pim.eval.{ANALYSES[about.kind]}").analyse(rows, found)
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
        cells=tuple(found.cells),
        notes=(*_not_blind(about, metrics), *about.notes, *found.notes, *constant),
        options=options,
        constant=tuple(constant),
    )


def parts_of(judgements: Sequence[Judgement], order: Sequence[str] = ()) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """The named subsets of the rows, and their types of distortion.

    Where no distortion is named and every row has exactly one subset, the subsets are the types. The names of `order`
    come first, the others follow by name.
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
    options: AnalysisOptions,
) -> Rows:
    chosen = [judgements[i] for i in complete]
    subsets, types = parts_of(chosen, about.categories)
    return Rows(
        about=about,
        judgements=chosen,
        metrics={m.name: np.array([m.values[i] for i in complete], dtype=np.float64) for m in metrics},
        lower_is_better={m.name: m.lower_is_better for m in metrics},
        subsets=subsets,
        types=types,
        clusters=Clusters.of([j.group for j in chosen], options.intervals),
        fit_parameters=options.fit_parameters,
    )


def _not_blind(about: About, metrics: Sequence[MetricValues]) -> list[str]:
    known = [metric.name for metric in metrics if about.dataset in metric.description.get("trained_on", ())]
    return [f"{name} was trained or tuned on {about.dataset}: this is no blind test of it" for name in known]


def _constant(rows: Rows) -> list[str]:
    return [
        f"{name} has one value, {values.flat[0]:g}, for all pairs"
        for name, values in rows.metrics.items()
        if len(values) > 1 and np.all(values == values.flat[0])
    ]
