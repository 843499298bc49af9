"""Agreement with people against milliseconds per pair, as a picture and a table.

    python benchmarks/agreement_vs_cost.py runs/tid2013 inference.json --output agreement_vs_cost.svg

The first argument is the folder of a run of `pim eval` (its summary.json is read), or several folders of runs on
the same rows; the last is the output of benchmarks/inference.py. A bar is the interval of the run, a point its value;
further left is cheaper.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from timing import report

from pim.core.files import write_text

WIDTH, HEIGHT = 720, 440
LETTER = 6.6  # mean width of a letter, at 12 px
Box = tuple[float, float, float, float]  # left, right, top, bottom
LEFT, RIGHT, TOP, BOTTOM = 70, 110, 40, 60  # margins; names stand to the right of their points


@dataclass(frozen=True)
class Point:
    """A metric: what it costs and how well it agrees."""

    metric: str
    cost: float  # milliseconds per pair
    value: float
    low: float
    high: float
    hollow: bool = False
    before: tuple[float, float] | None = None  # cost and value of the metric without what was added to it, hollow too


def points(summary: dict[str, Any], times: dict[str, Any], part: str, statistic: str, case: str) -> list[Point]:
    """The metrics that both files know, cheapest first."""
    size, _, batch = case.rpartition("x")
    cost = {
        row["metric"]: row["ms per pair"]
        for row in times["rows"]
        if (row["size"], str(row["batch"]), row["what"]) == (size, batch, "forward")
    }
    found = []
    for figure in summary["figures"]:
        if (figure["part"], figure["statistic"]) != (part, statistic) or figure["value"] is None:
            continue
        if figure["metric"] in cost:
            low, high = (figure["value"] if end is None else end for end in (figure["low"], figure["high"]))
            found.append(Point(figure["metric"], cost[figure["metric"]], figure["value"], low, high))
    return sorted(found, key=lambda point: point.cost)


@dataclass(frozen=True)
class Axis:
    """Numbers to positions on the page."""

    first: float
    last: float
    start: float  # where `first` lies
    end: float

    def __call__(self, number: float) -> float:
        """The position of a number."""
        return self.start + (number - self.first) / (self.last - self.first) * (self.end - self.start)


def joined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary of runs on the same rows; of a metric in several of them the last counts."""
    first = summaries[0]
    for other in summaries[1:]:
        if any(other[key] != first[key] for key in ("used", "rows")) or other["about"] != first["about"]:
            raise SystemExit("these runs are not on the same rows")
    figures = {(f["metric"], f["part"], f["statistic"]): f for summary in summaries for f in summary["figures"]}
    return {**first, "figures": list(figures.values())}


def draw(found: Sequence[Point], statistic: str, title: str) -> str:
    """The picture as SVG: cost on a logarithmic axis, agreement on a linear one."""
    decades = [math.log10(point.cost) for point in found]
    before = [point.before for point in found if point.before]
    every = decades + [math.log10(cost) for cost, _ in before]
    x = Axis(math.floor(min(every)), math.floor(max(every)) + 1, LEFT, WIDTH - RIGHT)
    low, high = min(*(p.low for p in found), *(value for _, value in before)), max(p.high for p in found)
    step = 0.05 if high - low > 0.1 else 0.01
    y = Axis(math.floor(low / step) * step, math.ceil(high / step) * step, HEIGHT - BOTTOM, TOP)
    parts = [text(WIDTH / 2, 22, title, "middle")]
    for decade in range(int(x.first), int(x.last) + 1):
        parts += [line(x(decade), TOP, x(decade), HEIGHT - BOTTOM, "#ddd")]
        parts += [text(x(decade), HEIGHT - BOTTOM + 18, f"{10.0**decade:g}", "middle")]
    for number in range(round((y.last - y.first) / step) + 1):
        height = y(y.first + number * step)
        parts += [line(LEFT, height, WIDTH - RIGHT, height, "#ddd")]
        parts += [text(LEFT - 8, height + 4, f"{y.first + number * step:.2f}", "end")]
    parts += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "milliseconds per pair (logarithmic)", "middle")]
    parts += [
        f'<text transform="translate(20 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(statistic)}</text>'
    ]
    places = [(x(decade), y(point.value)) for point, decade in zip(found, decades, strict=True)]
    for point, (across, down) in zip(found, places, strict=True):
        colour = "#c0392b" if point.metric.startswith("pim") else "#2c3e50"
        if point.before:
            left, under = x(math.log10(point.before[0])), y(point.before[1])
            parts += [line(left, under, across, down, "#bbb")]
            parts += [f'<circle cx="{left:.1f}" cy="{under:.1f}" r="3.5" fill="white" stroke="{colour}"/>']
        parts += [line(across, y(point.low), across, y(point.high), colour)]
        fill = "white" if point.hollow else colour
        parts += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="{fill}" stroke="{colour}"/>']
    halo = '<g paint-order="stroke" stroke="white" stroke-width="3" stroke-linejoin="round">'
    parts += [halo, *labels([point.metric for point in found], places), "</g>"]
    font = 'font-family="sans-serif" font-size="12"'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


def labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Names beside their points, where they cover neither a point nor another name, if there is such a place."""
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in places]
    made = []
    for name, (x, y) in zip(names, places, strict=True):
        tries: list[tuple[float, int, str, float, float, tuple[float, float, float, float]]] = []
        for anchor, aside, below in (
            ("start", 8, 4),
            ("end", -8, 4),
            ("start", 6, -6),
            ("start", 6, 16),
            ("end", -6, 16),
            ("middle", 0, 18),
            ("middle", 0, -10),
        ):
            width = LETTER * len(name)
            left = x + aside - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (left, left + width, y + below - 10, y + below + 2)
            tries.append((sum(overlap(box, other) for other in taken), len(tries), anchor, x + aside, y + below, box))
        _, _, anchor, across, down, box = min(tries)
        taken.append(box)
        made.append(text(across, down, name, anchor))
    return made


def overlap(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    wide = min(one[1], other[1]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[2], other[2])
    return max(wide, 0.0) * max(high, 0.0)


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Words at a position."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def main() -> None:
    """Read both files, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs of pim eval")
    parser.add_argument("times", type=Path, help="the .json file of inference.py")
    parser.add_argument("--part", default="all")
    parser.add_argument("--statistic", help="by default the first of the run, such as SRCC")
    parser.add_argument("--case", default="256x256x1", help="width, height, batch in the .json file")
    parser.add_argument("--title", help="by default the data set, its rows and the part")
    parser.add_argument("--output", type=Path, default=Path("agreement_vs_cost.svg"))
    asked = parser.parse_args()
    summary = joined([json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in asked.runs])
    times = json.loads(asked.times.read_text(encoding="utf-8"))
    statistic = asked.statistic or summary["figures"][0]["statistic"]
    found = points(summary, times, asked.part, statistic, asked.case)
    if not found:
        raise SystemExit(f"no metric has both {statistic} of {asked.part!r} in these runs and {asked.case} forward")
    title = asked.title or f"{summary['about']['dataset']}, {summary['used']} rows, {asked.part}"
    write_text(asked.output, draw(found, statistic, title))
    about = {"data": title, "statistic": statistic, "case": asked.case, "threads": times["setting"]["threads"]}
    report([vars(point) for point in found], about, None)


if __name__ == "__main__":
    main()
