"""Questions shared out to the actors of a Ray cluster, by Ray Data (optional package `ray`).

Names of pictures go out and values come back; pixels stay in the actor that opened them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np

from pim.core.metric import Metric
from pim.errors import PimError, UsageError, from_extra
from pim.scoring.fingerprint import describe
from pim.scoring.pictures import Reading

QUESTIONS = 2000  # planned at once, or 100 for each actor: what Ray holds of them


class Actor:
    """A process with metrics of its own, which answers one question after the other; subclasses write `answer`."""

    def __init__(
        self, metrics: Sequence[Metric], expected: Sequence[Mapping[str, Any]], device: str, reading: Reading
    ) -> None:
        self.metrics, self._expected, self.device, self.reading = metrics, expected, device, reading
        self._ready = False

    def answer(self, question: Any) -> Any:
        """Compute; raises PimError if nothing can be computed at all."""
        raise NotImplementedError(f"{type(self).__name__} lacks answer")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One answer for the one question of a batch, or the PimError that it ended in."""
        answers = np.empty(1, dtype=object)
        try:
            if not self._ready:
                self._prepare()
            answers[0] = self.answer(batch["question"][0])
        except PimError as error:
            answers[0] = error
        return {"answer": answers}

    def _prepare(self) -> None:
        """Move the metrics to the device, and hold what is installed here against what the run is noted under.

        Raises:
            PimError: naming what differs.
        """
        self.metrics = [metric.to(self.device) for metric in self.metrics]
        for metric, expected in zip(self.metrics, self._expected, strict=True):
            here = describe(metric, self.device, self.reading.opening)
            if type(getattr(metric, "metric", metric)).__module__ == "__main__":
                here["code"] = expected["code"]  # came with the metric
            if differing := [name for name, value in expected.items() if here.get(name) != value]:
                raise PimError(
                    f"an actor on {os.uname().nodename} would compute {metric.name} with another "
                    f"{', '.join(differing)} than this process; install the same versions on all machines"
                )
        self._ready = True


def require_ray() -> ModuleType:
    """The package ray, with its part for data.

    Raises:
        UsageError: if it cannot be imported.
    """
    with from_extra("ray", "--engine ray"):
        import ray.data
    module: ModuleType = ray
    return module


@dataclass
class Cluster:
    """A Ray cluster, or processes of this machine; a context that ends what it began.

    Ray finds a cluster by the environment variable RAY_ADDRESS, or where `ray job submit` runs this.

    Raises:
        UsageError: if ray is not installed.
    """

    actors: int | None = None  # None: one for every CPU of the cluster, or for every GPU if those compute
    _ray: ModuleType = field(default_factory=require_ray, init=False, repr=False)
    _began: bool = field(default=False, init=False, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._began:
            self._ray.shutdown()

    def size(self, device: str) -> int:
        """How many actors there will be; starts or reaches Ray.

        Raises:
            UsageError: if the cluster has no GPU to compute on.
            PimError: if Ray cannot be started or reached.
        """
        self._connect()
        kind = _resource(device)
        there = int(self._ray.cluster_resources().get(kind, 0))
        if self.actors is None and there == 0:
            raise UsageError(f"the Ray cluster has no {kind} yet; say how many --actors it will get, or --device cpu")
        return self.actors or there

    def ask(
        self,
        questions: Iterable[Any],
        actor: type[Actor],
        metrics: Sequence[Metric],
        device: str,
        reading: Reading,
    ) -> Iterator[Any]:
        """Share questions out, and give the answers in the order in which they come.

        Args:
            questions: What can be pickled; read thousands ahead. Without any, Ray is not started.
            actor: What answers, in a process of its own.
            metrics: Those that actors get a copy of.
            device: Where actors compute.
            reading: How actors open files.

        Raises:
            UsageError: if a metric cannot be used at all or be pickled, or the cluster has no GPU to compute on.
            PimError: if an actor would compute something else than this process, or Ray gives up.
        """
        left = iter(questions)
        if (first := next(left, None)) is None:
            return
        self._check_pickled(metrics)
        left, actors = chain((first,), left), self.size(device)
        expected = [describe(metric, device, reading.opening) for metric in metrics]
        constructor = {"metrics": tuple(metrics), "expected": expected, "device": device, "reading": reading}
        while shard := tuple(islice(left, max(QUESTIONS, 100 * actors))):
            for answer in self._answers(shard, actor, constructor, actors):
                if isinstance(answer, PimError):
                    raise answer
                yield answer

    def _check_pickled(self, metrics: Sequence[Metric]) -> None:
        """Let metrics of single files go to actors with their code, and refuse what cannot go."""
        pickle = self._ray.cloudpickle
        for module in [module for name, module in sys.modules.items() if name.endswith(".py")]:
            pickle.register_pickle_by_value(module)
        for metric in metrics:
            try:
                pickle.dumps(metric)
            except Exception as error:
                raise UsageError(f"{metric.name} cannot be sent to actors of Ray: {error}") from error

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent home
        os.environ.setdefault("RAY_worker_niceness", "0")  # actors are as urgent as what they compute for
        here = os.environ.get("RAY_ADDRESS", "local") == "local"
        try:
            with _muted() if here else nullcontext():
                self._ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise PimError(f"cannot start or reach Ray: {' '.join(str(error).split())}") from error
        self._began = True

    def _answers(
        self, shard: Sequence[Any], actor: type[Actor], constructor: Mapping[str, Any], actors: int
    ) -> Iterator[Any]:
        data = self._ray.data
        data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # warns that questions are no numbers
        questions = data.from_items([{"question": question} for question in shard], override_num_blocks=len(shard))
        answers = questions.map_batches(
            actor,
            fn_constructor_kwargs=constructor,
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=min(actors, len(shard))),
            num_cpus=1,
            num_gpus=int(_resource(constructor["device"]) == "GPU"),
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
