"""An analysis as text for people, CSV for spreadsheets, and a document for programs."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from pim.eval.analysis import Analysis, MetricValues
from pim.eval.bootstrap import LEVEL, smallest_p
from pim.eval.conclusions import conclude
from pim.eval.figures import AGREED, ALL, PRECISION, Comparison, Figure
from pim.eval.judgements import About, Judgement

if TYPE_CHECKING:
    from pim.eval.flips import Flips

WIDTH = 110
SMALL_P = 0.01  # where adjusted p values cannot be as small, the reader is told

FIGURE_COLUMNS = (
    *("dataset", "section", "part", "statistic", "metric", "value", "low", "high", "level", "n", "references"),
    *("published", "source", "note"),
)

VALUE_COLUMNS = (
    *("dataset", "key", "group", "subsets", "distortion", "level", "judged", "metric", "value"),
    "second_value",  # of the second pair of a choice
)

LOSS = "NLL"  # negative log-likelihood, whose differences are small

EXPLAINED = {  # what the numbers of a kind of data set are
    "opinion": "agreement with opinion scores: 1 is perfect, 0 is none, negative is the wrong way round",
    "two_afc": "percent of people who agree with the choice of the metric",
    "quadruple": "percent of people who agree with the metric on which of two pairs differs more",
    "jnd": "average precision (percent) of finding the pairs that people call the same",
    "severity": "how metrics follow the severity of corruptions; nobody was asked, this is not agreement with people",
}


def document(analysis: Analysis) -> dict[str, Any]:
    """Everything, for JSON and for reports."""
    return {
        **analysis.as_dict(),
        "published": published(analysis.about.dataset),
        "conclusion": " ".join(conclude(analysis)),
    }


def published(dataset: str) -> list[dict[str, Any]]:
    """What others have published on a data set; nothing of it was computed here.

    Returns:
        Rows of dataset, part ("all" or a subset), metric (as the source calls it), statistic ("SRCC", "KRCC", or
        "2AFC" in percent), value (as printed: distances correlate negatively in some sources) and source.
    """
    text = resources.files("pim.eval").joinpath("published.csv").read_text(encoding="utf-8")
    rows = (row for row in csv.DictReader(text.splitlines()) if row["dataset"] == dataset)
    return [{**row, "value": float(row["value"]), "published": True} for row in rows]


def records(analysis: Analysis) -> list[dict[str, Any]]:
    """Every figure and every published value as flat rows with the same keys, for CSV."""
    dataset = analysis.about.dataset
    own = [
        {**vars(figure), "dataset": dataset, "level": LEVEL, "published": False, "source": None}
        for figure in analysis.figures
    ]
    others = [_as_record(row, analysis.about.kind) for row in published(dataset)]
    return [{column: row[column] for column in FIGURE_COLUMNS} for row in (*own, *others)]


def value_rows(
    about: About, judgements: Sequence[Judgement], values: Sequence[MetricValues]
) -> Iterator[dict[str, Any]]:
    """What every metric said about every judgement, one flat row each."""
    for metric in values:
        for judgement, pair in zip(judgements, metric.values, strict=True):
            first, second = (*pair, None)[:2]
            row = (about.dataset, judgement.key, judgement.group, "|".join(judgement.subsets), judgement.distortion)
            judged = (judgement.level, judgement.value, metric.name, first, second)
            yield dict(zip(VALUE_COLUMNS, (*row, *judged), strict=True))


def text(analysis: Analysis) -> str:
    """Tables for people."""
    about, figures = analysis.about, analysis.figures
    parts = [f"{about.dataset}: {rows_line(analysis)}; {EXPLAINED[about.kind]}\n{interval_line(analysis)}\n"]
    if not figures:
        parts.append("no figures: there is no row that every metric has a value for\n")
    elif about.kind == "opinion":
        parts.append(_pivot("SRCC", [f for f in figures if f.statistic == "SRCC"], lambda f: f.part))
        pooled = [f for f in figures if f.part == ALL]
        parts.append(_pivot("all rows", pooled, lambda f: f.statistic))
    elif about.kind == "severity":
        for statistic in ("Kendall", "adjacent"):
            parts.append(_pivot(statistic, [f for f in figures if f.statistic == statistic], lambda f: f.part))
        means = [f for f in figures if f.statistic.startswith("mean ")]
        parts.append(_pivot("mean distance", means, lambda f: f"{f.part} {f.statistic.removeprefix('mean ')}"))
        parts.append("".join(_wrapped(line) for line in cell_lines(analysis)))
    else:
        parts.append(_pivot(figures[0].statistic, figures, lambda f: f.part))
    parts += [_comparisons(analysis), _published(analysis), _notes(analysis), _wrapped(" ".join(conclude(analysis)))]
    return "\n".join(part for part in parts if part.strip())


def rows_line(analysis: Analysis) -> str:
    """How many rows the numbers are of, and of how many."""
    about = analysis.about
    rows = f"{analysis.used} rows"
    if analysis.used != analysis.rows:
        rows += f" of {analysis.rows}"
    if about.expected is not None and about.expected != analysis.used:
        rows += f" (the complete set has {about.expected})"
    return rows


def interval_line(analysis: Analysis) -> str:
    """How the intervals were made."""
    references = [f.references for f in analysis.figures if f.references is not None]
    drawn = f"{max(references)} references" if references else "rows"
    intervals = analysis.options.intervals
    method = "BCa" if intervals.bca else "percentile"
    return (
        f"[low, high]: {LEVEL:.0%} {method} bootstrap interval over {drawn}, "
        f"{intervals.draws} draws, seed {intervals.seed}"
    )


def _pivot(title: str, figures: Sequence[Figure], row_of: Callable[[Figure], str]) -> str:
    return aligned(pivot(title, figures, row_of)) if figures else ""


def pivot(title: str, figures: Sequence[Figure], row_of: Callable[[Figure], str]) -> list[list[str]]:
    """A heading and one line per part or statistic; one column per metric."""
    metrics = list(dict.fromkeys(f.metric for f in figures))
    lines: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        lines.setdefault(row_of(figure), {})[figure.metric] = figure
    body = [[title, "n", *metrics]]
    for name, cells in lines.items():
        rows = max(f.n for f in cells.values())
        body.append([name, str(rows), *(cell(cells[m]) if m in cells else "" for m in metrics)])
    return body


def flip_text(found: Sequence[Flips]) -> str:
    """Rank flips as a table for people."""
    categories = list(found[0].categories)
    body = [["rank flips", "shift", "n", "mean", *categories]]
    for f in found:
        shares = [f.mean, *(f.categories[name] for name in categories)]
        body.append([f.metric, f"{f.shift} px", str(f.n), *(f"{100 * share:.2f}" for share in shares)])
    return aligned(body) + "percent of rows where the closer candidate is another one than without the shift\n"


def cell(figure: Figure) -> str:
    """A value with its interval; "n/a" where it is undefined."""
    if figure.value is None:
        return "n/a"
    form = number_form(figure)
    if figure.low is None or figure.high is None:
        return form(figure.value)
    return f"{form(figure.value)} [{form(figure.low)}, {form(figure.high)}]"


def number_form(figure: Figure | Comparison) -> Callable[[float], str]:
    """How a statistic is written."""
    if figure.statistic in (AGREED, PRECISION, "adjacent"):
        return lambda value: f"{100 * value:.2f}"
    if figure.statistic == LOSS:
        return lambda value: f"{value:.4f}"
    if figure.statistic.startswith(("mean ", "RMSE")):
        return lambda value: f"{value:.4g}"
    return lambda value: f"{value:.3f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells as text columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        + "\n"
        for line in lines
    )


def _comparisons(analysis: Analysis) -> str:
    if not analysis.comparisons:
        return ""
    foot = comparison_foot(analysis.comparisons, analysis.options.intervals.draws)
    return aligned(comparison_lines(analysis.comparisons)) + _wrapped(foot)


def comparison_lines(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """A heading and one line per comparison."""
    body = [["first minus second", "on", "difference", "p", "p (Holm)"]]
    for c in comparisons:
        form = number_form(c)
        span = "" if c.low is None or c.high is None else f" [{form(c.low)}, {form(c.high)}]"
        p = ["n/a" if p is None else f"{p:.4f}" for p in (c.p, c.p_holm)]
        body.append([f"{c.first} - {c.second}", f"{c.statistic}, {c.part}", f"{form(c.value)}{span}", *p])
    return body


def comparison_foot(comparisons: Sequence[Comparison], draws: int) -> str:
    """What the p values are, and how small they can be with so many bootstrap draws."""
    tests = sum(c.p is not None for c in comparisons)
    told = f"two-sided, same rows and same draws; Holm over the {tests} tests of this table"
    smallest = tests * smallest_p(draws)
    if smallest > SMALL_P:
        told += f"; with {draws} draws no p (Holm) can be below {min(smallest, 1):.2f}, more --draws let it"
    return told


def cell_lines(analysis: Analysis) -> list[str]:
    """How far each two metrics rank the corruptions alike."""
    lines = []
    for c in analysis.cells:
        rho = "n/a" if c.ranks.spearman is None else f"{c.ranks.spearman:.3f}"
        far = ", ".join(f"{name} ({shift:+g})" for name, shift in c.ranks.furthest)
        lines.append(f"{c.first} and {c.second}: SRCC {rho} over {c.ranks.cells} cells; ranks differ most at {far}")
    return lines


def _published(analysis: Analysis) -> str:
    statistic = {"opinion": "SRCC", "two_afc": AGREED}.get(analysis.about.kind)
    if statistic is None:
        return ""
    found: dict[str, list[str]] = {}
    for row in sorted(published(analysis.about.dataset), key=lambda row: -abs(row["value"])):
        if (row["part"], row["statistic"]) == ("all", statistic):
            found.setdefault(row["source"], []).append(f"{row['metric']} {row['value']:g}")
    lines = [_wrapped(f"{source}: {', '.join(values)}") for source, values in found.items()]
    return "".join([f"published, not computed here ({statistic}, all, as printed):\n", *lines]) if lines else ""


def _notes(analysis: Analysis) -> str:
    weights = [f"{metric['name']}: {weights_line(metric)}" for metric in analysis.metrics]
    return "".join(_wrapped(note) for note in (*notes(analysis), *weights))


def notes(analysis: Analysis) -> list[str]:
    """What there is to know of the rows, and of figures that lack something."""
    found = [*analysis.notes]
    seen: dict[str, list[Figure]] = {}
    for figure in analysis.figures:
        if figure.note is not None:
            seen.setdefault(figure.note, []).append(figure)
    for note, figures in seen.items():
        first = figures[0]
        more = f" and {len(figures) - 1} more" if len(figures) > 1 else ""
        found.append(f"{first.metric}, {first.part}, {first.statistic}{more}: {note}")
    return found


def weights_line(description: Mapping[str, Any]) -> str:
    """Which weights a metric had."""
    digest = description.get("weights_hash")
    return f"weights {str(digest)[:12]}" if digest else "no weights"


def _wrapped(line: str) -> str:
    return textwrap.fill(line.strip(), WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"


def _as_record(row: Mapping[str, Any], section: str) -> dict[str, Any]:
    scale = 100 if row["statistic"] == AGREED else 1
    return {**dict.fromkeys(FIGURE_COLUMNS), **row, "section": section, "value": row["value"] / scale}
