"""From the records of a data set to the pairs that have to be computed, each once, and what was said of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pim.datasets import dataset as data
from pim.datasets.dataset import Dataset, Kind, Record
from pim.errors import UsageError
from pim.scoring.pictures import FilePicture, Picture

FLOOR = "jpeg floor"


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
    """A `pim.datasets.dataset.Record` as it is stored and analysed: its pairs are places in the plan."""

    key: str
    pairs: tuple[int, ...]
    value: float | None
    group: str  # rows of one group are not independent
    subsets: tuple[str, ...] = ()
    distortion: str | None = None
    level: int | None = None
    deviation: float | None = None  # standard error of `value`
    people: int | None = None


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


@dataclass(frozen=True)
class Plan:
    """A data set, ready to be scored and analysed."""

    about: About
    pairs: tuple[PlannedPair, ...]
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True)
class Treatment:
    """What is done to pictures before a metric sees them."""

    shorter_side: int | None = None  # resize to this many pixels
    shift: int | None = None  # rank flips: shift the candidates by this many columns against the reference
    shift_margin: int = 3  # columns that a shifted comparison leaves out, the same for every shift

    def notes(self) -> tuple[str, ...]:
        """What tables have to say about it."""
        found = []
        if self.shorter_side is not None:
            found.append(f"pictures whose shorter side is not {self.shorter_side} px are resized to it, bilinear")
        if self.shift is not None:
            found.append(f"candidates shifted by {self.shift} px, {self.shift_margin} columns left out")
        return tuple(found)

    def reference(self, picture: data.Picture) -> StampedPicture:
        """A reference, treated."""
        columns = None if self.shift is None else (0, -self.shift_margin)
        return self._treated(picture, columns)

    def candidate(self, picture: data.Picture) -> StampedPicture:
        """A distorted picture, treated."""
        if self.shift is None:
            return self._treated(picture, None)
        end = self.shift - self.shift_margin
        return self._treated(picture, (self.shift, end if end else None))

    def _treated(self, picture: data.Picture, columns: tuple[int, int | None] | None) -> StampedPicture:
        if isinstance(picture, Path):
            return FilePicture(picture, columns, self.shorter_side)
        if columns is not None or self.shorter_side is not None:
            raise UsageError(f"{picture.name} is made as it is needed; it can be neither resized nor shifted")
        return picture


AS_IS = Treatment()


def plan_of(dataset: Dataset, treatment: Treatment = AS_IS, keep: Callable[[Record], bool] | None = None) -> Plan:
    """Plan the pairs and judgements of a data set, of all records or of those to keep.

    Raises:
        UsageError: if no record is left.
    """
    chosen = [record for record in dataset.records() if keep is None or keep(record)]
    if not chosen:
        raise UsageError(f"none of the {len(dataset)} rows of {dataset.name} is left; look at the filters")
    about = About(
        dataset=dataset.name,
        kind=dataset.kind,
        higher_is_better=dataset.higher_is_better,
        expected=dataset.expected.get("") if keep is None else None,
        categories=tuple(name for name in dataset.expected if name),
        partial=dataset.partial,
        notes=(*dataset.notes, *treatment.notes()),
    )
    pairs = _Pairs(dataset, treatment)
    judgements = tuple(_judgement(record, pairs) for record in chosen)
    return Plan(about, tuple(pairs.known.values()), judgements)


def with_jpeg_floor(dataset: Dataset) -> Dataset:
    """Add the clean pictures after the JPEG of the published files, as severity 0 of "jpeg floor".

    Data sets that are not about severities stay as they are.
    """
    if dataset.kind != "severity":
        return dataset
    from pim.datasets.imagenet_c import jpeg_floor

    clean = {record.group: record.pairs[0][0] for record in dataset.records()}
    floors = [
        Record(key=f"{FLOOR}/{group}", group=group, pairs=((picture, jpeg_floor(picture)),), distortion=FLOOR, level=0)
        for group, picture in clean.items()
    ]
    return replace(dataset, rows=(*floors, *dataset.records()))


class _Pairs:
    """Pairs by name, numbered as they are met; a pair that several records share is computed once."""

    def __init__(self, dataset: Dataset, treatment: Treatment) -> None:
        self.known: dict[str, PlannedPair] = {}
        self._name, self._root, self._treatment = dataset.name, f"{dataset.root}{os.sep}", treatment
        self._places: dict[str, int] = {}

    def place(self, reference: data.Picture, distorted: data.Picture) -> int:
        """The place of a pair in the plan."""
        first, second = self._treatment.reference(reference), self._treatment.candidate(distorted)
        inside = [picture.name.removeprefix(self._root) for picture in (first, second)]  # survives a move
        key = " | ".join([self._name, *inside])
        if key not in self.known:
            self._places[key] = len(self.known)
            self.known[key] = PlannedPair(key, first, second)
        return self._places[key]


def _judgement(record: Record, pairs: _Pairs) -> Judgement:
    return Judgement(
        key=record.key,
        pairs=tuple(pairs.place(*pair) for pair in record.pairs),
        value=record.value,
        group=record.group,
        subsets=record.subsets,
        distortion=record.distortion,
        level=record.level,
        deviation=record.deviation,
        people=record.people,
    )
