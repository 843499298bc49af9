"""What a value means: where it lies among the values of known changes of photographs."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pim.core.metric import Metric

STEP = 5  # qualities are told in steps of so much
JPEG, OTHER = "JPEG quality {}", "another photograph"


@dataclass(frozen=True, slots=True)
class Mark:
    """The values of one change, over photographs, in the metric's published direction."""

    change: str  # with a place for the amount
    amount: float | None
    median: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The change in words."""
        return self.change if self.amount is None else self.change.format(f"{self.amount:g}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies; None: outside the qualities that were measured."""

    words: str
    jpeg_quality: int | None  # whose median it is
    jpeg_quality_low: int | None  # the same for the photographs that change least and most
    jpeg_quality_high: int | None

    def __str__(self) -> str:
        """Say it in words."""
        return self.words

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Ruler:
    """The marks of one metric, and what it was when they were made."""

    metric: str
    weights_hash: str | None
    aligned: bool
    photographs: int
    lower_is_better: bool
    marks: tuple[Mark, ...]

    def place(self, value: float | None) -> Place:
        """Find where a value lies, in JPEG qualities from 5 to 95; None: the pictures are identical."""
        if value is None:
            return Place("identical", None, None, None)
        jpeg = sorted((m for m in self.marks if m.change == JPEG), key=lambda m: -(m.amount or 0))
        qualities = [m.amount or 0.0 for m in jpeg]
        least, most = (jpeg[0].median, jpeg[-1].median)
        if self._further(least, value):
            return Place(f"closer than {jpeg[0].name}", None, None, None)
        if self._further(value, most):
            other = next(m for m in self.marks if m.change == OTHER)
            nearest = other.low if self.lower_is_better else other.high
            words = f"further than {jpeg[-1].name}"
            return Place(words if self._further(nearest, value) else f"as far as {OTHER}", None, None, None)
        about = self._quality([m.median for m in jpeg], qualities, value)
        ends = sorted(self._quality([getattr(m, end) for m in jpeg], qualities, value) for end in ("low", "high"))
        low, high = min(ends[0], about), max(ends[1], about)
        return Place(f"about {JPEG.format(about)} ({low} to {high} by photograph)", about, low, high)

    def _further(self, value: float, other: float) -> bool:
        return value > other if self.lower_is_better else value < other

    def _quality(self, values: Sequence[float], qualities: Sequence[float], value: float) -> int:
        """The quality at which a curve through these values, from close to far, reaches one."""
        found = qualities[-1] if self._further(value, values[0]) else qualities[0]
        for (first, better), (second, worse) in pairwise(zip(values, qualities, strict=True)):
            if not self._further(first, value) and not self._further(value, second) and first != second:
                found = better + (worse - better) * (value - first) / (second - first)
                break
        return STEP * round(found / STEP)


@functools.cache
def rulers() -> dict[str, Ruler]:
    """Read the rulers of the metrics that ship, by the metric's name."""
    text = resources.files("pim").joinpath("pretrained", "ruler.json").read_text(encoding="utf-8")
    return {
        name: Ruler(
            name,
            about["weights_hash"],
            about["aligned"],
            about["photographs"],
            about["lower_is_better"],
            tuple(Mark(*row) for row in about["marks"]),
        )
        for name, about in json.loads(text)["metrics"].items()
    }


def ruler_of(metric: Metric) -> Ruler | None:
    """Find the ruler of a metric, by its weights if it has any; None if it was never measured as it is."""
    for ruler in rulers().values():
        same = ruler.metric == metric.name if metric.weights_hash is None else True
        if same and ruler.weights_hash == metric.weights_hash and ruler.aligned == metric.explains:
            return ruler
    return None
