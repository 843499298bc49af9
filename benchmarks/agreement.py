"""The table of agreement of the README: rated sets by metrics, with intervals, from stored results.

    python benchmarks/agreement.py store tid2013=tid.json raid=raid.json sr=sr.json jpeg=jpeg.json
    python benchmarks/agreement.py table
    python benchmarks/agreement.py draw inference.json

`store` takes the files that `pim eval table SET -m ... --format json -o FILE` wrote, several of a set if need be, keeps
their headline numbers in results/agreement.json and draws docs/images/agreement.svg; `table` prints them and draws it
again; `draw` makes of them and of the output of inference.py the picture docs/images/agreement_vs_cost.svg. Pooled
agreement is SRCC over all rows, or the share of answers for choices; the mean counts every set alike.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import agreement_picture
from agreement_vs_cost import Point, draw

from pim.core.files import write_text
from pim.metrics.registry import DEFAULT

PICTURES = Path(__file__).parents[1] / "docs" / "images"
RESULTS = Path(__file__).parent / "results" / "agreement.json"
SETS = {"tid2013": "TID2013 part", "raid": "RAID part", "sr": "super-resolution", "jpeg": "JPEG encoders"}
POOLED, WITHIN = ("all", ("SRCC", "2AFC")), ("mean of types", ("SRCC",))


def headline(path: Path) -> dict[str, dict[str, Any]]:
    """Take the pooled agreement and that within types of every metric, with intervals and n."""
    (analysis,) = json.loads(path.read_text(encoding="utf-8"))["analyses"]
    found: dict[str, dict[str, Any]] = {}
    for metric in analysis["metrics"]:
        mine = [figure for figure in analysis["figures"] if figure["metric"] == metric["name"]]
        numbers = {"weights_hash": metric["weights_hash"]}
        for name, (part, statistics) in (("pooled", POOLED), ("within", WITHIN)):
            for figure in mine:
                if figure["part"] == part and figure["statistic"] in statistics and figure["value"] is not None:
                    numbers[name] = {key: figure[key] for key in ("value", "low", "high", "n", "references")}
        found[metric["name"]] = numbers
    return found


def table(stored: dict[str, Any]) -> str:
    """Print metrics, best mean first, against sets."""
    names = {name for numbers in stored["sets"].values() for name in numbers}
    rows = []
    for name in names:
        cells = [stored["sets"].get(key, {}).get(name, {}).get("pooled") for key in SETS]
        values = [cell["value"] for cell in cells if cell]
        mean = sum(values) / len(values) if len(values) == len(SETS) else None
        shown = ["-" if cell is None else f"{_short(cell['value'])} {_interval(cell)}" for cell in cells]
        rows.append((mean, f"| {name} | {' | '.join(shown)} | {'-' if mean is None else _short(mean)} |"))
    heads = " | ".join(SETS.values())
    lines = [f"| | {heads} | mean |", "| --- " * (len(SETS) + 2) + "|"]
    ordered = sorted(rows, key=lambda row: (-1.0 if row[0] is None else row[0], row[1]), reverse=True)
    return "\n".join([*lines, *(text for _, text in ordered)])


def points(stored: dict[str, Any], times: dict[str, Any], case: str) -> list[Point]:
    """Take cost and mean over sets of the metrics that both files know, with an interval for independent sets."""
    size, _, batch = case.rpartition("x")
    measured = [
        row for row in times["rows"] if (row["size"], str(row["batch"]), row["what"]) == (size, batch, "forward")
    ]
    cost = {row["metric"]: row["ms per pair"] for row in measured}
    found = []
    for name in {name for numbers in stored["sets"].values() for name in numbers}:
        cells = [stored["sets"].get(key, {}).get(name, {}).get("pooled") for key in SETS]
        timed = f"{name}+align" if name == DEFAULT else name  # which aligns unless told otherwise
        if timed in cost and all(cell is not None for cell in cells):
            mean = sum(cell["value"] for cell in cells) / len(cells)
            half = math.hypot(*((cell["high"] - cell["low"]) / 2 for cell in cells)) / len(cells)
            found.append(Point(name, cost[timed], mean, mean - half, mean + half))
    return sorted(found, key=lambda point: point.cost)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _interval(cell: dict[str, Any]) -> str:
    return "" if cell["low"] is None else f"[{_short(cell['low'])}, {_short(cell['high'])}]"


def main() -> None:
    """Store results, or print the table of those that are stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["store", "table", "draw"])
    parser.add_argument("results", nargs="*", metavar="SET=FILE", help="for draw: the .json file of inference.py")
    parser.add_argument("--case", default="768x512x1", help="width, height, batch in that file")
    arguments = parser.parse_args()
    if arguments.what == "store":
        sets: dict[str, dict[str, Any]] = {}
        for item in arguments.results:
            name, _, path = item.partition("=")
            if name not in SETS:
                parser.error(f"unknown set {name!r}; known are {', '.join(SETS)}")
            sets.setdefault(name, {}).update(headline(Path(path)))
        about = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "sets": sets}
        write_text(RESULTS, json.dumps(about, indent=1) + "\n")
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    if arguments.what == "draw":
        (path,) = arguments.results
        found = points(stored, json.loads(Path(path).read_text(encoding="utf-8")), arguments.case)
        title = f"mean agreement over {len(SETS)} sets, pairs of {arguments.case.rpartition('x')[0]} pixels"
        write_text(PICTURES / "agreement_vs_cost.svg", draw(found, "SRCC, or share of answers", title))
    write_text(PICTURES / "agreement.svg", agreement_picture.draw(stored["sets"], SETS))
    print(table(stored))


if __name__ == "__main__":
    main()
