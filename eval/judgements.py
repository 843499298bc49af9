"""What people (or the makers of corruptions) said about pairs, in the one form that is stored and analysed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pim.datasets.records import Kind
from pim.scoring.pictures import Picture


class StampedPicture(Picture, Protocol):
    """A picture that tells when it is no longer the same."""

    def stamp(self, verify: bool) -> str:
        """A text that changes when the picture does; with `verify` it depends on every byte."""


@dataclass(frozen=True)
class PlannedPair:
    """Two pictures to compare, and the name of the comparison."""

    key: str  # unique within a run
    reference: StampedPicture
    distorted: StampedPicture

    def both(self) -> tuple[StampedPicture, StampedPicture]:
        """Reference and distorted picture."""
        return self.reference, self.distorted

    def stamp(self, verify: bool) -> str:
        """A text that changes when one of the pictures does."""
        both = json.dumps([self.reference.stamp(verify), self.distorted.stamp(verify)])
        return hashlib.sha256(both.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One row of a data set.

    `pairs` are places in the plan, and `value` is what was judged:

    - opinion: (reference, distorted); the opinion score;
    - two_afc: (reference, first), (reference, second); the share that found the second closer;
    - quadruple: (p0, p1), (q0, q1); the share that said q differs more;
    - jnd: (reference, distorted); the share that saw no difference;
    - severity: (clean, corrupted); nothing, nobody was asked.
    """

    key: str
    pairs: tuple[int, ...]
    value: float | None
    group: str  # rows of one group are not independent
    subsets: tuple[str, ...] = ()
    distortion: str | None = None
    level: int | None = None
    deviation: float | None = None  # standard error of `value`
    people: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Judgement:
        """A judgement from what `as_dict` gave."""
        return cls(**{**content, "pairs": tuple(content["pairs"]), "subsets": tuple(content["subsets"])})


@dataclass(frozen=True, slots=True)
class About:
    """What an analysis has to know of a data set besides its rows."""

    dataset: str  # such as "tid2013"
    kind: Kind
    higher_is_better: bool | None = None  # of opinion scores; None where there are none
    expected: int | None = None  # rows of the complete data set
    categories: tuple[str, ...] = ()  # of the complete data set
    partial: tuple[str, ...] = ()  # subsets that are not complete; "" is the whole set
    notes: tuple[str, ...] = ()  # what the reader wants to be known, and how pictures were changed

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> About:
        """From what `as_dict` gave."""
        return cls(**{**content, **{name: tuple(content[name]) for name in ("categories", "partial", "notes")}})


@dataclass(frozen=True)
class Plan:
    """A data set, ready to be scored and analysed."""

    about: About
    pairs: tuple[PlannedPair, ...]
    judgements: tuple[Judgement, ...]
