"""What `pim score` writes: one record per pair and metric, and how it went."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pim._version import VERSION
from pim.cli.common import note
from pim.cli.output import csv_line, json_text, one_line, short
from pim.errors import PimError
from pim.scoring.engine import Outcome
from pim.scoring.reading import Reading

if TYPE_CHECKING:
    from pim.core.metric import Metric

COLUMNS = ("reference", "distorted", "metric", "value", "lower_is_better")


class Report:
    """Writes scores as they come, in text, CSV or JSON.

    Text and CSV need the same memory for any number of pairs; JSON, one object, is written at the end.

    Args:
        stream: Where to write.
        form: text, csv or json.
        metrics: In the order of the values.
        reading: How images are opened.
        device: Where the values are computed.
        columns: Further columns of the table of pairs.
    """

    def __init__(
        self,
        stream: TextIO,
        form: str,
        metrics: Sequence[Metric],
        reading: Reading,
        device: str,
        *,
        columns: Sequence[str] = (),
    ) -> None:
        self.stream, self.form, self.metrics, self.reading, self.device = stream, form, metrics, reading, device
        self.records: list[dict[str, Any]] = []
        self.decoding: dict[str, dict[str, Any]] = {}
        if form == "csv":
            resize = ("resized_from",) if reading.resize else ()
            stream.write(csv_line([*COLUMNS, *resize, *columns]))

    def add(self, outcome: Outcome) -> None:
        """Write the values of a pair; text and CSV leave out what has none, JSON says why."""
        for metric, value in zip(self.metrics, outcome.values, strict=True):
            if self.form == "json":
                self.records.append(self._record(outcome, metric, value))
            elif isinstance(value, PimError):
                continue
            elif self.form == "csv":
                self.stream.write(csv_line(self._record(outcome, metric, value).values()))
            else:
                cells = [short(value), metric.name, one_line(outcome.pair.distorted)]
                self.stream.write("\t".join(cells if len(self.metrics) > 1 else cells[::2]) + "\n")
        if self.form != "json":
            self.stream.flush()
        elif outcome.decodings is not None:
            names = (outcome.pair.reference, outcome.pair.distorted)
            self.decoding.update(zip(names, (d.as_dict() for d in outcome.decodings), strict=True))

    def finish(self, skipped: int) -> None:
        """Write what remains.

        Args:
            skipped: Names that were left out because they had no partner.
        """
        if self.form == "json":
            opening = self.reading.opening
            settings = {
                "resize": "bicubic, antialiased" if self.reading.resize else None,
                "background": opening.background,
                "frame": opening.frame,
                "device": self.device,
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

    def _record(self, outcome: Outcome, metric: Metric, value: float | PimError) -> dict[str, Any]:
        pair = outcome.pair
        number = None if isinstance(value, PimError) else value
        cells = (pair.reference, pair.distorted, metric.name, number, metric.lower_is_better)
        record: dict[str, Any] = dict(zip(COLUMNS, cells, strict=True))
        if self.reading.resize:
            before = outcome.resized_from
            record["resized_from"] = None if before is None else f"{before[0]}x{before[1]}"
        record.update(pair.extra)
        if self.form == "json" and isinstance(value, PimError):
            record["error"] = str(value)
        elif self.form == "json" and number == math.inf:
            record["infinite"] = True
        return record


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

    def add(self, outcome: Outcome) -> None:
        """Count a pair; an error that just stood there, such as that of a shared reference, is not repeated."""
        self.done += 1
        errors = [str(value) for value in outcome.values if isinstance(value, PimError)]
        self.failed += bool(errors)
        self.resized += outcome.resized_from is not None
        for error in dict.fromkeys(errors):
            if error != self.last_error:
                note(one_line(error))
            self.last_error = error
        for decoding in outcome.decodings or ():
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
    packages = {name: version(name) for name in ("torch", "numpy", "pillow")}
    return {"pim": VERSION, "python": platform.python_version(), **packages}
