"""A page of scores that needs nothing but itself: what was found, tables, distributions, the worst pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pim._version import VERSION
from pim.core import look
from pim.core.metric import Metric
from pim.errors import PimError
from pim.eval.candidates import BYTES, Candidates, Grid, Summary, summary
from pim.eval.report_charts import Axis, Chart, Series, Table, line
from pim.eval.report_pictures import View, view
from pim.images.opener import OpenOptions
from pim.metrics.ruler import ruler_of
from pim.scoring.pictures import PicturePair

SHOWN = 6  # pictures with slider and map
MOST_ROWS = 500  # of the table of pictures; the furthest if there are more

Pairs = Mapping[tuple[str, str], PicturePair]  # by picture and candidate


@dataclass(frozen=True)
class Worst:
    """A picture that is far from its reference."""

    title: str
    about: str
    view: View | None
    missing: str  # why there is no view


@dataclass(frozen=True)
class ScorePage:
    """What the template shows."""

    title: str
    lead: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    worst: tuple[Worst, ...]
    worst_lead: str
    pictures: Table | None = None  # all of them
    charts_heading: str = "Distribution"


def page(
    title: str, found: Candidates, metrics: Sequence[Metric], pairs: Pairs, opening: OpenOptions, failed: int
) -> str:
    """Write the page as HTML.

    Args:
        title: What was scored.
        found: The values.
        metrics: In the order of the tables; the first decides which pictures are furthest, and draws maps if it can.
        pairs: Where the pictures are.
        opening: How they were opened.
        failed: How many pairs have no value.

    Returns:
        HTML that loads nothing. What came from files is escaped, characters that cannot be seen are spelled out.
    """
    grids = found.grids()
    by_name = {grid.quantity: grid for grid in grids if not np.isnan(grid.values).all()}
    first = by_name.get(metrics[0].name)
    shown = ScorePage(
        title=title,
        lead=_lead(by_name, metrics[0]),
        sentences=(
            *(comparison.sentence for comparison in found.comparisons()),
            *(["1 pair failed and counts for nothing"] if failed == 1 else []),
            *([f"{failed} pairs failed and count for nothing"] if failed > 1 else []),
        ),
        tables=(_mean_table(by_name), _worst_table(by_name)) if by_name and len(found.pictures) > 1 else (),
        charts=tuple(_chart(grid) for grid in by_name.values() if not grid.is_size and len(grid.pictures) > 1),
        worst=() if first is None else tuple(_worst(first, metrics[0], by_name, pairs, opening)),
        worst_lead=f"By {metrics[0].name}, one candidate of each picture.",
        pictures=_picture_table(by_name, first),
    )
    return rendered(shown)


def rendered(shown: ScorePage) -> str:
    """Write HTML that loads nothing; what came from files is escaped."""
    style, script = look.style("pim.eval", "report.css"), look.script("pim.eval", "report.js")
    policy = look.policy(style, script, img="data:")
    template = look.environment("pim.eval").get_template("scores.html")
    text: str = template.render(page=shown, style=style, script=script, policy=policy, version=VERSION)
    return text


def _lead(by_name: Mapping[str, Grid], metric: Metric) -> str:
    """What the first metric says, the closest candidate first, and what that means."""
    grid = by_name.get(metric.name)
    if grid is None:
        return "No pair has a value."
    ruler, sign = ruler_of(metric), 1 if grid.lower_is_better else -1
    reached = [found for candidate in grid.candidates if (found := summary(grid, candidate)).median is not None]
    said = []
    for found in sorted(reached, key=lambda found: sign * (found.median or 0.0)):
        place = "" if ruler is None or found.median is None else f", {ruler.place(found.median).words}"
        said.append(f"{found.candidate} {_cell(found.median, grid)}{place}")
    what = f"median of {len(grid.pictures)} pictures" if len(grid.pictures) > 1 else ""
    order = "the closest first" if len(said) > 1 else ""
    return f"By {', '.join(filter(None, (metric.name, what, order)))}: {'; '.join(said)}."


def _better(lower: bool) -> str:
    return f"{'lower' if lower else 'higher'} is closer"


def _mean_table(by_name: Mapping[str, Grid]) -> Table:
    lines, notes = [], dict[str, None]()
    drawn = "[low, high]: 95 % bootstrap interval, pictures drawn"
    for candidate in next(iter(by_name.values())).candidates:
        found = [(summary(grid, candidate), grid) for grid in by_name.values()]
        lines.append((candidate, *(_mean(each, grid) for each, grid in found), str(max(each.n for each, _ in found))))
        notes |= {drawn: None} if any(each.low is not None for each, _ in found) else {}
        notes |= dict.fromkeys(each.note for each, _ in found if each.note)
    heading = ("candidate", *map(_heading, by_name.values()), "pictures")
    return Table("Means", heading, tuple(lines), "; ".join(notes))


def _worst_table(by_name: Mapping[str, Grid]) -> Table:
    metrics = [grid for grid in by_name.values() if not grid.is_size]
    lines = []
    for candidate in metrics[0].candidates if metrics else ():
        found = [(grid, summary(grid, candidate)) for grid in metrics]
        cells = ((_cell(f.median, grid), _cell(f.worst, grid), f.worst_picture or "") for grid, f in found)
        lines.append((candidate, *(cell for each in cells for cell in each)))
    heading = [f"{grid.quantity}, {what}" for grid in metrics for what in ("median", "worst", "of")]
    return Table("Medians and worst pictures", ("candidate", *heading), tuple(lines))


def _heading(grid: Grid) -> str:
    return grid.quantity if grid.is_size else f"{grid.quantity}, {_better(grid.lower_is_better)}"


def _mean(found: Summary, grid: Grid) -> str:
    interval = "" if found.low is None else f" [{_cell(found.low, grid)}, {_cell(found.high, grid)}]"
    return _cell(found.mean, grid) + interval


def _chart(grid: Grid) -> Chart:
    """The share of pictures up to each value, a line for every candidate."""
    finite = grid.values[np.isfinite(grid.values)]
    across, upward = Axis.across(finite if len(finite) else [0.0, 1.0]), Axis.upward([0.0, 1.0])
    series = []
    for number, candidate in enumerate(grid.candidates):
        column = grid.values[:, number]
        values = np.sort(column[np.isfinite(column)])
        shares = np.arange(len(values) + 1) / max(1, len(values))
        steps = [
            (across.at(v), upward.at(s)) for v, *ends in zip(values, shares, shares[1:], strict=False) for s in ends
        ]
        series.append(Series(candidate, number, line=line(steps)))
    ticks = tuple(tick for tick in upward.ticks() if tick.label in ("0", "0.5", "1"))
    better = "left" if grid.lower_is_better else "right"
    return Chart(
        title=grid.quantity,
        summary=f"How many pictures have at most so much; a curve further to the {better} is closer.",
        x_label=grid.quantity,
        y_label="share of pictures",
        x_ticks=across.ticks(),
        y_ticks=ticks,
        series=tuple(series),
    )


def _worst(
    grid: Grid, metric: Metric, by_name: Mapping[str, Grid], pairs: Pairs, opening: OpenOptions
) -> Iterator[Worst]:
    """The furthest candidate of each of the furthest pictures, beginning with the furthest."""
    drawing = getattr(metric, "metric", metric)  # an aligned metric draws the map of the one inside
    for row in _furthest(grid)[:SHOWN]:
        column = int(np.nanargmax(grid.values[row] * (1 if grid.lower_is_better else -1)))
        picture, candidate = grid.pictures[row], grid.candidates[column]
        said = [f"{name} {_cell(each.values[row, column], each)}" for name, each in by_name.items()]
        seen, missing = None, ""
        try:
            with_map = [drawing] if drawing.info.spatial else []
            seen = view(pairs[picture, candidate], ("reference", candidate), with_map, opening)
        except PimError as error:
            missing = str(error)
        title = picture if len(grid.candidates) == 1 else f"{picture}, {candidate}"
        yield Worst(title, ", ".join(said), seen, missing)


def _furthest(grid: Grid) -> list[int]:
    """Rows from the furthest picture to the closest, by their furthest candidate; not those without a value."""
    sign = 1 if grid.lower_is_better else -1
    there = np.flatnonzero(~np.isnan(grid.values).all(axis=1))
    return [int(row) for row in there[np.argsort(-np.nanmax(sign * grid.values[there], axis=1), kind="stable")]]


def _picture_table(by_name: Mapping[str, Grid], first: Grid | None) -> Table:
    """Every picture, with all quantities of all candidates."""
    if first is None:
        return Table("No values", ("every pair failed",), ())
    several = len(first.candidates) > 1
    columns = [(number, grid) for number in range(len(first.candidates)) for grid in by_name.values()]
    heading = [f"{first.candidates[n]} {grid.quantity}" if several else grid.quantity for n, grid in columns]
    rows = sorted(_furthest(first)[:MOST_ROWS])
    lines = [(first.pictures[row], *(_cell(grid.values[row, n], grid) for n, grid in columns)) for row in rows]
    cut = len(lines) < len(first.pictures)
    foot = f"the {len(lines)} furthest of {len(first.pictures)}; a CSV has all of them" if cut else ""
    return Table("Values", ("picture", *heading), tuple(lines), foot)


def _cell(value: float | None, grid: Grid) -> str:
    if value is None or np.isnan(value):
        return ""
    return f"{value:.0f}" if grid.quantity == BYTES else f"{value:.4g}"
