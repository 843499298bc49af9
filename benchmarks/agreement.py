"""The table of agreement of the README: rated sets by metrics, with intervals, from stored results.

    python benchmarks/agreement.py store tid2013=tid.json raid=raid.json sr=sr.json jpeg=jpeg.json
    python benchmarks/agreement.py table
    python benchmarks/agreement.py draw benchmarks/results/inference_all.json

`store` takes the files that `pim eval table SET -m ... --format json -o FILE` wrote, several of a set if need be, adds
their headline numbers to results/agreement.json and draws docs/images/agreement.svg; `table` prints them and draws it
again; `draw` makes of them and of the output of inference.py the picture docs/images/agreement_vs_cost.svg. Pooled
agreement is SRCC over all rows, or the share of answers for choices; the mean counts every set alike. The default
with `--no-align` is kept apart under that name.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import agreement_picture
from agreement_vs_cost import Point, draw

from pim.core.files import write_text
from pim.metrics.registry import DEFAULT, built_in

PICTURES = Path(__file__).parents[1] / "docs" / "images"
RESULTS = Path(__file__).parent / "results" / "agreement.json"
TIMES, CASE = RESULTS.with_name("inference_all.json"), "768x512x1"
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
        own = "aligned" in metric["settings"] or metric["name"] != DEFAULT
        found[metric["name"] if own else agreement_picture.plain(DEFAULT)] = numbers
    return found


def everything() -> dict[str, dict[str, Any]]:
    """Read all stored results, metric by metric in every set."""
    sets: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["sets"]
    return sets


def table(sets: dict[str, dict[str, Any]]) -> str:
    """Print metrics, best mean first, against sets."""
    names = {name for numbers in sets.values() for name in numbers}
    rows = []
    for name in names:
        cells = _pooled(sets, name)
        values = [cell["value"] for cell in cells if cell]
        mean = sum(values) / len(values) if len(values) == len(SETS) else None
        shown = ["-" if cell is None else f"{_short(cell['value'])} {_interval(cell)}" for cell in cells]
        rows.append((mean, f"| {name} | {' | '.join(shown)} | {'-' if mean is None else _short(mean)} |"))
    heads = " | ".join(SETS.values())
    lines = [f"| | {heads} | mean |", "| --- " * (len(SETS) + 2) + "|"]
    ordered = sorted(rows, key=lambda row: (-1.0 if row[0] is None else row[0], row[1]), reverse=True)
    return "\n".join([*lines, *(text for _, text in ordered)])


def points(sets: dict[str, dict[str, Any]], times: dict[str, Any], case: str) -> list[Point]:
    """Take cost and mean over sets of the metrics that both files know; intervals are those of independent sets."""
    size, _, batch = case.rpartition("x")
    measured = [
        row for row in times["rows"] if (row["size"], str(row["batch"]), row["what"]) == (size, batch, "forward")
    ]
    cost = {row["metric"]: row["ms per pair"] for row in measured}
    found = []
    for name in built_in():
        aligned = _pooled(sets, agreement_picture.aligned(name)), cost.get(f"{name}+align")
        plain = _pooled(sets, agreement_picture.plain(name)), cost.get(name)
        both = [
            (fmean(cell["value"] for cell in cells), time, cells)
            for cells, time in (plain, aligned)
            if all(cells) and time
        ]
        if both:
            mean, time, cells = both[-1]
            half = math.hypot(*((cell["high"] - cell["low"]) / 2 for cell in cells)) / len(cells)
            alone = len(both) == 1
            before = None if alone else (both[0][1], both[0][0])
            found.append(Point(name, time, mean, mean - half, mean + half, alone, before))
    return sorted(found, key=lambda point: point.cost)


def _pooled(sets: dict[str, dict[str, Any]], name: str) -> list[Any]:
    return [sets.get(key, {}).get(name, {}).get("pooled") for key in SETS]


def cost_picture(case: str = CASE, times: Path = TIMES) -> str:
    """Draw mean agreement over the sets against the milliseconds of a file of inference.py, as SVG."""
    found = points(everything(), json.loads(times.read_text(encoding="utf-8")), case)
    size = case.rpartition("x")[0]
    title = f"mean agreement over {len(SETS)} sets, {size} pixels; full: aligned, hollow: as they lie"
    return draw(found, "SRCC, or share of answers", title)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _interval(cell: dict[str, Any]) -> str:
    return "" if cell["low"] is None else f"[{_short(cell['low'])}, {_short(cell['high'])}]"


def main() -> None:
    """Store results, or print the table of those that are stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["store", "table", "draw"])
    parser.add_argument("results", nargs="*", metavar="SET=FILE", help="for draw: the .json file of inference.py")
    parser.add_argument("--case", default=CASE, help="width, height, batch in that file")
    arguments = parser.parse_args()
    if arguments.what == "store":
        sets = everything() if RESULTS.is_file() else {}
        for item in arguments.results:
            name, _, path = item.partition("=")
            if name not in SETS:
                parser.error(f"unknown set {name!r}; known are {', '.join(SETS)}")
            sets.setdefault(name, {}).update(headline(Path(path)))
        about = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "sets": sets}
        write_text(RESULTS, json.dumps(about, indent=1) + "\n")
    found = everything()
    if arguments.what == "draw":
        (path,) = arguments.results
        write_text(PICTURES / "agreement_vs_cost.svg", cost_picture(arguments.case, Path(path)))
    write_text(PICTURES / "agreement.svg", agreement_picture.draw(found, SETS))
    print(table(found))


if __name__ == "__main__":
    main()
