"""A run: every pair under every metric, whatever happens in between.

Values are committed as they come. A run that was killed goes on where it was when it is started
again with the same request, and ends in the same table.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pim.core.metric import Metric
from pim.errors import PimError
from pim.eval.judgements import PlannedPair
from pim.eval.scoring import Engine, InThisProcess, Job, Scored, waves
from pim.eval.store import Score, Store
from pim.images.opener import Decoding, OpenOptions
from pim.scoring.fingerprint import describe, digest
from pim.scoring.pictures import Picture

COMMIT_ROWS = 512
COMMIT_SECONDS = 1.0
BATCH_PIXELS = {"cpu": 1 << 15}  # more at once is slower: memory comes and goes page by page
BATCH_PIXELS_ELSEWHERE = 1 << 22
OPENED_FOR_SIZE = 10  # pictures tried to learn the usual size
CHECKED_ROWS = 8  # computed once more, each alone
TOLERANCE = {"cpu": 1e-6}  # relative difference allowed between a row in its batch and alone
TOLERANCE_ELSEWHERE = 1e-4  # GPUs choose their algorithms by batch size


class Advance(Protocol):
    """To be called as work gets done."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Count more items as done; the note is shown behind them, such as a loss."""


Watch = Callable[[int, int], AbstractContextManager[Advance]]  # number of pairs, and of those done before


@dataclass(frozen=True)
class RunOptions:
    """How to compute; only `device` and `opening` can change values beyond rounding."""

    device: str = "cpu"
    opening: OpenOptions = field(default_factory=OpenOptions)
    batch_size: int = 32  # at most; fewer if pictures are large
    workers: int = 2
    keep_failed: bool = False  # do not try failed pairs again
    rescore: bool = False  # forget what is known of these metrics
    verify: bool = False  # recognise files by content, not by size and time


def score(
    store: Store,
    pairs: Sequence[PlannedPair],
    ids: Sequence[int],
    metrics: Sequence[Metric],
    options: RunOptions,
    watch: Watch,
    engine: Engine | None = None,
) -> tuple[str, ...]:
    """Compute what the table does not have yet.

    Args:
        store: The open table of the run.
        pairs: With different keys, in any order.
        ids: Their numbers (pair_id) in the table.
        metrics: With different names, on the device.
        options: How to compute.
        watch: Shows how far it is.
        engine: Who computes; None: this process.

    Returns:
        A line for every failure: pairs that failed are named, and do not stop the others.

    Raises:
        UsageError: if a metric cannot be used at all.
        PimError: if the table cannot be written; what was committed stays.
    """
    engine = engine or InThisProcess(options.workers)
    numbers = [_number(store, metric, options) for metric in metrics]
    called = {metric.name: number for metric, number in zip(metrics, numbers, strict=True)}
    missing = tuple(_missing(store, number, ids, options.keep_failed) for number in numbers)
    done = len(pairs) - len(set[int]().union(*missing))
    if done < len(pairs):
        job = _job(pairs, missing, options)
        with watch(len(pairs), done) as advance:
            _compute(engine.perform(job, metrics), job, _Writer(store, ids, called), advance)
    _check(store, pairs, ids, dict(zip(numbers, metrics, strict=True)), options, engine)
    return _failures(store, ids, numbers)


def _number(store: Store, metric: Metric, options: RunOptions) -> int:
    """The number (metric_id) of a metric in the table."""
    description = describe(metric, options.device, options.opening)
    number = store.add_metric(digest(description), description)
    if options.rescore:
        store.forget(number)
    return number


def _missing(store: Store, metric: int, ids: Sequence[int], keep_failed: bool) -> frozenset[int]:
    """Places of the plan that have no value of this metric."""
    known = {pair for pair, score in store.scores(metric).items() if keep_failed or score.value is not None}
    return frozenset(place for place, pair in enumerate(ids) if pair not in known)


def _job(pairs: Sequence[PlannedPair], missing: tuple[frozenset[int], ...], options: RunOptions) -> Job:
    """What is left of the waves of the whole plan."""
    most = per_batch(pairs, options.opening, BATCH_PIXELS.get(options.device, BATCH_PIXELS_ELSEWHERE))
    every = waves([pair.reference.name for pair in pairs], min(options.batch_size, most))
    wanted = set[int]().union(*missing)
    left = tuple(wave for wave in every if not wanted.isdisjoint(wave))
    return Job(left, pairs, missing, recurring(pairs), options.opening, options.device)


def recurring(pairs: Sequence[PlannedPair]) -> frozenset[Picture]:
    """The pictures that more than one pair has, on either side."""
    met = Counter(picture for pair in pairs for picture in set(pair.both()))
    return frozenset(picture for picture, count in met.items() if count > 1)


def _compute(results: Iterator[Scored], job: Job, writer: _Writer, advance: Advance) -> None:
    wanted = job.places()
    try:
        for scored in results:
            writer.add(scored)
            writer.commit_if_due()
            advance(len(wanted & scored.keys()))
    finally:
        writer.commit()  # also when stopped: what is computed is kept


