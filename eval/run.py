"""A run: every pair under every metric, whatever happens in between.

Values are committed as they come. A run that was killed goes on where it was when it is started
again with the same request, and ends in the same table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pim.errors import PimError
from pim.eval.compute import Calculator, Duo, Value, is_identical, usable
from pim.eval.decode import DecodedWave, decoded
from pim.eval.fingerprint import describe, digest
from pim.eval.pictures import PlannedPair
from pim.eval.store import Score, Store
from pim.eval.waves import Wave, waves
from pim.image import OpenedImage, OpenOptions
from pim.metric import Metric

COMMIT_ROWS = 512
COMMIT_SECONDS = 1.0
BATCH_PIXELS = {"cpu": 1 << 17}  # more at once is slower: memory comes and goes page by page
BATCH_PIXELS_ELSEWHERE = 1 << 22
OPENED_FOR_SIZE = 10  # pictures tried to learn the usual size
CHECKED_ROWS = 8  # computed once more, each alone
TOLERANCE = {"cpu": 1e-6}  # relative difference allowed between a row in its batch and alone
TOLERANCE_ELSEWHERE = 1e-4  # GPUs choose their algorithms by batch size


class Advance(Protocol):
    """Called as pairs get done."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Count more pairs as done."""


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
) -> tuple[str, ...]:
    """Compute what the table does not have yet.

    Args:
        store: The open table of the run.
        pairs: With different keys, in any order.
        ids: Their numbers (pair_id) in the table.
        metrics: With different names, on the device.
        options: How to compute.
        watch: Shows how far it is.

    Returns:
        A line for every failure: pairs that failed are named, and do not stop the others.

    Raises:
        UsageError: if a metric cannot be used at all.
        PimError: if the table cannot be written; what was committed stays.
    """
    calculators: dict[int, Calculator] = {}
    for metric in metrics:
        description = describe(metric, options.device, options.opening)
        number = store.add_metric(digest(description), description).metric
        calculators[number] = Calculator(metric, options.device)
        if options.rescore:
            store.forget(number)
    missing = {number: _missing(store, number, ids, options.keep_failed) for number in calculators}
    done = len(pairs) - len(set[int]().union(*missing.values()))
    if done < len(pairs):
        with watch(len(pairs), done) as advance:
            _compute(store, pairs, ids, calculators, missing, options, advance)
    _check(store, pairs, ids, calculators, options)
    return _failures(store, ids, list(calculators))


def _missing(store: Store, metric: int, ids: Sequence[int], keep_failed: bool) -> set[int]:
    """Places of the plan that have no value of this metric."""
    known = {pair for pair, score in store.scores(metric).items() if keep_failed or score.value is not None}
    return {place for place, pair in enumerate(ids) if pair not in known}


def _compute(
    store: Store,
    pairs: Sequence[PlannedPair],
    ids: Sequence[int],
    calculators: dict[int, Calculator],
    missing: dict[int, set[int]],
    options: RunOptions,
    advance: Advance,
) -> None:
    wanted = set[int]().union(*missing.values())
    every = waves([pair.reference.name for pair in pairs], _batch_size(pairs, options))
    repeated = {a.block for a, b in zip(every, every[1:], strict=False) if a.block == b.block}
    left = [wave for wave in every if wanted.intersection(wave.pairs)]
    writer = _Writer(store, ids)
    try:
        with closing(decoded(left, pairs, options.opening, options.workers)) as stream:
            for item in stream:
                duos, failed = usable(item, pairs)
                for number, calculator in calculators.items():
                    chosen = [duo for duo in duos if duo.place in missing[number]]
                    values: dict[int, Value] = {p: e for p, e in failed.items() if p in missing[number]}
                    values |= calculator.values(chosen, pairs, item.wave.block, item.wave.block in repeated)
                    writer.add(number, values)
                writer.note(duos, item, pairs)
                writer.commit_if_due()
                advance(len(wanted.intersection(item.wave.pairs)))
    finally:
        writer.commit()  # also when stopped: what is computed is kept


