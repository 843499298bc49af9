"""From the records of a data set to the pairs that have to be computed, each of them once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pim.datasets import records
from pim.datasets.dataset import Dataset
from pim.errors import UsageError
from pim.eval.judgements import About, Judgement, Plan, PlannedPair, StampedPicture
from pim.scoring.pictures import FilePicture

FLOOR = "jpeg floor"


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

    def reference(self, picture: records.Picture) -> StampedPicture:
        """A reference, treated."""
        columns = None if self.shift is None else (0, -self.shift_margin)
        return self._treated(picture, columns)

    def candidate(self, picture: records.Picture) -> StampedPicture:
        """A distorted picture, treated."""
        if self.shift is None:
            return self._treated(picture, None)
        end = self.shift - self.shift_margin
        return self._treated(picture, (self.shift, end if end else None))

    def _treated(self, picture: records.Picture, columns: tuple[int, int | None] | None) -> StampedPicture:
        if isinstance(picture, Path):
            return FilePicture(picture, columns, self.shorter_side)
        if columns is not None or self.shorter_side is not None:
            raise UsageError(f"{picture.name} is made as it is needed; it can be neither resized nor shifted")
        return picture


AS_IS = Treatment()


def plan_of(
    dataset: Dataset, treatment: Treatment = AS_IS, keep: Callable[[records.AnyRecord], bool] | None = None
) -> Plan:
    """The pairs and judgements of a data set.

    Args:
        dataset: Checked by its reader.
        treatment: What is done to the pictures.
        keep: Which records to take; None: all.

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
    """Corrupted pictures and, as severity 0 of "jpeg floor", the clean ones after the JPEG of the published files."""
    from pim.datasets.imagenet_c import jpeg_floor

    clean: dict[str, records.SeverityRecord] = {}
    for record in dataset.records():
        if isinstance(record, records.SeverityRecord):
            clean.setdefault(record.group, record)
    floors = [
        replace(r, key=f"{FLOOR}/{r.group}", distortion=FLOOR, level=0, subsets=(), distorted=jpeg_floor(r))
        for r in clean.values()
    ]
    return replace(dataset, rows=(*floors, *dataset.records()))


class _Pairs:
    """Pairs by name, numbered as they are met; a pair that several records share is computed once."""

    def __init__(self, dataset: Dataset, treatment: Treatment) -> None:
        self.known: dict[str, PlannedPair] = {}
        self._name, self._root, self._treatment = dataset.name, f"{dataset.root}{os.sep}", treatment
        self._places: dict[str, int] = {}

    def place(self, reference: records.Picture, distorted: records.Picture) -> int:
        """The place of a pair in the plan."""
        first, second = self._treatment.reference(reference), self._treatment.candidate(distorted)
        inside = [picture.name.removeprefix(self._root) for picture in (first, second)]  # survives a move
        key = " | ".join([self._name, *inside])
        if key not in self.known:
            self._places[key] = len(self.known)
            self.known[key] = PlannedPair(key, first, second)
        return self._places[key]


def _judgement(record: records.AnyRecord, pairs: _Pairs) -> Judgement:
    row = Judgement(
        key=record.key,
        pairs=tuple(pairs.place(*pair) for pair in record.pairs()),
        value=_value(record),
        group=record.group,
        subsets=record.subsets,
        distortion=record.distortion,
        level=record.level,
    )
    if isinstance(record, records.SeverityRecord):
        return row
    error = record.score_error if isinstance(record, records.OpinionRecord) else None
    return replace(row, deviation=error, people=record.n)


def _value(record: records.AnyRecord) -> float | None:
    match record:
        case records.OpinionRecord():
            return record.score
        case records.ForcedChoiceRecord():
            return record.prefer_second
        case records.QuadrupleRecord():
            return record.judge
        case records.SameRecord():
            return record.same
        case records.SeverityRecord():
            return None
