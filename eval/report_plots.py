"""The plots of a run: opinions under a fitted curve, parts side by side, severities, agreement against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.analysis import HEADLINES, Analysis, parts_of
from pim.eval.figures import AGREED, ALL, MEAN_OF_TYPES, PRECISION, ROWS, WITHIN, Figure
from pim.eval.logistic import curve_at, fit
from pim.eval.report_charts import Axis, Bar, BarChart, BarGroup, Chart, Label, Series, dots, line, span
from pim.eval.session import Finished
from pim.eval.tables import cell
from pim.eval.two_afc import GROUPS
from pim.metrics.registry import built_in

Array = NDArray[np.float64]

MOST_DOTS = 3000  # of one scatter plot
CURVE_POINTS = 120
PART_STATISTIC = {
    "opinion": "SRCC",
    "two_afc": AGREED,
    "quadruple": AGREED,
    "jnd": PRECISION,
    "severity": "Kendall",
}
PERCENT = (AGREED, PRECISION)  # what people read as percent, as in tables
WHOLE = (ALL, MEAN_OF_TYPES, WITHIN, ROWS, *GROUPS)  # parts that are means


def colours_of(analysis: Analysis) -> dict[str, int]:
    """A number for every line that is drawn, the same in all plots of a run."""
    return {name: i for i, name in enumerate(dict.fromkeys(f.metric for f in analysis.figures))}


def headline(analysis: Analysis) -> list[Figure]:
    """The statistic that says most, one figure for every metric; empty if there is none."""
    for wanted in (*HEADLINES, ("severity", ALL, "Kendall")):
        found = [f for f in analysis.figures if (f.section, f.part, f.statistic) == wanted]
        if found:
            return found
    return []


def scatters(run: Finished, analysis: Analysis) -> list[Chart]:
    """Values against opinions with the fitted curve, one chart for every metric."""
    if run.about.kind != "opinion":
        return []
    colours, found = colours_of(analysis), []
    for metric in run.values:
        rows = [(v[0], j.value) for v, j in zip(metric.values, run.judgements, strict=True)]
        points = np.array([row for row in rows if None not in row], dtype=np.float64).reshape(-1, 2)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) > 1:
            better = "lower" if metric.lower_is_better else "higher"
            x_label = f"{metric.name} ({better} is closer)"
            opinion = f"opinion ({'higher' if run.about.higher_is_better else 'lower'} is better)"
            colour = colours.get(metric.name, 0)
            found.append(_scatter(metric.name, x_label, opinion, points, colour, analysis.options.fit_parameters))
    return found


def _scatter(name: str, x_label: str, y_label: str, points: Array, colour: int, parameters: int) -> Chart:
    x, y = points.T
    across, upward = Axis.across(x), Axis.upward(y)
    step = -(-len(points) // MOST_DOTS)
    shown = points[::step]
    drawn = dots([(across.at(a), upward.at(b)) for a, b in shown])
    said = f"{len(shown)} pairs" + (f", every {step}. of {len(points)}" if step > 1 else "")
    try:
        fitted = fit(x, y, parameters)
    except InputError as error:
        curve, shape = "", f"no curve: {error}"
    else:
        at = np.linspace(x.min(), x.max(), CURVE_POINTS)
        inside = np.clip(curve_at(at, fitted, x, y), upward.low, upward.high)
        curve = line([(across.at(a), upward.at(b)) for a, b in zip(at, inside, strict=True)])
        shape = "a straight line" if fitted.curve == "line" else f"a logistic curve of {parameters} parameters"
        shape = f"{shape}, RMSE {fitted.rmse:.4g}"
    series = (Series(name, colour, dots=drawn, line=curve),)
    return Chart(name, f"{said}; {shape}", x_label, y_label, across.ticks(), upward.ticks(), series, kind="cloud")


def by_part(run: Finished, analysis: Analysis) -> BarChart | None:
    """Agreement on every type of distortion, category or subset; None if there are no parts."""
    statistic = PART_STATISTIC[run.about.kind]
    figures = [f for f in analysis.figures if f.statistic == statistic and f.part not in WHOLE]
    types = parts_of(run.judgements, run.about.categories)[1]
    figures = [f for f in figures if f.part in types] or figures
    if not figures:
        return None
    lows = [v for f in figures for v in _scaled(f)[:2] if v is not None]
    axis = Axis(min(0.0, *lows) if lows else 0.0, 100.0 if statistic in PERCENT else 1.0, 0.0, 100.0)
    colours, zero = colours_of(analysis), axis.at(0.0)
    groups: dict[str, list[Bar]] = {}
    for f in figures:
        value, low, high = (None if v is None else axis.at(v) for v in _scaled(f))
        end = zero if value is None else value
        bar = Bar(f.metric, colours[f.metric], cell(f), min(zero, end), abs(end - zero), low, high)
        groups.setdefault(f.part, []).append(bar)
    rows = {part: max(f.n for f in figures if f.part == part) for part in groups}
    legend = tuple(Series(name, colours[name]) for name in dict.fromkeys(f.metric for f in figures))
    made = tuple(BarGroup(part, rows[part], tuple(bars)) for part, bars in groups.items())
    return BarChart(f"{statistic} by part", axis.ticks(), zero, made, legend)


def _scaled(figure: Figure) -> tuple[float | None, float | None, float | None]:
    """Value, low and high in the unit that tables use."""
    scale = 100.0 if figure.statistic in PERCENT else 1.0
    value, low, high = (None if v is None else scale * v for v in (figure.value, figure.low, figure.high))
    return value, low, high


def severity_curves(analysis: Analysis) -> list[Chart]:
    """Mean distance by severity, a chart for every corruption.

    Metrics share an axis: 0 is the smallest mean of a metric over all corruptions and severities, 1 its largest.
    """
    means = [f for f in analysis.figures if f.statistic.startswith("mean ") and f.value is not None]
    scale: dict[str, tuple[float, float]] = {}
    for metric in dict.fromkeys(f.metric for f in means):
        values = [f.value for f in means if f.metric == metric and f.value is not None]
        if max(values) > min(values):
            scale[metric] = (min(values), max(values))
    by_corruption: dict[str, list[Figure]] = {}
    for figure in means:
        if figure.metric in scale:
            by_corruption.setdefault(figure.part, []).append(figure)
    colours = colours_of(analysis)
    several = {name: rows for name, rows in by_corruption.items() if len({f.statistic for f in rows}) > 1}
    return [_curves(name, rows, scale, colours) for name, rows in several.items()]


def _curves(
    corruption: str, figures: Sequence[Figure], scale: Mapping[str, tuple[float, float]], colours: Mapping[str, int]
) -> Chart:
    severity = {f: int(f.statistic.removeprefix("mean ")) for f in figures}
    across, upward = Axis.across(sorted(severity.values())), Axis.upward([0.0, 1.0])
    made = []
    for metric in dict.fromkeys(f.metric for f in figures):
        low, high = scale[metric]

        def height(value: float, low: float = low, high: float = high) -> float:
            return upward.at(min(max((value - low) / (high - low), 0.0), 1.0))

        rows = sorted((f for f in figures if f.metric == metric), key=severity.__getitem__)
        points = [(across.at(severity[f]), height(f.value)) for f in rows if f.value is not None]
        spans = [
            span(across.at(severity[f]), height(f.low), height(f.high))
            for f in rows
            if f.low is not None and f.high is not None
        ]
        made.append(Series(metric, colours[metric], dots(points), line(points), "".join(spans)))
    summary = f"mean over {figures[0].n} pictures by severity, {', '.join(s.name for s in made)}"
    x_ticks = tuple(t for t in across.ticks() if t.label.isdigit())
    return Chart(corruption, summary, "severity", "mean distance, 0 to 1", x_ticks, upward.ticks(), tuple(made))


def cost(run: Finished, analysis: Analysis) -> Chart | None:
    """Agreement against multiply-adds per pixel, for the metrics whose cost is known; None if there are none."""
    known = {m.name: _operations(m.description) for m in run.values}
    points: list[tuple[Figure, float]] = []
    for figure in headline(analysis):
        operations = known.get(figure.metric)
        if figure.value is not None and operations is not None:
            points.append((figure, operations))
    if not points:
        return None
    across = Axis.across([operations for _, operations in points], logarithmic=True)
    upward = Axis.upward([v for f, _ in points for v in _scaled(f) if v is not None])
    colours, series, labels = colours_of(analysis), [], []
    for figure, operations in points:
        value, low, high = _scaled(figure)
        x, y = across.at(operations), upward.at(value or 0.0)
        spans = "" if low is None or high is None else span(x, upward.at(low), upward.at(high))
        series.append(Series(figure.metric, colours[figure.metric], dots([(x, y)]), "", spans))
        right = x > (across.start + across.end) / 2
        labels.append(Label(x + (-7 if right else 7), y - 5, figure.metric, "end" if right else "start"))
    name = f"{points[0][0].statistic}, {points[0][0].part}"
    return Chart(
        title=name,
        summary="; ".join(f"{f.metric}: {cell(f)} at {operations:g} operations" for f, operations in points),
        x_label="multiply-adds per pixel and image",
        y_label=name,
        x_ticks=across.ticks(),
        y_ticks=upward.ticks(),
        series=tuple(series),
        labels=tuple(labels),
        kind="points",
    )


def _operations(description: Mapping[str, object]) -> float | None:
    """The stated cost of a built-in metric; a metric of the same name made by others has another summary."""
    info = built_in().get(str(description["name"]))
    return info.operations if info is not None and info.summary == description.get("summary") else None
