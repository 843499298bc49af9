"""What one process does with a part of a plan: open pictures ahead, compute every metric, keep failures apart.

`InThisProcess` is the engine that needs nothing else; `pim.eval.ray_engine` shares a plan out to many processes.
Engines give the same values, since a plan is divided between waves and never inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from pim.core.metric import Metric
from pim.eval.compute import Calculator, Duo, Value, is_identical, usable
from pim.eval.decode import DecodedWave, decoded
from pim.eval.pictures import Picture, Places
from pim.eval.prepared import RecentlyPrepared
from pim.eval.waves import Wave
from pim.images.opener import OpenedImage, OpenOptions

CHEAP = 100  # multiply-adds a pixel below which a metric takes no longer than the opening of its pictures

KEPT = 512 << 20  # bytes of analysed pictures that all metrics together keep


@dataclass(frozen=True)
class Job:
    """Pairs to compute; all that a process has to know besides the metrics."""

    waves: tuple[Wave, ...]  # those of a block follow each other
    pairs: Places  # by place in the plan
    wanted: tuple[frozenset[int], ...]  # places to compute, for each metric
    recurring: frozenset[Picture]  # those in several pairs of the whole plan
    opening: OpenOptions
    device: str
    alone: bool = False  # every pair in a batch of its own, nothing prepared

    def places(self) -> set[int]:
        """The places that any metric is asked for."""
        return set[int]().union(*self.wanted)


@dataclass(frozen=True)
class Scored:
    """What came of some pairs, by their place in the plan."""

    values: tuple[dict[int, Value], ...]  # for each metric; an error where there is no value
    identical: dict[int, bool]  # whether both images are equal in every pixel
    pictures: dict[str, str]  # what opening decided, by name of the picture

    def places(self) -> set[int]:
        """The places that any metric has an answer for."""
        return set[int]().union(*self.values)


class Engine(Protocol):
    """Who computes."""

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Everything that the job asks for, piece by piece and in any order.

        Raises:
            UsageError: if a metric cannot be used at all.
            PimError: if the engine cannot go on.
        """


@dataclass(frozen=True)
class InThisProcess:
    """Computes here, while threads open the next pictures."""

    workers: int  # threads

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        """Everything that the job asks for, wave by wave.

        Raises:
            UsageError: if a metric cannot be used at all.
        """
        prepared = RecentlyPrepared(KEPT)
        calculators = [Calculator(metric, job.device, prepared) for metric in metrics]
        with closing(decoded(job.waves, job.pairs, job.opening, self.workers)) as stream:
            for item in stream:
                yield _scored(item, job, calculators)


def _scored(item: DecodedWave, job: Job, calculators: Sequence[Calculator]) -> Scored:
    duos, failed = usable(item, job.pairs)
    found = []
    for calculator, wanted in zip(calculators, job.wanted, strict=True):
        values: dict[int, Value] = {place: error for place, error in failed.items() if place in wanted}
        with _sparing(calculator.metric):
            values |= _values(calculator, [duo for duo in duos if duo.place in wanted], job)
        found.append(values)
    return Scored(tuple(found), {duo.place: is_identical(duo) for duo in duos}, _openings(item, job.pairs))


@contextmanager
def _sparing(metric: Metric) -> Iterator[None]:
    """One thread for a cheap metric: several would wait for those that open pictures, at every operation."""
    before, cost = torch.get_num_threads(), metric.info.operations
    if cost is None or cost > CHEAP or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _values(calculator: Calculator, duos: Sequence[Duo], job: Job) -> dict[int, Value]:
    if job.alone:
        return {duo.place: calculator.alone(duo, job.pairs) for duo in duos}
    return calculator.values(duos, job.pairs, job.recurring)


def _openings(item: DecodedWave, pairs: Places) -> dict[str, str]:
    chosen = [pairs[place] for place in item.wave.pairs]
    sides = (
        ([pair.reference for pair in chosen], item.references),
        ([pair.distorted for pair in chosen], item.distorted),
    )
    return {
        picture.name: opening_of(image)
        for pictures, opened in sides
        for picture, image in zip(pictures, opened, strict=True)
        if isinstance(image, OpenedImage)
    }


def opening_of(image: OpenedImage) -> str:
    """How a file was opened, without what is its own: equal for files treated alike."""
    decoding = image.decoding
    height, width = image.pixels.shape[:2]
    text = f"{decoding.format}, {decoding.mode}, {decoding.bit_depth} bit, {width} x {height}"
    return "; ".join([text, *decoding.notes])
