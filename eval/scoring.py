"""In which batches a plan is computed, and by whom: this process, or others that each take a part of it.

Engines give the same values, since a plan is divided between batches and never inside one.

References are taken in blocks, and the j-th distorted images of all references of a block make one
wave. A reference is opened and analysed once however many distorted images it has, and batches are
full even where it has only two. Pictures so large that each makes a batch keep the order of the
data set, where neighbours tend to be of one scene. The order depends on the pairs alone, not on what is
already done: a run that was killed computes the rest in the batches of an undisturbed run, to the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from pim.core.metric import Metric
from pim.eval.judgements import PlannedPair
from pim.images.opener import OpenOptions
from pim.scoring.engine import Score, Scorer
from pim.scoring.pictures import Batch, Picture, Reading, opened

Wave = tuple[int, ...]  # pairs to compute together, by their place in the plan; each has another reference
Places = Mapping[int, PlannedPair] | Sequence[PlannedPair]  # pairs by their place in the plan, all or some


@dataclass(frozen=True)
class Placed:
    """A pair and its place in the plan."""

    place: int
    pair: PlannedPair

    def both(self) -> tuple[Picture, Picture]:
        """Reference and distorted picture."""
        return self.pair.both()


Scored = dict[int, Score[Placed]]  # by place in the plan


@dataclass(frozen=True)
class Job:
    """Pairs to compute; all that a process has to know besides the metrics."""

    waves: tuple[Wave, ...]
    pairs: Places
    wanted: tuple[frozenset[int], ...]  # places to compute, for each metric
    recurring: frozenset[Picture]  # those in several pairs of the whole plan: analysed once
    opening: OpenOptions
    device: str

    def places(self) -> set[int]:
        """The places that any metric is asked for."""
        return set[int]().union(*self.wanted)


class Engine(Protocol):
    """Who computes."""

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Compute everything that the job asks for, piece by piece and in any order.

        Raises:
            UsageError: if a metric cannot be used at all.
            PimError: if the engine cannot go on.
        """


@dataclass(frozen=True)
class InThisProcess:
    """Computes here, while threads open the next pictures."""

    workers: int  # threads

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Compute everything that the job asks for, wave by wave.

        Raises:
            UsageError: if a metric cannot be used at all.
        """
        scorer = Scorer(metrics, job.device)
        batches = (Batch(tuple(Placed(i, job.pairs[i]) for i in wave), job.recurring) for wave in job.waves)
        with closing(opened(batches, Reading(job.opening, workers=self.workers))) as stream:
            for batch in stream:
                scores = scorer.scores(batch, lambda number, pair: pair.place in job.wanted[number])
                yield {score.pair.place: score for score in scores}


def waves(references: Sequence[str], batch_size: int) -> list[Wave]:
    """Group all pairs, given by the names of their references, into waves of at most so many pairs.

    References with equally many pairs share blocks, so that waves are full.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, reference in enumerate(references):
        members[reference].append(place)
    by_count: dict[int, list[str]] = defaultdict(list)
    for reference in sorted(members) if batch_size > 1 else members:
        by_count[len(members[reference]) if batch_size > 1 else 0].append(reference)
    found: list[Wave] = []
    for count in sorted(by_count):
        names = by_count[count]
        for start in range(0, len(names), batch_size):
            rows = [members[name] for name in names[start : start + batch_size]]
            found += list(zip(*rows, strict=True))
    return found
