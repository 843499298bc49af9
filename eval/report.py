"""A page of runs that needs nothing but itself: tables, plots, pictures, in one HTML file.

The plots are SVG written by the page's own template: their colours follow the theme of the page, their
text stays text, and 3000 dots take 40 kB; matplotlib writes 11 times that in fixed colours, and plotly
needs 4.8 MB of script. The page asks for nothing from anywhere, which its content policy enforces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pim._version import VERSION
from pim.core import look
from pim.eval import report_plots as plots
from pim.eval import tables
from pim.eval.analysis import Analysis, AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.figures import Figure
from pim.eval.report_cases import Case, Gallery, cases
from pim.eval.report_charts import BarChart, Chart, Table
from pim.eval.session import SUMMARY, Finished, analyse_again
from pim.eval.store import StoredRun, reading

Line = Sequence[str]


@dataclass(frozen=True)
class Section:
    """What the page says of one run."""

    name: str
    dataset: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    bars: BarChart | None
    part_tables: tuple[Table, ...]
    scatters: tuple[Chart, ...]
    curves: tuple[Chart, ...]
    cost: Chart | None
    cases: tuple[Case, ...]
    no_pictures: str  # why; empty if there are some, or none are wanted
    details: tuple[Table, ...]
    notes: tuple[str, ...]
    headline: tuple[Figure, ...]


def last_options(folder: Path) -> AnalysisOptions:
    """How the last analysis of a run was made; the usual way if it left no summary."""
    try:
        options = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["options"]
        intervals = IntervalOptions(**options["intervals"])
        return AnalysisOptions(intervals, fit_parameters=int(options["fit_parameters"]))
    except (OSError, ValueError, KeyError, TypeError):
        return AnalysisOptions()


def section(folder: Path, options: AnalysisOptions, gallery: Gallery | None) -> Section:
    """Collect everything about one finished run; without a gallery the page shows no pictures.

    Raises:
        DataError: if the folder holds no finished run.
    """
    outcome = analyse_again(folder, options)
    analysis, run = outcome.analysis, outcome.run
    with reading(folder) as store:
        stored = store.runs()[-1]
    found, reason = ([], "") if gallery is None else cases(folder, run, gallery)
    return Section(
        name=folder.resolve().name,
        dataset=run.about.dataset,
        lead=f"{tables.rows_line(analysis)}; {tables.EXPLAINED[run.about.kind]}",
        facts=tuple(_facts(stored, analysis)),
        tables=tuple(_main_tables(analysis)),
        bars=plots.by_part(run, analysis),
        part_tables=tuple(_part_tables(analysis)),
        scatters=tuple(plots.scatters(run, analysis)),
        curves=tuple(plots.severity_curves(analysis)),
        cost=plots.cost(run, analysis),
        cases=tuple(found),
        no_pictures=reason,
        details=tuple(_details(stored, run, analysis)),
        notes=tuple(tables.notes(analysis)),
        headline=tuple(plots.headline(analysis)),
    )


def page(sections: Sequence[Section]) -> str:
    """Write the page as HTML: what came from files is escaped, characters that cannot be seen are spelled out."""
    style, script = look.style("pim.eval", "report.css"), look.script("pim.eval", "report.js")
    return (
        look.environment("pim.eval")
        .get_template("report.html")
        .render(
            sections=sections,
            overview=_overview(sections) if len(sections) > 1 else None,
            style=style,
            script=script,
            policy=look.policy(style, script, img="data:"),
            version=VERSION,
        )
    )


def _facts(stored: StoredRun, analysis: Analysis) -> Iterator[tuple[str, str]]:
    """The lines at the head of a run."""
    yield "Data set", analysis.about.dataset
    yield "Rows", tables.rows_line(analysis)
    yield "Metrics", ", ".join(f"{m['name']} ({tables.weights_line(m)})" for m in analysis.metrics)
    yield "Run of", _moment(stored.created)
    known = [f"{name} {stored.versions[name]}" for name in ("pim", "torch") if name in stored.versions]
    yield "Versions", ", ".join(known)
    yield "Intervals", tables.interval_line(analysis)
    if analysis.about.partial:
        yield "Partial", ", ".join(name or "the whole set" for name in analysis.about.partial)
    chosen = stored.request.get("selection", {})
    filters = [f"{name}: {', '.join(map(str, kept))}" for name, kept in chosen.items() if kept]
    if filters:
        yield "Only", "; ".join(filters)


def _metric_lines(run: Finished) -> Iterator[tuple[str, ...]]:
    """One line for every metric: what it is and what it was computed with."""
    for metric in run.values:
        about: Mapping[str, Any] = metric.description
        yield (
            metric.name,
            "lower" if metric.lower_is_better else "higher",
            str(about.get("weights_hash") or "none"),
            ", ".join(about.get("trained_on", ())) or "no rated data set that is known",
            str(about.get("device", "")),
            str(about.get("summary", "")),
        )


def _moment(created: str) -> str:
    """A time as people write it; as it is if it is none."""
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return created


def _main_tables(analysis: Analysis) -> list[Table]:
    figures, kind = analysis.figures, analysis.about.kind
    found = []
    if not figures:
        return [Table("No figures", ("there is no row that every metric has a value for",), ())]
    interval = tables.interval_line(analysis)
    statistic = plots.PART_STATISTIC[kind]
    chosen = [f for f in figures if f.statistic == statistic]
    found.append(_table(f"{statistic}", tables.pivot("part", chosen, lambda f: f.part), interval))
    if kind == "opinion":
        pooled = [f for f in figures if f.part == "all"]
        foot = "fitted: after a logistic curve through all these rows"
        found.append(_table("All rows", tables.pivot("statistic", pooled, lambda f: f.statistic), foot))
    if analysis.comparisons:
        lines = tables.comparison_lines(analysis.comparisons)
        foot = tables.comparison_foot(analysis.comparisons, analysis.options.intervals.draws)
        found.append(_table("Metrics compared in pairs", lines, foot))
    others = [
        (row["metric"], row["part"], row["statistic"], f"{row['value']:g}", row["source"])
        for row in tables.published(analysis.about.dataset)
    ]
    if others:
        heading = ("metric", "part", "statistic", "value as printed", "source")
        foot = "published by others, not computed here; often other rows, other versions, other signs"
        found.append(Table("Published values", heading, tuple(others), foot, published=True, words=True))
    return found


def _part_tables(analysis: Analysis) -> list[Table]:
    """The statistics that the first tab does not have."""
    figures = analysis.figures
    if analysis.about.kind == "opinion":
        chosen = ["KRCC", "PLCC"]
    elif analysis.about.kind == "severity":
        chosen = ["adjacent"]
    else:
        return []
    made = []
    for statistic in chosen:
        rows = [f for f in figures if f.statistic == statistic]
        if rows:
            made.append(_table(statistic, tables.pivot("part", rows, lambda f: f.part), ""))
    means = [f for f in figures if f.statistic.startswith("mean ")]
    if means:
        lines = tables.pivot("corruption", means, lambda f: f"{f.part} {f.statistic.removeprefix('mean ')}")
        made.append(_table("Mean distance", lines, "\n".join(tables.cell_lines(analysis))))
    return made


def _details(stored: StoredRun, run: Finished, analysis: Analysis) -> list[Table]:
    metrics = Table(
        "Metrics",
        ("metric", "better", "weights", "trained on", "computed on", "what it is"),
        tuple(_metric_lines(run)),
        words=True,
    )
    opened = tuple((how, str(count)) for how, count in analysis.pictures.items())
    made = [metrics, Table("Versions", ("what", "version"), tuple(stored.versions.items()), words=True)]
    if opened:
        made.append(Table("How files were opened", ("how", "files"), opened, words=True))
    return made


def _overview(sections: Sequence[Section]) -> Table:
    """The headline of every run."""
    metrics = list(dict.fromkeys(f.metric for s in sections for f in s.headline))
    lines = []
    for s in sections:
        cells: Mapping[str, str] = {f.metric: tables.cell(f) for f in s.headline}
        what = f"{s.headline[0].statistic}, {s.headline[0].part}" if s.headline else "n/a"
        rows = str(s.headline[0].n) if s.headline else ""
        lines.append((s.name, s.dataset, what, rows, *(cells.get(m, "") for m in metrics)))
    return Table("All runs", ("run", "data set", "statistic", "n", *metrics), tuple(lines))


def _table(title: str, lines: Sequence[Line], foot: str) -> Table:
    heading, *body = lines
    return Table(title, tuple(heading), tuple(tuple(line) for line in body), foot)
