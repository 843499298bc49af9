"""The rows on which metrics disagree most, with their pictures where these are still what was scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pim.core.metric import Metric
from pim.errors import DataError, PimError
from pim.eval.disagreement import Disagreement, Ranks, disagreements, ranks
from pim.eval.judgements import Plan
from pim.eval.report_pictures import View, view
from pim.eval.session import Finished
from pim.eval.store import reading
from pim.images.opener import OpenOptions

MOST = 24  # cases of a run in a page
LABELS = {
    "two_afc": (("reference", "first"), ("reference", "second")),
    "quadruple": (("p0", "p1"), ("q0", "q1")),
    "severity": (("clean", "corrupted"),),
}
ORDINARY = (("reference", "distorted"),)
JUDGED = {
    "opinion": "opinion {:g}",
    "two_afc": "{:.0%} of people find the second closer",
    "quadruple": "{:.0%} of people say that q differs more",
    "jnd": "{:.0%} of people see no difference",
}


@dataclass(frozen=True)
class Said:
    """What one judge says of a case."""

    judge: str
    value: str
    share: str  # how its rank compares


@dataclass(frozen=True)
class Case:
    """A row on which two judges disagree."""

    title: str
    about: str
    said: tuple[Said, ...]
    views: tuple[View, ...]
    missing: str  # why there are no views


@dataclass(frozen=True)
class Gallery:
    """Where the pictures of a run come from, and what draws maps."""

    plan: Callable[[], Plan]  # reads the data set again
    metrics: Callable[[], Sequence[Metric]]  # those of the run that have maps
    count: int  # cases at most


def cases(folder: Path, run: Finished, gallery: Gallery) -> tuple[list[Case], str]:
    """The strongest disagreements of a run.

    Returns:
        The cases, and why none of them has pictures; empty if some have.
    """
    ranked = ranks(run)
    chosen = disagreements(run, ranked, min(gallery.count, MOST))
    if not chosen:
        return [], "there is nothing to disagree on"
    try:
        plan = gallery.plan()
    except PimError as error:
        return [_case(run, ranked, found, (), "") for found in chosen], str(error)
    metrics = gallery.metrics()
    made = []
    for found in chosen:
        try:
            made.append(_case(run, ranked, found, _views(folder, run, found.row, plan, metrics), ""))
        except PimError as error:
            made.append(_case(run, ranked, found, (), str(error)))
    return made, "" if any(case.views for case in made) else made[0].missing


def _case(run: Finished, ranked: Ranks, found: Disagreement, views: tuple[View, ...], missing: str) -> Case:
    judgement = run.judgements[found.row]
    level = None if judgement.level is None else f"level {judgement.level}"
    about = ", ".join(text for text in (judgement.distortion, level, *judgement.subsets) if text)
    shares = ranked.of(found.row)
    said = []
    for judge, share in shares.items():
        metric = next((m for m in run.values if m.name == judge), None)
        if metric is not None:
            value = " and ".join(f"{v:.5g}" for v in metric.values[found.row] if v is not None)
        elif judgement.value is not None:
            value = JUDGED[run.about.kind].format(judgement.value)
        else:
            value = str(judgement.level)
        said.append(Said(judge, value, f"{share:.0%}"))
    title = f"{found.first} and {found.second}: {abs(found.gap):.0%} of all rows apart"
    return Case(title, f"{judgement.key}" + (f" ({about})" if about else ""), tuple(said), views, missing)


def _views(folder: Path, run: Finished, row: int, plan: Plan, metrics: Sequence[Metric]) -> tuple[View, ...]:
    judgement = run.judgements[row]
    places = {j.key: j.pairs for j in plan.judgements}.get(judgement.key)
    if places is None or len(places) != len(judgement.pairs):
        raise DataError(f"the data set has no row {judgement.key} any more")
    with reading(folder) as store:
        stamps = store.stamps(judgement.pairs)
    opening = OpenOptions(**run.values[0].description["opening"])
    labels = LABELS.get(run.about.kind, ORDINARY)
    found = []
    for place, number, names in zip(places, judgement.pairs, labels, strict=True):
        pair = plan.pairs[place]
        if stamps[number] not in (pair.stamp(False), pair.stamp(True)):
            raise DataError(f"{pair.distorted.name} or its reference has changed since it was scored, or is gone")
        found.append(view(pair, names, metrics, opening))
    return tuple(found)
