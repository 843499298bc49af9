"""What the benchmarks share: timing in an order that favours nobody, and tables."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from pim._version import VERSION
from pim.core.files import write_text
from pim.eval.tables import aligned


@dataclass(frozen=True)
class Case:
    """Something to time."""

    name: str
    run: Callable[[], object]
    pairs: int = 1  # that one run computes


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)

    def __str__(self) -> str:
        return f"{self.middle:.3g} [{self.low:.3g}, {self.high:.3g}]"


def timed(cases: Sequence[Case], rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Milliseconds per pair of every case in every round.

    Every case runs once to warm up and once per round. Odd rounds are shuffled, even rounds run the
    round before backwards: what slows the machine down for a while meets everyone alike. On a busy machine
    `time.process_time` as the clock counts only what this process computes.
    """
    for case in cases:
        case.run()
    order, shuffler = list(cases), random.Random(0)
    found: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        if number % 2:
            order.reverse()
        else:
            shuffler.shuffle(order)
        for case in order:
            start = clock()
            case.run()
            found[case.name].append((clock() - start) * 1000 / case.pairs)
    return found


def ratio(times: Sequence[float], baseline: Sequence[float]) -> Spread:
    """Times over those of the baseline in the same rounds."""
    return Spread.of([a / b for a, b in zip(times, baseline, strict=True)])


def setting(**more: Any) -> dict[str, Any]:
    """Where and with what a benchmark ran."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pim": VERSION,
        "python": platform.python_version(),
        **more,
    }


def report(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], output: Path | None) -> None:
    """Print rows as a table, and write them to a .json or .csv file where one is named.

    Args:
        rows: With the same keys; a Spread becomes three columns in a file.
        about: From `setting`.
        output: The file; its ending is the format.
    """
    columns = list(rows[0])
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    print(aligned([columns, *([_shown(row[column]) for column in columns] for row in rows)]))
    if output is None:
        return
    flat = [dict(entry for column in columns for entry in _entries(column, row[column])) for row in rows]
    if output.suffix == ".json":
        write_text(output, json.dumps({"setting": dict(about), "rows": flat}, indent=1) + "\n")
    else:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        write_text(output, stream.getvalue())


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _entries(column: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Spread):
        return [(column, value.middle), (f"{column} low", value.low), (f"{column} high", value.high)]
    return [(column, value)]
