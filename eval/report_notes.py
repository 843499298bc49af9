"""What a page says about a run besides its numbers: when, with what, how."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pim.eval.analysis import Analysis, AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.session import SUMMARY, Finished
from pim.eval.store import StoredRun
from pim.eval.tables import interval_line, rows_line, weights_line


def last_options(folder: Path) -> AnalysisOptions:
    """How the last analysis of a run was made; the usual way if it left no summary."""
    try:
        options = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["options"]
        intervals = IntervalOptions(**options["intervals"])
        return AnalysisOptions(intervals, fit_parameters=int(options["fit_parameters"]))
    except (OSError, ValueError, KeyError, TypeError):
        return AnalysisOptions()


def facts(stored: StoredRun, analysis: Analysis) -> Iterator[tuple[str, str]]:
    """The lines at the head of a run."""
    yield "Data set", analysis.about.dataset
    yield "Rows", rows_line(analysis)
    yield "Metrics", ", ".join(f"{m['name']} ({weights_line(m)})" for m in analysis.metrics)
    yield "Run of", _moment(stored.created)
    yield (
        "Versions",
        ", ".join(f"{name} {stored.versions[name]}" for name in ("pim", "torch") if name in stored.versions),
    )
    yield "Intervals", interval_line(analysis)
    if analysis.about.partial:
        yield "Partial", ", ".join(name or "the whole set" for name in analysis.about.partial)
    chosen = stored.request.get("selection", {})
    filters = [f"{name}: {', '.join(map(str, kept))}" for name, kept in chosen.items() if kept]
    if filters:
        yield "Only", "; ".join(filters)


def metric_lines(run: Finished) -> Iterator[tuple[str, ...]]:
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
