"""From a plan to numbers, in a folder that keeps everything: values, request, summary.

run.json        what was asked, with versions and hashes
scores.sqlite   every value, see `pim.eval.store`
summary.json    every number of the last analysis, for `pim report`
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pim.core.files import write_text
from pim.core.metric import Metric
from pim.errors import DataError
from pim.eval import tables
from pim.eval.analysis import Analysis, AnalysisOptions, MetricValues, analyse
from pim.eval.judgements import About, Judgement, Plan
from pim.eval.rated import from_json
from pim.eval.run import RunOptions, Watch, score
from pim.eval.scoring import Engine
from pim.eval.store import Store, StoredRun, reading, writing
from pim.scoring.fingerprint import describe, digest, versions

REQUEST, SUMMARY = "run.json", "summary.json"


@dataclass(frozen=True)
class Finished:
    """What was asked for last in a run folder, and every value."""

    about: About
    judgements: tuple[Judgement, ...]  # their pairs are numbers (pair_id) of the table
    values: tuple[MetricValues, ...]


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    run: Finished
    analysis: Analysis
    failures: tuple[str, ...]  # a line for everything that has no value


def evaluate(
    folder: Path,
    plan: Plan,
    metrics: Sequence[Metric],
    request: Mapping[str, Any],
    run_options: RunOptions,
    analysis_options: AnalysisOptions,
    watch: Watch,
    engine: Engine | None = None,
) -> Outcome:
    """Score what is missing, analyse everything, write the summary.

    The folder of the run is made if it is not there, and continued if it is. What the user asked for, `request`, is
    noted in it; the other arguments are as in `pim.eval.run.score`.

    Raises:
        UsageError: if another process is at work in the folder, or a metric cannot be used at all.
        PimError: if the folder cannot be written; what was committed stays.
    """
    with writing(folder) as store:
        ids = store.add_pairs([(pair.key, pair.stamp(run_options.verify)) for pair in plan.pairs])
        described = [describe(metric, run_options.device, run_options.opening) for metric in metrics]
        asked = {
            **request,
            "about": asdict(plan.about),
            "metrics": [digest(description) for description in described],
        }
        rows = [asdict(replace(j, pairs=tuple(ids[place] for place in j.pairs))) for j in plan.judgements]
        run = StoredRun(0, asked, datetime.now(UTC).isoformat(), versions())
        store.add_run(digest({"asked": asked, "rows": rows}), run, rows)
        noted = {"created": run.created, "versions": run.versions, "request": asked, "metrics": described}
        write_text(folder / REQUEST, _json(noted))
        failures = score(store, plan.pairs, ids, metrics, run_options, watch, engine)
        outcome = _outcome(store, analysis_options, failures)
    write_text(folder / SUMMARY, _json(tables.document(outcome.analysis)))
    return outcome


def analyse_again(folder: Path, options: AnalysisOptions) -> Outcome:
    """The numbers of the last request in a folder, from its table alone.

    Raises:
        DataError: if the folder holds no run, or the run is not finished.
    """
    with reading(folder) as store:
        return _outcome(store, options, ())


def finished(store: Store) -> Finished:
    """The last request of a run folder with all its values.

    Raises:
        DataError: if the folder holds no run, or the run is not finished.
    """
    runs = store.runs()
    if not runs:
        raise DataError(f"{store.folder} holds no run yet")
    request = runs[-1].request
    judgements = [from_json(Judgement, row) for row in store.records(runs[-1].run)]
    known = {metric.fingerprint: metric for metric in store.metrics()}
    values = []
    try:
        for metric in (known[fingerprint] for fingerprint in request["metrics"]):
            scores = store.scores(metric.metric)
            found = tuple(tuple(scores[pair].value for pair in judgement.pairs) for judgement in judgements)
            values.append(MetricValues(metric.description, found))
    except KeyError as error:
        message = f"the run in {store.folder} is not finished; the command that began it continues it"
        raise DataError(message) from error
    return Finished(from_json(About, request["about"]), tuple(judgements), tuple(values))


def _outcome(store: Store, options: AnalysisOptions, failures: tuple[str, ...]) -> Outcome:
    run = finished(store)
    analysis = analyse(run.about, run.judgements, run.values, options)
    pictures = Counter(store.pictures().values())
    notes = (*analysis.notes, *_identical_notes(run.judgements, run.values, store.identical()))
    return Outcome(run, replace(analysis, notes=notes, pictures=dict(pictures.most_common())), failures)


def _identical_notes(judgements: Sequence[Judgement], values: Sequence[MetricValues], identical: set[int]) -> list[str]:
    """What to say of pairs whose two images are equal: how many, and who does not give them its best value."""
    places = [(row, side) for row, j in enumerate(judgements) for side, pair in enumerate(j.pairs) if pair in identical]
    if not places:
        return []
    notes = [f"pairs whose images are equal in every pixel, scored like the others: {len(places)}"]
    for metric in values:
        best = float(metric.description["value_range"][0 if metric.lower_is_better else 1])
        found = {metric.values[row][side] for row, side in places} - {None, best}
        if found:
            notes.append(f"{metric.name} gives equal images {min(v for v in found if v is not None):g}, not {best:g}")
    return notes


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False, default=str) + "\n"
