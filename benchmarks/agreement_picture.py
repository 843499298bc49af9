"""The picture of agreement of the README: a panel for each rated set, a line with its interval for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agreement_vs_cost import Axis, line, text

from pim.metrics.registry import DEFAULT, built_in

LEFT, TOP, ROW, PANEL, GAP = 90, 46, 20, 185, 32
FEWEST = 3  # metrics of a panel
STEP = 0.25  # between lines of the grid

Numbers = Mapping[str, Mapping[str, Any]]  # of a set, by metric


def panels(sets: Mapping[str, Numbers]) -> dict[str, dict[str, dict[str, float]]]:
    """Take the pooled agreement of the metrics that have names here, of the sets with enough of them."""
    named = built_in()
    found = {
        name: {metric: cells["pooled"] for metric, cells in numbers.items() if metric in named and "pooled" in cells}
        for name, numbers in sets.items()
    }
    return {name: cells for name, cells in found.items() if len(cells) >= FEWEST}


def draw(sets: Mapping[str, Numbers], called: Mapping[str, str]) -> str:
    """Draw panels side by side as SVG, the metric with the best mean over them on top."""
    shown = panels(sets)
    everywhere = [set(cells) for cells in shown.values()]
    metrics = sorted(set.union(*everywhere), key=lambda name: -_mean(name, list(shown.values())))
    width, height = LEFT + len(shown) * (PANEL + GAP), TOP + ROW * len(metrics) + 30
    parts = [text(LEFT - 10, _row(place) + 4, name, "end") for place, name in enumerate(metrics)]
    bottom = TOP + ROW * len(metrics)
    for number, (name, cells) in enumerate(shown.items()):
        start = LEFT + number * (PANEL + GAP)
        parts += _panel(Axis(0.25, 1.0, start, start + PANEL), bottom, called[name], cells, metrics)
    title = "Agreement with people: SRCC, for JPEG encoders the share of answers; 95 % intervals"
    parts.append(text(width / 2, height - 6, title, "middle"))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" role="img">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>\n"])


def _panel(
    x: Axis, bottom: float, name: str, cells: Mapping[str, Mapping[str, float]], metrics: Sequence[str]
) -> list[str]:
    n = max(int(cell["n"]) for cell in cells.values())
    parts = [text((x.start + x.end) / 2, TOP - 26, f"{name}, n = {n}", "middle")]
    for number in range(round((x.last - x.first) / STEP) + 1):
        at = x(x.first + number * STEP)
        parts += [line(at, TOP - 6, at, bottom, "#ddd"), text(at, TOP - 10, f"{x.first + number * STEP:g}", "middle")]
    for place, metric in enumerate(metrics):
        if (cell := cells.get(metric)) is not None:
            colour = "#c0392b" if metric == DEFAULT else "#2c3e50"
            low, high = (max(cell["value" if cell[end] is None else end], x.first) for end in ("low", "high"))
            parts.append(line(x(low), _row(place), x(high), _row(place), colour))
            if cell["value"] >= x.first:
                parts.append(f'<circle cx="{x(cell["value"]):.1f}" cy="{_row(place):.1f}" r="4" fill="{colour}"/>')
    return parts


def _row(place: int) -> float:
    return TOP + ROW * (place + 0.5)


def _mean(metric: str, shown: Sequence[Mapping[str, Mapping[str, float]]]) -> float:
    values = [cells[metric]["value"] for cells in shown if metric in cells]
    return sum(values) / len(values)
