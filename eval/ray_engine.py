"""A plan shared out to the actors of a Ray cluster (see `pim.scoring.cluster`).

This process alone writes the table of the run, as answers come: a run that was killed goes on where it was, and ends
in the table that a single process makes, because a plan is divided between waves and never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pim.core.metric import Metric
from pim.eval.scoring import InThisProcess, Job, Scored, Wave
from pim.scoring.cluster import Actor, Cluster
from pim.scoring.pictures import Reading

PIECE_WAVES = 16  # full waves that an actor gets at once; what is under way when a run is killed is lost
PIECES_PER_ACTOR = 4  # at least, so that all have work to the end


@dataclass
class OnRay(Cluster):
    """Computes in the actors of a cluster, or in processes of this machine."""

    workers: int = 1  # threads of each actor that open pictures ahead

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Everything that the job asks for, in the order in which actors answer.

        Raises:
            UsageError: if a metric cannot be used at all, or the cluster has no GPU to compute on.
            PimError: if an actor would compute something else than this process, or Ray gives up.
        """
        if not job.waves:
            return
        questions = pieces(job, self.size(job.device))
        reading = Reading(job.opening, workers=self.workers)
        for answer in self.ask(questions, JobActor, metrics, job.device, reading):
            yield from answer


class JobActor(Actor):
    """Does its part of a job as a single process would."""

    def answer(self, question: Job) -> tuple[Scored, ...]:
        """Compute everything that the job asks for."""
        return tuple(InThisProcess(self.reading.workers).perform(question, self.metrics))


def pieces(job: Job, actors: int) -> Iterator[Job]:
    """Divide a job of one wave or more, in its order, into parts of whole waves for so many actors."""
    full = PIECE_WAVES * max(map(len, job.waves))
    size = min(full, sum(map(len, job.waves)) // (PIECES_PER_ACTOR * actors))
    waiting: list[Wave] = []
    count = 0
    for wave in job.waves:
        waiting.append(wave)
        count += len(wave)
        if count >= size:
            yield _part(job, waiting)
            waiting, count = [], 0
    if waiting:
        yield _part(job, waiting)


def _part(job: Job, waves: Sequence[Wave]) -> Job:
    places = frozenset(place for wave in waves for place in wave)
    return replace(
        job,
        waves=tuple(waves),
        pairs={place: job.pairs[place] for place in places},
        wanted=tuple(wanted & places for wanted in job.wanted),
        recurring=job.recurring.intersection(picture for place in places for picture in job.pairs[place].both()),
    )
