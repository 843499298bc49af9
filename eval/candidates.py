"""Candidates over the same pictures, such as codecs: what each reaches, and which is closer by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import DRAWS, SEED, Interval, clusters_warning, percentile_interval, row_mean_draws

Array = NDArray[np.float64]

BYTES, RATE = "bytes", "bits per pixel"


@dataclass(frozen=True)
class Grid:
    """One quantity of all pictures and candidates."""

    quantity: str  # a metric, or one of the sizes
    lower_is_better: bool
    pictures: tuple[str, ...]
    candidates: tuple[str, ...]
    values: Array  # (pictures, candidates); NaN where a pair has none

    @property
    def is_size(self) -> bool:
        """Whether it is no metric."""
        return self.quantity in (BYTES, RATE)


@dataclass(frozen=True)
class Summary:
    """What a candidate reaches over its pictures."""

    quantity: str
    candidate: str
    n: int  # pictures with a value
    mean: float | None
    low: float | None  # of the interval over pictures
    high: float | None
    median: float | None
    worst: float | None
    worst_picture: str | None
    note: str | None  # why there is no interval, or what it rests on


@dataclass(frozen=True)
class Comparison:
    """Two candidates under one metric, on the pictures that both have."""

    metric: str
    first: str  # the one that is closer in the mean
    second: str
    first_rate: float | None  # mean bits per pixel, where files are compared
    second_rate: float | None
    closer: int  # pictures on which the first is closer
    n: int
    difference: float  # how much closer in the mean, in units of the metric, >= 0; infinite or NaN beside infinities
    low: float | None
    high: float | None
    note: str | None

    @property
    def sentence(self) -> str:
        """Say it in words."""
        first, second = (
            name + ("" if rate is None else f" ({_short(rate, 3)} bpp)")
            for name, rate in ((self.first, self.first_rate), (self.second, self.second_rate))
        )
        on = f"on {self.closer} of {self.n} pictures"
        if not math.isfinite(self.difference):
            return f"{self.metric}: {first} is closer than {second} {on}; {self.note}"
        places = 2 - math.floor(math.log10(self.difference)) if self.difference else 0
        by, low, high = (None if x is None else _short(x, places) for x in (self.difference, self.low, self.high))
        mean = f"mean difference {by}" + ("" if low is None else f" [{low}, {high}]")
        mean += f", {self.note}" if self.note and self.low is None else ""
        if self.low is not None and self.low <= 0:
            return f"{self.metric}: no clear difference, {first} is closer than {second} {on}, {mean}"
        return f"{self.metric}: {first} is closer than {second} {on}, {mean}"


class Candidates:
    """Collects the values of every picture and candidate: a few numbers for each pair.

    Args:
        pictures: Names of the pictures.
        candidates: Names of the candidates.
        metrics: Whether lower is better, by metric.
    """

    def __init__(self, pictures: Iterable[str], candidates: Iterable[str], metrics: Mapping[str, bool]) -> None:
        self.pictures, self.candidates = (
            {n: i for i, n in enumerate(dict.fromkeys(a))} for a in (pictures, candidates)
        )
        self.quantities = {BYTES: True, RATE: True, **metrics}
        self._values = np.full((len(self.quantities), len(self.pictures), len(self.candidates)), np.nan)

    def add(self, picture: str, candidate: str, values: Mapping[str, float | None]) -> None:
        """Take the quantities of a pair that are known."""
        for number, quantity in enumerate(self.quantities):
            if (value := values.get(quantity)) is not None:
                self._values[number, self.pictures[picture], self.candidates[candidate]] = value

    def grids(self) -> list[Grid]:
        """Give the sizes, then the metrics."""
        names = tuple(self.pictures), tuple(self.candidates)
        both = zip(self.quantities.items(), self._values, strict=True)
        return [Grid(quantity, lower, *names, values) for (quantity, lower), values in both]

    def summaries(self) -> list[Summary]:
        """Say what every candidate reaches."""
        return [summary(grid, candidate) for grid in self.grids() for candidate in self.candidates]

    def comparisons(self) -> list[Comparison]:
        """Compare the candidates under every metric."""
        _, rates, *metrics = self.grids()
        return [found for grid in metrics for found in compare(grid, rates)]

    def as_dict(self) -> dict[str, Any]:
        """Give what every candidate reaches, and how they compare, as plain values."""
        return {
            "candidates": list(map(asdict, self.summaries())),
            "comparisons": [{"words": found.sentence, **asdict(found)} for found in self.comparisons()],
        }


def reservations(found: Iterable[Summary | Comparison]) -> list[str]:
    """Say once on how few pictures intervals rest."""
    return list(dict.fromkeys(each.note for each in found if each.note and each.low is not None))


def summary(grid: Grid, candidate: str) -> Summary:
    """What one candidate reaches over its pictures, with an interval that draws pictures."""
    column = grid.values[:, grid.candidates.index(candidate)]
    there = np.flatnonzero(~np.isnan(column))
    values = column[there]
    if not len(values):
        return Summary(grid.quantity, candidate, 0, None, None, None, None, None, None, "no value")
    worst = int(np.argmax(values) if grid.lower_is_better else np.argmin(values))
    (low, high), note = _interval(values)
    middle, mean = float(np.median(values)), float(values.mean())
    picture = grid.pictures[there[worst]]
    return Summary(grid.quantity, candidate, len(values), mean, low, high, middle, float(values[worst]), picture, note)


def compare(grid: Grid, rates: Grid | None = None) -> list[Comparison]:
    """Compare candidates that follow each other in the order of their means, the closest first.

    Args:
        grid: Of a metric.
        rates: Bits per pixel, to be told beside.
    """
    means = {name: summary(grid, name).mean for name in grid.candidates}
    told = {name: None if rates is None else summary(rates, name).mean for name in grid.candidates}
    known = [name for name, mean in means.items() if mean is not None]
    ranked = sorted(known, key=lambda name: (means[name] or 0.0) * (1 if grid.lower_is_better else -1))
    return [found for pair in pairwise(ranked) if (found := _compare(grid, pair, told)) is not None]


def _compare(grid: Grid, names: tuple[str, str], rates: Mapping[str, float | None]) -> Comparison | None:
    columns = grid.values[:, [grid.candidates.index(name) for name in names]]
    both = columns[~np.isnan(columns).any(axis=1)] * (1 if grid.lower_is_better else -1)
    if not len(both):
        return None
    with np.errstate(invalid="ignore"):  # infinity less infinity
        gains = np.where(both[:, 0] == both[:, 1], 0.0, both[:, 1] - both[:, 0])
    first, second = names if not gains.mean() < 0 else names[::-1]
    gains = gains if first == names[0] else -gains
    (low, high), note = _interval(gains)
    closer = int((gains > 0).sum())
    mean = float(gains.mean())
    return Comparison(
        grid.quantity, first, second, rates[first], rates[second], closer, len(gains), mean, low, high, note
    )


def _interval(values: Array) -> tuple[Interval | tuple[None, None], str | None]:
    """The interval of a mean over pictures, and what to say about it."""
    if endless := int(np.isinf(values).sum()):
        return (None, None), f"infinite for {endless} of {len(values)} pictures"
    note = clusters_warning(len(values), "pictures")
    if note is not None and note.startswith("no interval"):
        return (None, None), note
    return percentile_interval(row_mean_draws(values, DRAWS, SEED)), note


def _short(value: float, places: int) -> str:
    """So many places, without the zero before the point."""
    text = f"{value:.{min(max(places, 0), 9)}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