def _batch_size(pairs: Sequence[PlannedPair], options: RunOptions) -> int:
    """How many pairs to compute together, from the size of the first picture that opens."""
    limit = BATCH_PIXELS.get(options.device, BATCH_PIXELS_ELSEWHERE)
    for pair in pairs[:OPENED_FOR_SIZE]:
        try:
            pixels = pair.reference.open(options.opening).pixels
        except PimError:
            continue
        return max(1, min(options.batch_size, limit * 3 // pixels.size))
    return 1


class _Writer:
    """Collects values and commits them now and then."""

    def __init__(self, store: Store, ids: Sequence[int]) -> None:
        self._store, self._ids = store, ids
        self._clear()

    def _clear(self) -> None:
        self._scores: list[Score] = []
        self._identical: dict[int, bool] = {}
        self._pictures: dict[str, str] = {}
        self._since = time.monotonic()

    def add(self, metric: int, values: dict[int, Value]) -> None:
        """Keep the values of one metric, by place."""
        self._scores += [score_of(self._ids[place], metric, value) for place, value in values.items()]

    def note(self, duos: Sequence[Duo], item: DecodedWave, pairs: Sequence[PlannedPair]) -> None:
        """Keep what was seen of the images."""
        self._identical |= {self._ids[duo.place]: is_identical(duo) for duo in duos}
        chosen = [pairs[place] for place in item.wave.pairs]
        for pictures, opened in (
            ([pair.reference for pair in chosen], item.references),
            ([pair.distorted for pair in chosen], item.distorted),
        ):
            for picture, image in zip(pictures, opened, strict=True):
                if isinstance(image, OpenedImage):
                    self._pictures[picture.name] = opening_of(image)

    def commit_if_due(self) -> None:
        """Commit after enough rows or enough time."""
        if len(self._scores) >= COMMIT_ROWS or time.monotonic() - self._since >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Commit what was collected."""
        if self._scores:
            self._store.write(self._scores, self._identical, self._pictures)
        self._clear()


def score_of(pair: int, metric: int, value: Value) -> Score:
    """A value, or the error in its place, as a row of the table."""
    if isinstance(value, PimError):
        return Score(pair, metric, None, str(value))
    return Score(pair, metric, value)


def opening_of(image: OpenedImage) -> str:
    """How a file was opened, without what is its own: equal for files treated alike."""
    decoding = image.decoding
    height, width = image.pixels.shape[:2]
    text = f"{decoding.format}, {decoding.mode}, {decoding.bit_depth} bit, {width} x {height}"
    return "; ".join([text, *decoding.notes])


def _check(
    store: Store,
    pairs: Sequence[PlannedPair],
    ids: Sequence[int],
    calculators: dict[int, Calculator],
    options: RunOptions,
) -> None:
    """Compute some rows of every new metric once more, each alone; one that differs becomes a failure."""
    checked = {metric.metric for metric in store.metrics() if metric.checked}
    for number, calculator in calculators.items():
        if number in checked:
            continue
        scores = store.scores(number)
        done = [place for place, pair in enumerate(ids) if pair in scores and scores[pair].value is not None]
        chosen = [done[i * len(done) // CHECKED_ROWS] for i in range(CHECKED_ROWS)] if done else []
        alone = [Wave(place, (place,)) for place in sorted(set(chosen))]
        wrong = []
        typical = float(np.median(_sizes(scores[ids[place]] for place in chosen)))
        for item in decoded(alone, pairs, options.opening, options.workers):
            for duo in usable(item, pairs)[0]:
                row = scores[ids[duo.place]]
                again = calculator.alone(duo, pairs)
                if not agrees(row.value, again, typical, options.device):
                    wrong.append(_unsteady(row, again, calculator.metric.name, pairs[duo.place]))
        if wrong:
            store.write(wrong, {}, {})
        else:
            store.mark_checked(number)


def _sizes(scores: Iterable[Score]) -> list[float]:
    """How large finite values are; 0 if there are none."""
    return [abs(s.value) for s in scores if s.value is not None and math.isfinite(s.value)] or [0.0]


def agrees(value: float | None, again: Value, typical: float, device: str) -> bool:
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


def _unsteady(row: Score, again: Value, metric: str, pair: PlannedPair) -> Score:
    text = f"{pair.distorted.name}: {metric} gave {row.value!r} in a batch and {again!s} alone; a value must not"
    return Score(row.pair, row.metric, None, f"{text} depend on the batch")


def _failures(store: Store, ids: Sequence[int], metrics: Sequence[int]) -> tuple[str, ...]:
    """Every message once, in the order of the plan; a picture that cannot be opened fails every metric alike."""
    tables = [store.scores(number) for number in metrics]
    messages = (table[pair].message for pair in ids for table in tables)
    return tuple(dict.fromkeys(message for message in messages if message is not None))
