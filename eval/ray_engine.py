"""A plan shared out to the actors of a Ray cluster, by Ray Data (optional package `ray`).

Names of pictures go out and values come back; pixels stay in the actor that opened them. This process
alone writes the table of the run, as answers come: a run that was killed goes on where it was, and ends
in the table that a single process makes, because a plan is divided between waves and never inside one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from pim.core.metric import Metric
from pim.errors import PimError, UsageError
from pim.eval.fingerprint import describe
from pim.eval.scoring import InThisProcess, Job, Scored, Wave

Answer = tuple[Scored, ...] | PimError  # of an actor to a piece; an error: why it can compute nothing at all
PIECE_WAVES = 16  # full waves that an actor gets at once; what is under way when a run is killed is lost
PIECES_PER_ACTOR = 4  # at least, so that all have work to the end
SHARD_PIECES = 2000  # planned at once, or 100 for each actor: what Ray holds besides the plan of this process


def require_ray() -> ModuleType:
    """The package ray, with its part for data.

    Raises:
        UsageError: if it cannot be imported.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UsageError(f"--engine ray needs another package ({error}): pip install 'pim-metric[ray]'") from error
    module: ModuleType = ray
    return module


@dataclass
class OnRay:
    """Computes in the actors of a cluster, or in processes of this machine; a context that ends what it began.

    Ray finds a cluster by the environment variable RAY_ADDRESS, or where `ray job submit` runs this.

    Raises:
        UsageError: if ray is not installed.
    """

    actors: int | None = None  # None: one for every CPU of the cluster, or for every GPU if those compute
    workers: int = 1  # threads of each actor that open pictures ahead
    _ray: ModuleType = field(default_factory=require_ray, init=False, repr=False)
    _began: bool = field(default=False, init=False, repr=False)

    def __enter__(self) -> OnRay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._began:
            self._ray.shutdown()

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Everything that the job asks for, in the order in which actors answer.

        Raises:
            UsageError: if a metric cannot be used at all, or the cluster has no GPU to compute on.
            PimError: if an actor would compute something else than this process, or Ray gives up.
        """
        if not job.waves:
            return
        self._connect()
        actors = self._actors(job.device)
        expected = [describe(metric, job.device, job.opening) for metric in metrics]
        constructor = {"metrics": tuple(metrics), "expected": expected, "workers": self.workers}
        left = pieces(job, actors)
        while shard := tuple(islice(left, max(SHARD_PIECES, 100 * actors))):
            for answer in self._answers(shard, constructor, actors, job.device):
                if isinstance(answer, PimError):
                    raise answer
                yield from answer

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent home
        here = os.environ.get("RAY_ADDRESS", "local") == "local"
        try:
            with _muted() if here else nullcontext():
                self._ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise PimError(f"cannot start or reach Ray: {' '.join(str(error).split())}") from error
        self._began = True

    def _actors(self, device: str) -> int:
        kind = _resource(device)
        there = int(self._ray.cluster_resources().get(kind, 0))
        if self.actors is None and there == 0:
            raise UsageError(f"the Ray cluster has no {kind} yet; say how many --actors it will get, or --device cpu")
        return self.actors or there

    def _answers(
        self, shard: Sequence[Job], constructor: Mapping[str, Any], actors: int, device: str
    ) -> Iterator[Answer]:
        data = self._ray.data
        data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # warns that jobs are no numbers
        questions = data.from_items([{"job": job} for job in shard], override_num_blocks=len(shard))
        answers = questions.map_batches(
            Actor,
            fn_constructor_kwargs=constructor,
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=min(actors, len(shard))),
            num_cpus=1,
            num_gpus=int(_resource(device) == "GPU"),
        )
        try:
            for batch in answers.iter_batches(batch_size=None, batch_format="numpy"):
                yield from batch["answer"]
        except self._ray.exceptions.RayError as error:
            reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise PimError(f"Ray gave up: {reason}. What was computed is kept; the same command continues") from error


@contextmanager
def _muted() -> Iterator[None]:
    """Without what Ray prints to stderr when it starts on this machine."""
    # At other levels it calls its own way to start actors an error; and it tells that the level was set.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _resource(device: str) -> str:
    """What an actor that computes on this device takes of the cluster."""
    return "GPU" if device.startswith("cuda") else "CPU"


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


class Actor:
    """A process with metrics of its own."""

    def __init__(self, metrics: Sequence[Metric], expected: Sequence[Mapping[str, Any]], workers: int) -> None:
        self._metrics, self._expected = metrics, expected
        self._engine = InThisProcess(workers)
        self._ready = False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One answer for the one job of a batch."""
        answers = np.empty(1, dtype=object)
        answers[0] = self._answer(batch["job"][0])
        return {"answer": answers}

    def _answer(self, job: Job) -> Answer:
        try:
            if not self._ready:
                self._prepare(job)
            return tuple(self._engine.perform(job, self._metrics))
        except PimError as error:
            return error

    def _prepare(self, job: Job) -> None:
        """Move the metrics to the device, and hold what is installed here against what the run is noted under.

        Raises:
            PimError: naming what differs.
        """
        self._metrics = [metric.to(job.device) for metric in self._metrics]
        for metric, expected in zip(self._metrics, self._expected, strict=True):
            here = describe(metric, job.device, job.opening)
            if differing := [name for name, value in expected.items() if here.get(name) != value]:
                raise PimError(
                    f"an actor on {os.uname().nodename} would compute {metric.name} with another "
                    f"{', '.join(differing)} than this process; install the same versions on all machines"
                )
        self._ready = True
