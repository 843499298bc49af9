"""Who computes a plan: this process, by the engine of `pim.scoring`, or others that each take a part of it.

Engines give the same values, since a plan is divided between batches and never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from pim.core.metric import Metric
from pim.eval.judgements import PlannedPair
from pim.eval.waves import Wave
from pim.images.opener import OpenOptions
from pim.scoring.engine import Score, Scorer
from pim.scoring.pictures import Batch, Picture, Reading, opened

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
