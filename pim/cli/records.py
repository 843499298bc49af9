"""What `pim score` writes: one record per pair and metric, and how it went."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pim.cli.common import csv_line, json_text, note, one_line, short

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.images.opener import OpenOptions
    from pim.scoring.aligned import Change
    from pim.scoring.engine import Score
    from pim.scoring.pairs import Pair

COLUMNS = ("reference", "distorted", "metric", "value", "lower_is_better")
CHANGES = ("left", "displacement_px", "turn_deg", "zoom_percent", "contrast", "brightness")  # what was taken back


@dataclass(frozen=True)
class Settings:
    """How values are computed."""

    opening: OpenOptions
    resize: bool  # distorted images are scaled to the size of their reference
    device: str


class Report:
    """Writes scores as they come, in text, CSV or JSON.

    Text and CSV need the same memory for any number of pairs; JSON, one object, is written at the end.

    Args:
        stream: Where to write.
        form: text, csv or json.
        metrics: In the order of the values.
        settings: How values are computed.
        columns: Further columns of the table of pairs.
    """

    def __init__(
        self,
        stream: TextIO,
        form: str,
        metrics: Sequence[Metric],
        settings: Settings,
        *,
        columns: Sequence[str] = (),
    ) -> None:
        self.stream, self.form, self.metrics, self.settings = stream, form, metrics, settings
        self.records: list[dict[str, Any]] = []
        self.decoding: dict[str, dict[str, Any]] = {}
        self.explains = any(metric.explains for metric in metrics)
        if form == "csv":
            changes = CHANGES if self.explains else ()
            resize = ("resized_from",) if settings.resize else ()
            stream.write(csv_line([*COLUMNS, *changes, *resize, *columns]))

    def add(self, score: Score[Pair]) -> None:
        """Write the values of a pair; text and CSV leave out what has none, JSON says why."""
        for metric in self.metrics:
            if self.form == "json":
                self.records.append(self._record(score, metric))
            elif metric.name in score.errors:
                continue
            elif self.form == "csv":
                self.stream.write(csv_line(self._record(score, metric).values()))
            else:
                cells = [short(score.values[metric.name]), metric.name, one_line(score.pair.distorted)]
                cells = cells if len(self.metrics) > 1 else cells[::2]
                said = score.changes.get(metric.name)
                self.stream.write("\t".join([*cells, *([] if said is None else [str(said)])]) + "\n")
        if self.form != "json":
            self.stream.flush()
        else:
            names = (score.pair.reference, score.pair.distorted)
            opened = {name: d for name, d in zip(names, score.decodings, strict=True) if d is not None}
            self.decoding.update({name: decoding.as_dict() for name, decoding in opened.items()})

    def finish(self, skipped: int) -> None:
        """Write what remains; `skipped` names were left out because they had no partner."""
        if self.form == "json":
            opening = self.settings.opening
            settings = {
                "resize": "bicubic, antialiased" if self.settings.resize else None,
                "background": opening.background,
                "frame": opening.frame,
                "device": self.settings.device,
                "skipped": skipped,
            }
            document = {
                "records": self.records,
                "metrics": [describe(metric) for metric in self.metrics],
                "decoding": self.decoding,
                "settings": settings,
                "versions": versions(),
            }
            self.stream.write(json_text(document))

    def _record(self, score: Score[Pair], metric: Metric) -> dict[str, Any]:
        pair, number = score.pair, score.values.get(metric.name)
        cells = (pair.reference, pair.distorted, metric.name, number, metric.lower_is_better)
        record: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
        if self.explains and self.form == "csv":
            record.update(_changes(score.changes.get(metric.name)))
        elif metric.explains:
            change = score.changes.get(metric.name)
            record["change"] = None if change is None else change.as_dict()
        if self.settings.resize:
            before = score.resized_from
            record["resized_from"] = None if before is None else f"{before[0]}x{before[1]}"
        record.update(pair.extra)
        if self.form == "json" and metric.name in score.errors:
            record["error"] = str(score.errors[metric.name])
        elif self.form == "json" and number == math.inf:
            record["infinite"] = True
        return record


def _changes(change: Change | None) -> dict[str, Any]:
    """What was taken back, as cells of a table; nothing where nothing was."""
    if change is None:
        return dict.fromkeys(CHANGES)
    place, tone = change.displacement, change.tone
    found = (
        change.left,
        place and place.pixels,
        place and place.turn,
        place and place.zoom,
        tone and tone.contrast,
        tone and sum(tone.brightness) / 3,
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

    def add(self, score: Score[Pair]) -> None:
        """Count a pair; an error that just stood there, such as that of a shared reference, is not repeated."""
        from pim.scoring.pictures import SizesDiffer

        self.done += 1
        hint = "; --resize scales the distorted image to the size of the reference"
        errors = [f"{error}{hint if isinstance(error, SizesDiffer) else ''}" for error in score.errors.values()]
        self.failed += bool(errors)
        self.resized += score.resized_from is not None
        for error in dict.fromkeys(errors):
            if error != self.last_error:
                note(one_line(error))
            self.last_error = error
        for decoding in filter(None, score.decodings):
            for remark in decoding.notes:
                if not self.notes[remark]:
                    note(f"{one_line(str(decoding.path))}: {remark}", self.quiet)
                self.notes[remark] += 1

    def finish(self) -> bool:
        """Say how it went; True if something failed."""
        if self.resized:
            note(f"{self.resized} of {self.total} distorted images scaled to the size of their reference", self.quiet)
        if self.failed:
            note(f"{self.failed} of {self.total} pairs failed")
        return self.failed > 0

    def interrupted(self, target: Path | None, form: str) -> str:
        """What is kept after Ctrl-C."""
        nothing = f"{target} is not written" if target is not None else "nothing is printed"
        kept = "their lines are complete" if target is None and form != "json" else nothing
        return f"stopped after {self.done} of {self.total} pairs; {kept}"


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
