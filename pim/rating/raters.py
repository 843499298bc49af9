"""One line about each rater, and who should be looked at; leaving somebody out is for people to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pim.rating.agreement import Share, at_least, at_most, two_sided
from pim.rating.export import votes
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
    left: Share  # answers that chose what was on the left
    seconds: float | None  # median of main answers
    looks: float | None  # mean number of times that the reference was held over the candidates
    partial: int  # answers for which the pictures did not fit the window, or the page was zoomed
    withdrawn: int  # answers taken back
    reasons: tuple[str, ...] = ()  # why somebody should look at this rater


def describe(content: Content, excluded: Sequence[str]) -> tuple[Rater, ...]:
    """A line for every rater, in the order in which they came.

    Args:
        content: The study.
        excluded: Names, as the raters are called, of those who do not count as others.
    """
    answers: dict[str, list[Answered]] = {name: [] for name in content.raters}
    for answer in content.answers:
        answers[answer.rater].append(answer)
    counts = {name: votes(content, own) for name, own in answers.items()}
    kept = [name for name in answers if name not in excluded]
    zero = np.zeros((len(content.triplets), 2), dtype=np.int64)
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
        catch=Share(sum(not answer.second for answer in catch), len(catch)),
        repeats=_repeats(own),
        others=_with_majority(main, others),
        left=Share(sum(not answer.right for answer in own), len(own)),
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
    sided = [
        answer.second == bool(others[answer.triplet, 1] > others[answer.triplet, 0])
        for answer in main
        if answer.triplet is not None and others[answer.triplet, 0] != others[answer.triplet, 1]
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
