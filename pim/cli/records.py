"""What `pim score` writes: one record per pair and metric, and how it went."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pim.cli.common import csv_line, json_text, note, one_line, short
from pim.errors import InputError

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.images.opener import OpenOptions
    from pim.metrics.ruler import Place, Ruler
    from pim.scoring.engine import Score
    from pim.scoring.pairs import Pair, Pairs

COLUMNS = ("reference", "distorted", "metric", "value", "lower_is_better")
CHANGES = ("left", "displacement_px", "turn_deg", "zoom_percent", "contrast", "brightness")  # what was taken back
OBJECTS = ("change", "ruler", "infinite")  # further parts of a record in JSON
SIZES = ("bytes", "bits_per_pixel")  # of the distorted file
RESIZE_HINT = "; --resize scales the distorted image to the size of the reference"


@dataclass(frozen=True)
class Settings:
    """How values are computed."""

    opening: OpenOptions
    resize: bool  # distorted images are scaled to the size of their reference
    device: str

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return {
            "resize": "bicubic, antialiased" if self.resize else None,
            "background": self.opening.background,
            "frame": self.opening.frame,
            "device": self.device,
        }


@dataclass(frozen=True)
class Scored:
    """What became of a pair, as plain values that a file can hold; values, errors and changes by metric."""

    values: dict[str, float]
    errors: dict[str, str]
    changes: dict[str, dict[str, Any]]
    decodings: list[dict[str, Any] | None]  # of reference and distorted
    resized_from: str | None
    identical: bool | None

    @classmethod
    def of(cls, score: Score[Any]) -> Scored:
        """Take the plain values out of a score."""
        from pim.scoring.pictures import SizesDiffer

        return cls(
            dict(score.values),
            {name: f"{e}{RESIZE_HINT if isinstance(e, SizesDiffer) else ''}" for name, e in score.errors.items()},
            {name: change.as_dict() for name, change in score.changes.items()},
            [None if decoding is None else decoding.as_dict() for decoding in score.decodings],
            None if score.resized_from is None else "{}x{}".format(*score.resized_from),
            score.identical,
        )

    def sizes(self, pair: Pair) -> tuple[int | None, float | None]:
        """Bytes of the distorted file, and bits for each of its pixels; None where it is none that can be opened."""
        opened = self.decodings[1]
        if opened is None or not os.path.isfile(pair.distorted_path):
            return None, None
        size = os.path.getsize(pair.distorted_path)
        return size, 8 * size / (opened["width"] * opened["height"])


class Records:
    """Makes the record of a pair and a metric.

    Args:
        form: text, csv (a row of a table) or json.
        metrics: In the order of the values.
        settings: How values are computed.
        chosen: What is scored.

    Raises:
        InputError: if a column of the table of pairs is called like one that is written.
    """

    rulers: Mapping[str, Ruler] = {}

    def __init__(self, form: str, metrics: Sequence[Metric], settings: Settings, chosen: Pairs) -> None:
        self.form, self.metrics, self.settings, self.chosen = form, metrics, settings, chosen
        self.explains = any(metric.explains for metric in metrics)
        self.keeps_failed = chosen.columns is not None
        written = {"csv": CHANGES if self.explains else (), "json": OBJECTS}.get(form, ())
        if taken := [name for name in written if name in (chosen.columns or ())]:
            raise InputError(f"the table of pairs has a column {taken[0]!r}, which the output also has; rename it")

    def columns(self) -> list[str]:
        """Name the columns of a table."""
        changes = CHANGES if self.explains else ()
        resize = ("resized_from",) if self.settings.resize else ()
        more = [*(self.chosen.columns or ()), *(SIZES if self.chosen.folders else ()), *(["error"] * self.keeps_failed)]
        return [*COLUMNS, *changes, *resize, *more]

    def record(self, pair: Pair, scored: Scored, metric: Metric) -> dict[str, Any]:
        """Make a row of a table, or an object of JSON."""
        number, change = scored.values.get(metric.name), scored.changes.get(metric.name)
        cells = (pair.reference, pair.distorted, metric.name, number, metric.lower_is_better)
        record: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
        if self.explains and self.form == "csv":
            record.update(_changes(change))
        elif metric.explains:
            record["change"] = change
        if (place := self._place(scored, metric)) is not None:
            record["ruler"] = place.as_dict()
        if self.settings.resize:
            record["resized_from"] = scored.resized_from
        record.update(pair.extra)
        if self.chosen.folders:
            record.update(zip(SIZES, scored.sizes(pair), strict=True))
        if metric.name in scored.errors or (self.form == "csv" and self.keeps_failed):
            record["error"] = scored.errors.get(metric.name)
        elif self.form == "json" and number == math.inf:
            record["infinite"] = True
        return record

    def _place(self, scored: Scored, metric: Metric) -> Place | None:
        """Where the value lies among known ones, where anybody reads that."""
        if metric.name not in self.rulers or metric.name not in scored.values:
            return None
        return self.rulers[metric.name].place(None if scored.identical else scored.values[metric.name])


class Report(Records):
    """Writes scores as they come, in text, CSV or JSON.

    Text and CSV need the same memory for any number of pairs; JSON, one object, is written at the end.

    Args:
        stream: Where to write.
        form: text, csv or json.
        metrics: In the order of the values.
        settings: How values are computed.
        chosen: What is scored.
    """

    def __init__(
        self,
        stream: TextIO,
        form: str,
        metrics: Sequence[Metric],
        settings: Settings,
        chosen: Pairs,
    ) -> None:
        super().__init__(form, metrics, settings, chosen)
        self.stream = stream
        self.records: list[dict[str, Any]] = []
        self.decoding: dict[str, dict[str, Any]] = {}
        if form == "json" or (form == "text" and stream.isatty()):
            self.rulers = _rulers(metrics)
        if form == "csv":
            stream.write(csv_line(self.columns()))

    def add(self, pair: Pair, scored: Scored) -> None:
        """Write the values of a pair; what has none is left out of text, and of CSV for files as typed."""
        for metric in self.metrics:
            failed = metric.name in scored.errors
            if self.form == "json":
                self.records.append(self.record(pair, scored, metric))
            elif self.form == "csv" and (self.keeps_failed or not failed):
                self.stream.write(csv_line(self.record(pair, scored, metric).values()))
            elif self.form == "text" and not failed:
                cells = [short(scored.values[metric.name]), metric.name, one_line(pair.distorted)]
                cells = cells if len(self.metrics) > 1 else cells[::2]
                change, place = scored.changes.get(metric.name), self._place(scored, metric)
                said = [*([change["words"]] if change else []), *([place.words] if place else [])]
                self.stream.write("\t".join([*cells, *said]) + "\n")
        if self.form != "json":
            self.stream.flush()
        else:
            names = (pair.reference, pair.distorted)
            self.decoding.update({name: d for name, d in zip(names, scored.decodings, strict=True) if d is not None})

    def conclusions(self) -> list[str]:
        """Say what was found, in words."""
        return []

    def finish(self, **more: Any) -> None:
        """Write what remains; `more` are further parts of a JSON object."""
        if self.form == "json":
            document = {
                "records": self.records,
                **more,
                "metrics": [describe(metric) for metric in self.metrics],
                "decoding": self.decoding,
                "settings": {**self.settings.as_dict(), "skipped": self.chosen.skipped},
                "versions": versions(),
            }
            self.stream.write(json_text(document))


def _rulers(metrics: Sequence[Metric]) -> dict[str, Ruler]:
    from pim.metrics.ruler import ruler_of

    return {metric.name: ruler for metric in metrics if (ruler := ruler_of(metric)) is not None}


def _changes(change: dict[str, Any] | None) -> dict[str, Any]:
    """What was taken back, as cells of a table; nothing where nothing was."""
    if change is None:
        return dict.fromkeys(CHANGES)
    place, tone = change["displacement"] or {}, change["tone"] or {}
    brightness = tone.get("brightness")
    found = (
        change["left"],
        *(place.get(name) for name in ("pixels", "turn", "zoom")),
        tone.get("contrast"),
        brightness and sum(brightness) / 3,
    )
    return dict(zip(CHANGES, found, strict=True))


class Tally:
    """Counts pairs, and names on stderr what failed and what was noted about files.

    Args:
        total: How many pairs there are.
        quiet: Say nothing but failures.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.quiet = total, quiet
        self.done = self.failed = self.resized = 0
        self.last_error = ""
        self.notes: Counter[str] = Counter()

    def add(self, scored: Scored) -> None:
        """Count a pair; an error that just stood there, such as that of a shared reference, is not repeated."""
        self.done += 1
        self.failed += bool(scored.errors)
        self.resized += scored.resized_from is not None
        for error in dict.fromkeys(scored.errors.values()):
            if error != self.last_error:
                note(one_line(error))
            self.last_error = error
        for decoding in filter(None, scored.decodings):
            for remark in decoding["notes"]:
                if not self.notes[remark]:
                    note(f"{one_line(str(decoding['path']))}: {remark}", self.quiet)
                self.notes[remark] += 1

    def finish(self) -> bool:
        """Say how it went; True if something failed."""
        if self.resized:
            note(f"{self.resized} of {self.total} distorted images scaled to the size of their reference", self.quiet)
        if self.failed:
            note(f"{self.failed} of {self.total} pairs failed")
        return self.failed > 0

    def interrupted(self, target: Path | None, form: str, kept: bool) -> str:
        """What is kept after Ctrl-C."""
        nothing = f"{target} is not written" if target is not None else "nothing is printed"
        lines = "their lines are complete" if target is None and form != "json" else nothing
        return f"stopped after {self.done} of {self.total} pairs; {lines}" + (
            "; the same command goes on" if kept else ""
        )


def describe(metric: Metric) -> dict[str, Any]:
    """What defines the values of a metric: its name, weights and settings."""
    info = metric.info
    return {
        "name": info.name,
        "weights_hash": metric.weights_hash,
        "settings": metric.settings,
        "summary": info.summary,
        "lower_is_better": info.lower_is_better,
        "value_range": info.value_range,
    }


def versions() -> dict[str, str]:
    """The versions that a value may depend on."""
    from pim._version import VERSION

    packages = {name: version(name) for name in ("torch", "numpy", "pillow")}
    return {"pim": VERSION, "python": platform.python_version(), **packages}
