"""What a study has found so far: a line for each rater, their agreement, and scores of the candidates.

Who should be looked at is said; leaving somebody out is for people to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pim.rating.agreement import (
    FEWEST_GROUPS,
    Share,
    alpha_interval,
    at_least,
    at_most,
    krippendorff_alpha,
    person_agreement,
    two_sided,
)
from pim.rating.bradley_terry import connected, fit
from pim.rating.choosing import wins_of
from pim.rating.export import column, excluded_names, votes, wins, without
from pim.rating.ranking import Preference, ranking
from pim.rating.store import Answered, Content

Counts = NDArray[np.int64]

SLIP = 0.05  # share of catch trials that an attentive rater may get wrong
TOO_MANY_SLIPS = 0.05  # probability below which wrong catch trials are no slips any more
ODD = 0.01  # probability below which something is worth a look
FAST = 0.5  # seconds; a median below is hardly a look at three pictures
OFTEN_PARTIAL = 0.1  # share of answers about pictures that did not fit the window


@dataclass(frozen=True, slots=True)
class Rater:
    """What one rater did."""

    name: str
    excluded: bool
    done: int  # trials of every kind
    total: int  # that this rater is asked
    judged: int  # main trials
    catch: Share  # catch trials that were passed
    repeats: Share  # repeated questions that were answered as before
    others: Share  # main answers that were those of the majority of the others, where they have one
    left: Share  # answers that chose what was on the left, of those that chose
    ties: int  # answers that saw no difference
    seconds: float | None  # median of main answers
    looks: float | None  # mean number of times that the reference was held over the candidates
    partial: int  # answers for which the pictures did not fit the window, or the page was zoomed
    withdrawn: int  # answers taken back
    reasons: tuple[str, ...] = ()  # why somebody should look at this rater


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
    ties: int  # of these: no difference
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
    ranking: tuple[Preference, ...]  # of folders of candidates, best first

    @property
    def finished(self) -> int:
        """How many raters have answered all that they are asked."""
        return sum(rater.done >= rater.total for rater in self.raters if not rater.excluded)


def report(content: Content, exclude: Sequence[str] = ()) -> Report:
    """Describe a study without the raters of some names.

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
        ties=int(counts[:, 2].sum()),
        triplets=len(counts),
        judged=int((asked > 0).sum()),
        shared=int((asked > 1).sum()),
        alpha=krippendorff_alpha(counts),
        alpha_interval=interval,
        person=person_agreement(counts),
        repeats=total(rater.repeats for rater in kept),
        catch=total(rater.catch for rater in kept),
        scores=tuple(scores),
        notes=tuple(_notes(content, len(kept), int(counts[:, 2].sum()), interval is None, loose)),
        ranking=ranking(content.triplets, counts),
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
        chosen = wins(counts[places])
        table = wins_of(first, second, chosen[:, 0], chosen[:, 1], len(names))
        if not connected(table):
            loose.append(reference)
        fitted, asked = fit(table), (table + table.T).sum(axis=1)
        low, high = fitted.intervals()
        for i in np.argsort(-fitted.mean, kind="stable"):
            line = (float(fitted.mean[i]), float(low[i]), float(high[i]), int(asked[i]))
            scores.append(CandidateScore(reference, names[i], *line))
    return scores, loose


def _notes(content: Content, raters: int, ties: int, no_interval: bool, loose: Sequence[str]) -> Iterator[str]:
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
    if ties:
        yield f"{ties} answers saw no difference; each is half an answer for both candidates"
    if raters:
        yield f"intervals of scores take all answers as independent; {raters} raters gave them"


