"""Charts as shapes: numbers go in, coordinates and path texts come out, and a template draws them as SVG.

Every chart is a small picture of its own, so that a page of any width shows it at a readable size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.images.heatmap import ticks

Array = NDArray[np.float64]

WIDTH, HEIGHT = 360.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 348.0, 10.0, 226.0  # of the plotting area
MARGIN = 0.04  # of the range that axes extend beyond the data


@dataclass(frozen=True)
class Tick:
    """A number beside an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Label:
    """A name inside a chart."""

    x: float
    y: float
    text: str
    anchor: str  # "start" or "end"


@dataclass(frozen=True)
class Series:
    """What belongs to one metric; the paths may be empty."""

    name: str
    colour: int
    dots: str = ""
    line: str = ""
    spans: str = ""  # vertical intervals


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn."""

    title: str
    summary: str  # what it shows, for those who cannot see it
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[Series, ...]
    labels: tuple[Label, ...] = ()
    kind: str = "marks"  # "cloud": many faint dots below a line


@dataclass(frozen=True)
class Table:
    """A table as text; the first column names the lines."""

    title: str
    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    foot: str = ""
    published: bool = False  # its values are others'
    words: bool = False  # its cells are text


@dataclass(frozen=True)
class Axis:
    """From values to coordinates."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def across(cls, values: Sequence[float] | Array, *, logarithmic: bool = False) -> Axis:
        """A horizontal axis that holds all values."""
        return cls(*_range(values, logarithmic), LEFT, RIGHT, logarithmic)

    @classmethod
    def upward(cls, values: Sequence[float] | Array) -> Axis:
        """A vertical axis that holds all values."""
        return cls(*_range(values, False), BOTTOM, TOP)

    def at(self, value: float) -> float:
        """The coordinate of a value."""
        place = math.log10(value) if self.logarithmic else value
        return self.start + (self.end - self.start) * (place - self.low) / (self.high - self.low)

    def ticks(self) -> tuple[Tick, ...]:
        """Round values along the axis."""
        if not self.logarithmic:
            return tuple(Tick(self.at(value), f"{value:.6g}") for value in ticks(self.low, self.high))
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        return tuple(Tick(self.at(10.0**power), power_of_ten(power)) for power in powers)


def power_of_ten(power: int) -> str:
    """A power of ten as people write it.

    >>> power_of_ten(2), power_of_ten(6)
    ('100', '1M')
    """
    units = {9: "G", 6: "M", 3: "k"}
    step = next((step for step in units if power >= step), 0)
    return f"{10.0 ** (power - step):g}{units.get(step, '')}"


def dots(points: Sequence[tuple[float, float]] | Array) -> str:
    """A path that a round pen draws as dots: a few bytes for each."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)


def line(points: Sequence[tuple[float, float]] | Array) -> str:
    """A path through points."""
    return "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))


def span(x: float, low: float, high: float) -> str:
    """A path from one height to another."""
    return f"M{x:.1f} {low:.1f}V{high:.1f}"


@dataclass(frozen=True)
class Bar:
    """One bar of a group; all lengths in percent of the width."""

    metric: str
    colour: int
    text: str  # the value in figures
    start: float
    length: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BarGroup:
    """What all metrics reach on one part of the data."""

    name: str
    n: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarChart:
    """Groups of horizontal bars on one scale."""

    title: str
    ticks: tuple[Tick, ...]  # in percent of the width
    zero: float
    groups: tuple[BarGroup, ...]
    legend: tuple[Series, ...]


def _range(values: Sequence[float] | Array, logarithmic: bool) -> tuple[float, float]:
    found = np.log10(values) if logarithmic else np.asarray(values, dtype=np.float64)
    low, high = float(found.min()), float(found.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    margin = (0.12 if logarithmic else MARGIN) * (high - low)
    return low - margin, high + margin