def per_batch(pairs: Sequence[PlannedPair], opening: OpenOptions, pixels: int) -> int:
    """How many pairs of so many pixels to compute together, by the size of the first picture that opens."""
    for pair in pairs[:OPENED_FOR_SIZE]:
        with suppress(PimError):
            height, width, _ = pair.reference.open(opening).pixels.shape
            return max(1, pixels // int(height * width))
    return 1


class _Writer:
    """Collects values and commits them now and then."""

    def __init__(self, store: Store, ids: Sequence[int], metrics: Mapping[str, int]) -> None:
        self._store, self._ids, self._metrics = store, ids, metrics
        self._clear()

    def _clear(self) -> None:
        self._scores: list[Score] = []
        self._identical: dict[int, bool] = {}
        self._pictures: dict[str, str] = {}
        self._since = time.monotonic()

    def add(self, scored: Scored) -> None:
        """Keep what came of some pairs."""
        for place, score in scored.items():
            pair = self._ids[place]
            for name, value in score.values.items():
                self._scores.append(Score(pair, self._metrics[name], value))
            for name, error in score.errors.items():
                self._scores.append(Score(pair, self._metrics[name], None, str(error)))
            if score.identical is not None:
                self._identical[pair] = score.identical
            for picture, decoding in zip(score.pair.both(), score.decodings, strict=True):
                if decoding is not None:
                    self._pictures[picture.name] = opening_of(decoding)

    def commit_if_due(self) -> None:
        """Commit after enough rows or enough time."""
        if len(self._scores) >= COMMIT_ROWS or time.monotonic() - self._since >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Commit what was collected."""
        if self._scores:
            self._store.write(self._scores, self._identical, self._pictures)
        self._clear()


def opening_of(decoding: Decoding) -> str:
    """How a file was opened, without what is its own: equal for files treated alike."""
    text = f"{decoding.format}, {decoding.mode}, {decoding.bit_depth} bit, {decoding.width} x {decoding.height}"
    return "; ".join([text, *decoding.notes])


def _check(
    store: Store,
    pairs: Sequence[PlannedPair],
    ids: Sequence[int],
    metrics: Mapping[int, Metric],
    options: RunOptions,
    engine: Engine,
) -> None:
    """Compute some rows of every new metric once more, each alone; one that differs becomes a failure."""
    checked = {metric.metric for metric in store.metrics() if metric.checked}
    scores = {number: store.scores(number) for number in metrics if number not in checked}
    if not scores:
        return
    chosen = [_spread([place for place, pair in enumerate(ids) if _has_value(scores[n], pair)]) for n in scores]
    alone = tuple((place,) for place in sorted(frozenset[int]().union(*chosen)))
    job = Job(alone, pairs, tuple(chosen), frozenset(), options.opening, options.device)
    again: dict[int, dict[int, float | PimError]] = {number: {} for number in scores}
    for scored in engine.perform(job, [metrics[number] for number in scores]):
        for place, score in scored.items():
            answers: dict[str, float | PimError] = {**score.values, **score.errors}
            for number, known in again.items():
                if score.identical is not None and metrics[number].name in answers:  # opened again
                    known[place] = answers[metrics[number].name]
    for number, values in again.items():
        rows = {place: scores[number][ids[place]] for place in values}
        sizes = [abs(row.value) for row in rows.values() if row.value is not None and math.isfinite(row.value)]
        typical = float(np.median(sizes or [0.0]))
        wrong = [
            _unsteady(rows[place], value, metrics[number].name, pairs[place])
            for place, value in values.items()
            if not agrees(rows[place].value, value, typical, options.device)
        ]
        if wrong:
            store.write(wrong, {}, {})
        else:
            store.mark_checked(number)


def _has_value(scores: Mapping[int, Score], pair: int) -> bool:
    return pair in scores and scores[pair].value is not None


def _spread(places: Sequence[int]) -> frozenset[int]:
    """Some of the places, far from each other."""
    return frozenset(places[i * len(places) // CHECKED_ROWS] for i in range(CHECKED_ROWS)) if places else frozenset()


def agrees(value: float | None, again: float | PimError, typical: float, device: str) -> bool:
    """Whether a value computed in a batch and one computed alone are the same up to rounding.

    Args:
        value: In the batch.
        again: Alone.
        typical: A usual value of the metric; values far below it are made of larger terms that cancel.
        device: Where both were computed.
    """
    if value is None or isinstance(again, PimError):
        return False
    if value == again:  # infinity too
        return True
    allowed = TOLERANCE.get(device, TOLERANCE_ELSEWHERE)
    return abs(value - again) <= allowed * max(abs(value), abs(again), typical)


def _unsteady(row: Score, again: float | PimError, metric: str, pair: PlannedPair) -> Score:
    text = f"{pair.distorted.name}: {metric} gave {row.value!r} in a batch and {again!s} alone; a value must not"
    return Score(row.pair, row.metric, None, f"{text} depend on the batch")


def _failures(store: Store, ids: Sequence[int], metrics: Sequence[int]) -> tuple[str, ...]:
    """Every message once, in the order of the plan; a picture that cannot be opened fails every metric alike."""
    tables = [store.scores(number) for number in metrics]
    messages = (table[pair].message for pair in ids for table in tables)
    return tuple(dict.fromkeys(message for message in messages if message is not None))
