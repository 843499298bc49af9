"""What every reader yields: one row of a data set, with its pictures and what people said of them.

A picture is a path, or a `RenderedPicture` where it has to be made from a file first. Keys are
stable: they are made of names inside the data set, so they survive a move to another folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pim.datasets.rendered import RenderedPicture

    Picture = Path | RenderedPicture
    PicturePair = tuple[Picture, Picture]

Kind = Literal["opinion", "two_afc", "quadruple", "jnd", "severity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the rows of all data sets have in common."""

    key: str  # unique within the data set
    group: str  # rows of one group are not independent: the reference picture, as a rule; the key if it is not known
    subsets: tuple[str, ...] = ()  # the parts of the data set that the row belongs to
    distortion: str | None = None
    level: int | None = None  # 1 is mildest


@dataclass(frozen=True, slots=True, kw_only=True)
class OpinionRecord(Record):
    """A picture pair and the mean opinion of it. `Dataset.higher_is_better` says what a high score means."""

    reference: Picture
    distorted: Picture
    score: float
    score_error: float | None = None  # standard error of the score: of a mean, spread over people / sqrt(people)
    n: int | None = None  # people

    def pairs(self) -> tuple[PicturePair, ...]:
        """(reference, distorted)."""
        return ((self.reference, self.distorted),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForcedChoiceRecord(Record):
    """Which of two pictures is closer to the reference."""

    reference: Picture
    first: Picture
    second: Picture
    prefer_second: float  # share of people, in [0, 1]
    n: int | None = None

    def pairs(self) -> tuple[PicturePair, ...]:
        """(reference, first), (reference, second)."""
        return ((self.reference, self.first), (self.reference, self.second))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadrupleRecord(Record):
    """Which of two pairs of pictures differs more."""

    p0: Picture
    p1: Picture
    q0: Picture
    q1: Picture
    judge: float  # share of people who said that the pair q differs more, in [0, 1]
    n: int | None = None

    def pairs(self) -> tuple[PicturePair, ...]:
        """(p0, p1), (q0, q1)."""
        return ((self.p0, self.p1), (self.q0, self.q1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SameRecord(Record):
    """Whether two pictures look the same."""

    reference: Picture
    distorted: Picture
    same: float  # share of people who said so, in [0, 1]
    n: int | None = None

    def pairs(self) -> tuple[PicturePair, ...]:
        """(reference, distorted)."""
        return ((self.reference, self.distorted),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityRecord(Record):
    """A clean picture and its corruption; nobody rated it. `distortion` and `level` are always set."""

    reference: Picture
    distorted: Picture

    def pairs(self) -> tuple[PicturePair, ...]:
        """(reference, distorted)."""
        return ((self.reference, self.distorted),)


def standard_error(spread: float | None, people: float | None) -> float | None:
    """Turn the standard deviation of opinions into that of their mean; None where one of the two is not known."""
    return spread / math.sqrt(people) if spread is not None and people else None


AnyRecord = OpinionRecord | ForcedChoiceRecord | QuadrupleRecord | SameRecord | SeverityRecord
