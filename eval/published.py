"""What others have published on the same data sets: facts from a small table, each with its source."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Published:
    """A published number; nothing of it was computed here."""

    dataset: str
    part: str  # "all", or a subset
    metric: str  # as the source calls it
    statistic: str  # "SRCC", "KRCC" or "2AFC" (percent)
    value: float  # as printed; distances correlate negatively with opinion scores in some sources
    source: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "published": True}


def published(dataset: str) -> list[Published]:
    """All that the table knows of a data set."""
    text = resources.files("pim.eval").joinpath("published.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    chosen = [row for row in rows if row["dataset"] == dataset]
    return [
        Published(r["dataset"], r["part"], r["metric"], r["statistic"], float(r["value"]), r["source"]) for r in chosen
    ]


def by_source(rows: Iterable[Published], part: str, statistic: str) -> dict[str, list[Published]]:
    """The rows of one part and statistic, by source, the strongest first."""
    found: dict[str, list[Published]] = {}
    for row in sorted(rows, key=lambda row: -abs(row.value)):
        if (row.part, row.statistic) == (part, statistic):
            found.setdefault(row.source, []).append(row)
    return found
