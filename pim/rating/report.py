"""What a study has found so far: its raters, their agreement, and scores of the candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.rating.agreement import FEWEST_GROUPS, Share, alpha_interval, krippendorff_alpha, person_agreement
from pim.rating.bradley_terry import connected, fit
from pim.rating.choosing import wins_of
from pim.rating.export import excluded_names, votes, without
from pim.rating.raters import Rater, describe, total
from pim.rating.store import Content

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """How close one candidate is to its reference, among the candidates of that reference."""

    reference: str
    candidate: str
    score: float  # log-odds, relative to the mean of the candidates; higher is closer
    low: float
    high: float
    n: int  # answers about it


@dataclass(frozen=True)
class Report:
    """A study in numbers; excluded raters are in the list of raters and nowhere else."""

    raters: tuple[Rater, ...]
    excluded: tuple[str, ...]
    answers: int  # main answers that count
    triplets: int
    judged: int  # triplets with an answer
    shared: int  # triplets with two answers or more
    alpha: float | None  # Krippendorff's
    alpha_interval: tuple[float, float] | None
    person: float | None  # how often two raters agree
    repeats: Share  # of all raters together
    catch: Share
    scores: tuple[CandidateScore, ...]
    notes: tuple[str, ...]


def report(content: Content, exclude: Sequence[str] = ()) -> Report:
    """Describe a study.

    Args:
        content: The study.
        exclude: Names of raters to leave out.

    Raises:
        UsageError: if a name is no rater's.
    """
    excluded = excluded_names(content, exclude)
    counts = votes(content, without(content, excluded))
    raters = describe(content, excluded)
    kept = [rater for rater in raters if not rater.excluded]
    asked = counts.sum(axis=1)
    interval = alpha_interval(counts, [triplet.group for triplet in content.triplets])
    scores, loose = _scores(content, counts)
    return Report(
        raters=raters,
        excluded=excluded,
        answers=int(counts.sum()),
        triplets=len(counts),
        judged=int((asked > 0).sum()),
        shared=int((asked > 1).sum()),
        alpha=krippendorff_alpha(counts),
        alpha_interval=interval,
        person=person_agreement(counts),
        repeats=total(rater.repeats for rater in kept),
        catch=total(rater.catch for rater in kept),
        scores=tuple(scores),
        notes=tuple(_notes(content, len(kept), interval is None, loose)),
    )


def _scores(content: Content, counts: Counts) -> tuple[list[CandidateScore], list[str]]:
    """Scores by reference, best first, and the references whose candidates were not all compared."""
    scores, loose = [], []
    for reference in sorted({triplet.reference for triplet in content.triplets}):
        places = [i for i, t in enumerate(content.triplets) if t.reference == reference and counts[i].any()]
        if not places:
            continue
        pairs = [(content.triplets[i].a, content.triplets[i].b) for i in places]
        names = sorted({name for pair in pairs for name in pair})
        first, second = (np.array([names.index(pair[side]) for pair in pairs], dtype=np.intp) for side in (0, 1))
        wins = wins_of(first, second, counts[places, 0], counts[places, 1], len(names))
        if not connected(wins):
            loose.append(reference)
        fitted, asked = fit(wins), (wins + wins.T).sum(axis=1)
        low, high = fitted.intervals()
        for i in np.argsort(-fitted.mean, kind="stable"):
            line = (float(fitted.mean[i]), float(low[i]), float(high[i]), int(asked[i]))
            scores.append(CandidateScore(reference, names[i], *line))
    return scores, loose


def _notes(content: Content, raters: int, no_interval: bool, loose: Sequence[str]) -> Iterator[str]:
    groups = len({triplet.group for triplet in content.triplets})
    if no_interval and groups < FEWEST_GROUPS:
        yield f"no interval of alpha: {groups} groups of triplets, at least {FEWEST_GROUPS} are needed"
    if content.settings.get("choose") == "active":
        yield (
            "triplets were chosen where answers were least certain, so raters agree less here than on all pairs, "
            "and the best possible 2AFC is lower"
        )
    if loose:
        named = ", ".join(loose[:3]) + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")
        yield f"candidates that no chain of answers joins are only loosely placed to each other ({len(loose)}): {named}"
    if raters:
        yield f"intervals of scores take all answers as independent; {raters} raters gave them"
