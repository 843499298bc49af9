"""The picture of agreement of the README: a panel for each rated set, a line with its interval for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agreement_vs_cost import Axis, line, text

from pim.metrics.registry import DEFAULT, built_in

LEFT, TOP, ROW, PANEL, GAP = 90, 46, 22, 185, 32
FEWEST = 3  # metrics of a panel
STEP = 0.25  # between lines of the grid
ASIDE = 4  # of the two marks of a row from its middle
OURS, OTHERS = "#c0392b", "#2c3e50"

Cell = Mapping[str, float]
Numbers = Mapping[str, Mapping[str, Any]]  # of a set, by metric
Marks = tuple[Cell | None, Cell | None]  # of a metric: as they lie, aligned


def panels(sets: Mapping[str, Numbers]) -> dict[str, dict[str, Marks]]:
    """Take the pooled agreement of the metrics that have names here, of the sets with enough of them."""
    found: dict[str, dict[str, Marks]] = {}
    for name, numbers in sets.items():
        pooled = {metric: cells["pooled"] for metric, cells in numbers.items() if "pooled" in cells}
        rows = {metric: (pooled.get(plain(metric)), pooled.get(aligned(metric))) for metric in built_in()}
        shown = {metric: marks for metric, marks in rows.items() if any(marks)}
        if len(shown) >= FEWEST:
            found[name] = shown
    return found


def plain(metric: str) -> str:
    """What the results call a metric that compares pictures as they lie."""
    return f"{metric} --no-align" if metric == DEFAULT else metric


def aligned(metric: str) -> str:
    """What the results call a metric that registers pictures first, as the default does unless told otherwise."""
    return metric if metric == DEFAULT else f"{metric}+align"


def draw(sets: Mapping[str, Numbers], called: Mapping[str, str]) -> str:
    """Draw panels side by side as SVG, the metric with the best mean over them on top."""
    shown = panels(sets)
    everywhere = [set(rows) for rows in shown.values()]
    metrics = sorted(set.union(*everywhere), key=lambda name: -_mean(name, list(shown.values())))
    width, height = LEFT + len(shown) * (PANEL + GAP), TOP + ROW * len(metrics) + 50
    parts = [text(LEFT - 10, _row(place) + 4, name, "end") for place, name in enumerate(metrics)]
    bottom = TOP + ROW * len(metrics)
    for number, (name, rows) in enumerate(shown.items()):
        start = LEFT + number * (PANEL + GAP)
        parts += _panel(Axis(0.25, 1.0, start, start + PANEL), bottom, called[name], rows, metrics)
    title = "Agreement with people: SRCC, for JPEG encoders the share of answers; 95 % intervals"
    parts.append(text(width / 2, height - 26, title, "middle"))
    parts.append(text(width / 2, height - 8, "full: pictures aligned first; hollow: as they lie", "middle"))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" role="img">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>\n"])


def _panel(x: Axis, bottom: float, name: str, rows: Mapping[str, Marks], metrics: Sequence[str]) -> list[str]:
    n = max(int(cell["n"]) for marks in rows.values() for cell in marks if cell)
    parts = [text((x.start + x.end) / 2, TOP - 26, f"{name}, n = {n}", "middle")]
    for number in range(round((x.last - x.first) / STEP) + 1):
        at = x(x.first + number * STEP)
        parts += [line(at, TOP - 6, at, bottom, "#ddd"), text(at, TOP - 10, f"{x.first + number * STEP:g}", "middle")]
    for place, metric in enumerate(metrics):
        colour = OURS if metric == DEFAULT else OTHERS
        for cell, fill, aside in zip(rows.get(metric, ()), ("white", colour), (ASIDE, -ASIDE), strict=False):
            if cell:
                parts += _mark(x, _row(place) + aside, cell, colour, fill)
    return parts


def _mark(x: Axis, y: float, cell: Cell, colour: str, fill: str) -> list[str]:
    low, high = (max(cell["value"] if cell[end] is None else cell[end], x.first) for end in ("low", "high"))
    parts = [line(x(low), y, x(high), y, colour)]
    if cell["value"] >= x.first:
        parts.append(f'<circle cx="{x(cell["value"]):.1f}" cy="{y:.1f}" r="3.5" fill="{fill}" stroke="{colour}"/>')
    return parts


def _row(place: int) -> float:
    return TOP + ROW * (place + 0.5)


def _mean(metric: str, shown: Sequence[Mapping[str, Marks]]) -> float:
    last = [next(cell for cell in reversed(rows[metric]) if cell)["value"] for rows in shown if metric in rows]
    return sum(last) / len(last)
