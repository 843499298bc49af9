"""The table of `pim score` for folders: pictures by candidates, what each reaches, and which is closer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from pim.cli.common import Cell, table
from pim.cli.records import Report, Scored, Settings
from pim.eval.candidates import BYTES, RATE, Candidates, Grid, reservations, summary
from pim.scoring.folders import COLUMNS

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.scoring.pairs import Pair, Pairs


class FolderReport(Report):
    """Tables of all pictures and candidates as text; in JSON beside the records."""

    def __init__(self, stream: TextIO, form: str, metrics: Sequence[Metric], settings: Settings, chosen: Pairs) -> None:
        super().__init__(stream, form, metrics, settings, chosen)
        pictures, candidates = ([pair.extra[column] for pair in chosen.items] for column in COLUMNS)
        self.found = Candidates(pictures, candidates, {metric.name: metric.lower_is_better for metric in metrics})

    def add(self, pair: Pair, scored: Scored) -> None:
        """Take the values and the sizes of a pair."""
        sizes = dict(zip((BYTES, RATE), scored.sizes(pair), strict=True))
        picture, candidate = (pair.extra[column] for column in COLUMNS)
        self.found.add(picture, candidate, {**sizes, **scored.values})
        if self.form != "text":
            super().add(pair, scored)

    def conclusions(self) -> list[str]:
        """Compare the candidates in words."""
        compared = self.found.comparisons()
        return [*(comparison.sentence for comparison in compared), *reservations(compared)]

    def finish(self, **more: Any) -> None:
        """Write a table for every quantity, and the comparisons."""
        if self.form == "text":
            sentences = "".join(f"{line}\n" for line in self.conclusions() or reservations(self.found.summaries()))
            self.stream.write("\n".join([*map(_block, self.found.grids()), *([sentences] if sentences else [])]))
        else:
            super().finish(**more, **(self.found.as_dict() if self.form == "json" else {}))


def _block(grid: Grid) -> str:
    """A quantity as a table: a line for every picture, then what all of them come to."""
    found = [summary(grid, candidate) for candidate in grid.candidates]
    worst = "largest" if grid.is_size else "worst"
    low, high = ([_digits(end, grid) for end in ends] for ends in zip(*((f.low, f.high) for f in found), strict=True))
    lines: dict[str, list[str | None]] = {
        "mean": [_digits(each.mean, grid) for each in found],
        "95 % interval": [a if a is None else f"{a} to {b}" for a, b in zip(low, high, strict=True)],
        "median": [_digits(each.median, grid) for each in found],
        worst: [_digits(each.worst, grid) for each in found],
        f"{worst} picture": [each.worst_picture for each in found],
        "pictures": [str(each.n) for each in found],
    }
    pictures = {
        picture: [_digits(v, grid) for v in row]
        for picture, row in zip(grid.pictures, grid.values.tolist(), strict=True)
    }
    rows: list[dict[str, Cell]] = [
        {"": name, **dict(zip(grid.candidates, cells, strict=True))}
        for name, cells in (*pictures.items(), *lines.items())
    ]
    text = table(rows, "text").splitlines()
    text.insert(1 + len(pictures), "")
    direction = "" if grid.is_size else f", {'lower' if grid.lower_is_better else 'higher'} is closer"
    notes = dict.fromkeys(each.note for each in found if each.note and each.low is None)
    return "\n".join([f"{grid.quantity}{direction}", *text, *notes]) + "\n"


def _digits(value: float | None, grid: Grid) -> str | None:
    if value is None or math.isnan(value):
        return None
    return f"{value:.0f}" if grid.quantity == BYTES else f"{value:.4g}"