def describe(content: Content, excluded: Sequence[str]) -> tuple[Rater, ...]:
    """Write a line for every rater, in the order in which they came; those that are excluded do not count as others."""
    answers: dict[str, list[Answered]] = {name: [] for name in content.raters}
    for answer in content.answers:
        answers[answer.rater].append(answer)
    counts = {name: votes(content, own) for name, own in answers.items()}
    kept = [name for name in answers if name not in excluded]
    zero = np.zeros((len(content.triplets), 3), dtype=np.int64)
    lines = [
        _line(content, name, own, sum((counts[other] for other in kept if other != name), zero))
        for name, own in answers.items()
    ]
    lines = [replace(line, excluded=line.name in excluded) for line in lines]
    return tuple(
        replace(line, reasons=tuple(_reasons(line, [o for o in lines if o.name != line.name and not o.excluded])))
        for line in lines
    )


def _line(content: Content, name: str, own: Sequence[Answered], others: Counts) -> Rater:
    main = [answer for answer in own if answer.kind == "main"]
    catch = [answer for answer in own if answer.kind == "catch"]
    return Rater(
        name=name,
        excluded=False,
        done=len(own),
        total=content.raters[name],
        judged=len(main),
        catch=Share(sum(answer.second is False for answer in catch), len(catch)),
        repeats=_repeats(own),
        others=_with_majority(main, others),
        left=Share(sum(answer.right is False for answer in own), sum(answer.right is not None for answer in own)),
        ties=sum(answer.right is None for answer in own),
        seconds=median(answer.milliseconds for answer in main) / 1000 if main else None,
        looks=sum(answer.looks for answer in own) / len(own) if own else None,
        partial=sum(_is_partial(answer) for answer in own),
        withdrawn=content.withdrawn.get(name, 0),
    )


def _repeats(own: Sequence[Answered]) -> Share:
    first = {answer.triplet: answer.second for answer in own if answer.kind == "main"}
    again = [answer for answer in own if answer.kind == "repeat" and answer.triplet in first]
    return Share(sum(first[answer.triplet] == answer.second for answer in again), len(again))


def _with_majority(main: Sequence[Answered], others: Counts) -> Share:
    first, most = np.argmax(others, axis=1), others.max(axis=1, keepdims=True)
    has_majority = (others == most).sum(axis=1) == 1
    sided = [
        column(answer) == int(first[answer.triplet])
        for answer in main
        if answer.triplet is not None and has_majority[answer.triplet]
    ]
    return Share(sum(sided), len(sided))


def _is_partial(answer: Answered) -> bool:
    return not answer.screen.get("whole", 1) or abs(answer.screen.get("zoom", 1) - 1) > 0.01


def _reasons(line: Rater, others: Sequence[Rater]) -> Iterator[str]:
    """What is unlikely for somebody who looks and answers as the others do."""
    wrong = Share(line.catch.n - line.catch.hits, line.catch.n)
    if at_least(wrong, SLIP) < TOO_MANY_SLIPS:
        yield f"{wrong.hits} of {wrong.n} catch trials wrong"
    usual = total(other.repeats for other in others)
    if usual.n and at_most(line.repeats, _expected(usual)) < ODD:
        yield f"{line.repeats.hits} of {line.repeats.n} repeats as before, others {usual.hits} of {usual.n}"
    usual = total(other.others for other in others)
    if len(others) > 1 and usual.n and at_most(line.others, _expected(usual)) < ODD:
        yield f"{line.others.hits} of {line.others.n} answers with the majority, others {usual.hits} of {usual.n}"
    if two_sided(line.left) < ODD:
        yield f"{line.left.hits} of {line.left.n} answers for the left side"
    if line.seconds is not None and line.seconds < FAST:
        yield f"half of the answers within {line.seconds:.2f} seconds"
    if line.partial > OFTEN_PARTIAL * line.done:
        yield f"{line.partial} of {line.done} answers while pictures did not fit the window"


def _expected(usual: Share) -> float:
    """What the share of others lets expect; never certainty (Laplace's rule of succession)."""
    return (usual.hits + 1) / (usual.n + 2)


def total(shares: Iterator[Share]) -> Share:
    """Several shares as one."""
    found = list(shares)
    return Share(sum(share.hits for share in found), sum(share.n for share in found))
