"""Coded clips against their original: the values of their frames, and what they come to."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.core.device import choose
from pim.datasets.video import Clip
from pim.errors import PimError, UsageError
from pim.scoring.engine import Metrics, load_metrics, score
from pim.scoring.frames import EQUAL, FramePair, FramePairs, Partners, Shown

PERCENTILES = (1, 5, 50, 95, 99)
GAP = 1.5  # times the usual distance of frames: one is missing
LISTED = 5  # times that a sentence names
FRAMES_ALONE = "frames are compared one by one; how things move is not judged"


@dataclass(frozen=True)
class Failure:
    """A pair of frames without a value."""

    at: int  # place among all pairs of the clip
    seconds: float
    problem: str  # of a frame that cannot be used; empty if a metric failed
    message: str


class VideoScore:
    """The values of the frames of a coded clip under one or more metrics, and what they come to.

    Args:
        reference: The original.
        partners: The coded clip.
        metrics: Names of metrics, with True where lower is better.
    """

    def __init__(self, reference: Shown, partners: Partners, metrics: Mapping[str, bool]) -> None:
        self.reference, self.distorted = reference.path, partners.shown.path
        self.lower_is_better = dict(metrics)
        self.failures: list[Failure] = []
        self._original, self._partners = reference, partners
        self._times = array("d")
        self._values = {name: array("d") for name in metrics}

    def add(self, pair: FramePair, values: Mapping[str, float], errors: Mapping[str, str]) -> None:
        """Take what became of the next pair."""
        seconds = pair.pictures[0].time
        if errors:
            problem = next((picture.problem for picture in pair.pictures if picture.pixels is None), "")
            self.failures.append(Failure(len(self._times), seconds, problem, next(iter(errors.values()))))
        self._times.append(seconds)
        for name, kept in self._values.items():
            kept.append(values.get(name, np.nan))

    @property
    def times(self) -> NDArray[np.float64]:
        """When the frames of the reference are shown, in seconds from its first one (n,)."""
        return np.array(self._times)

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """By metric the values of the frames (n,), in its published direction; NaN for those that failed."""
        return {name: np.array(kept) for name, kept in self._values.items()}

    @property
    def clip(self) -> Clip:
        """What the coded file holds."""
        return self._partners.shown.clip

    @property
    def kilobits_per_second(self) -> float | None:
        """Bits of the video stream, without sound, by its duration; None for a file that cannot be read."""
        return self.clip.bytes * 8e-3 / self.clip.seconds if self.clip.seconds else None

    @property
    def bits_per_pixel(self) -> float | None:
        """Bits a second for every pixel a second of the original, so that another rate or size saves nothing twice."""
        pixels = self._original.size[0] * self._original.size[1] * self._original.clip.rate
        rate = self.kilobits_per_second
        return 1000 * rate / pixels if pixels and rate is not None else None

    def mean(self, metric: str) -> float:
        """Average the frames that have a finite value; NaN if none has."""
        values = self._finite(metric)
        return float(values.mean()) if len(values) else np.nan

    def percentile(self, metric: str, percent: float) -> float:
        """Give the value that so many percent of the frames do not exceed, linear between frames; NaN for none.

        Raises:
            UsageError: if the percentage is below 0 or above 100.
        """
        if not 0 <= percent <= 100:
            raise UsageError(f"percent must lie in [0, 100]; got {percent:g}")
        values = np.array(self._values[metric])
        values = np.sort(values[~np.isnan(values)])
        if not len(values):
            return np.nan
        place = percent / 100 * (len(values) - 1)
        low, high = values[int(place)], values[int(np.ceil(place))]
        return float(low if low == high else low + (place - int(place)) * (high - low))  # two infinities are equal

    def worst(self, metric: str) -> tuple[float, float] | None:
        """Find the frame that is furthest from its reference: its time and its value; None if none has one."""
        values = np.array(self._values[metric]) * (1 if self.lower_is_better[metric] else -1)
        if np.isnan(values).all():
            return None
        at = int(np.nanargmax(values))
        return self._times[at], self._values[metric][at]

    @property
    def notes(self) -> list[str]:
        """Say in words how frames were paired, and which values no mean can hold."""
        return [*_told(self._original, self._partners), *self._infinite()]

    @property
    def failed(self) -> list[str]:
        """Say in words which frames have no value, and why."""
        return list(self._failed())

    def as_dict(self) -> dict[str, Any]:
        """Give what all frames come to as plain values."""
        metrics = {}
        for name in self._values:
            worst = self.worst(name)
            metrics[name] = {
                "mean": self.mean(name),
                "percentiles": {str(percent): self.percentile(name, percent) for percent in PERCENTILES},
                "worst": None if worst is None else dict(zip(("seconds", "value"), worst, strict=True)),
            }
        return {
            "distorted": self.distorted,
            "codec": self.clip.codec,
            "kilobits_per_second": self.kilobits_per_second,
            "bits_per_pixel": self.bits_per_pixel,
            "pairs": len(self._times),
            "failed": len(self.failures),
            "failures": self.failed,
            "reference_without_partner": list(self._partners.missing),
            "distorted_without_partner": list(self._partners.spare),
            "furthest_apart_seconds": self._partners.apart,
            "metrics": metrics,
            "notes": self.notes,
        }

    def _finite(self, metric: str) -> NDArray[np.float64]:
        return np.array([value for value in self._values[metric] if math.isfinite(value)])

    def _infinite(self) -> Iterator[str]:
        for name, values in self.values.items():
            if count := int(np.isinf(values).sum()):
                yield f"{self.distorted}: {name} is infinite on {_frames(count)}, which its mean leaves out"

    def _failed(self) -> Iterator[str]:
        """A sentence for every run of frames that failed in one way."""
        runs = groupby(enumerate(self.failures), key=lambda item: (item[1].at - item[0], item[1].problem))
        for (_, problem), members in runs:
            run = [failure for _, failure in members]
            ends = f"{run[0].seconds:.3f} s" + (f" to {run[-1].seconds:.3f} s" if len(run) > 1 else "")
            what = f"{_frames(len(run))} at {ends} failed"
            yield f"{self.distorted}: {what}: {problem or run[0].message}"


def score_video(
    reference: str | os.PathLike[str],
    distorted: str | os.PathLike[str],
    metrics: Metrics = None,
    *,
    every: int = 1,
    device: str = "auto",
    batch_size: int = 1,
    workers: int = 2,
    resize: bool = False,
    align: bool | None = None,
) -> VideoScore:
    """Score the frames of a coded clip against those of its original, in the memory of a few frames.

    Two frames are a pair if each is the nearest in time to the other, counted from the first frame of each file; a
    dropped frame, and one that another frame rate has no place for, has no partner. Matrix, range, primaries and
    rotation are followed to sRGB. Each pair is judged alone: how things move is not.

    Args:
        reference: A video file.
        distorted: What was made of it.
        metrics: A name as `pim.load` takes it, a metric, or several; without them the default one.
        every: Score only every so many frames of the reference.
        device: "auto" for a GPU where there is one, else as torch names it.
        batch_size: Neighbours computed together.
        workers: Threads that prepare frames ahead.
        resize: Scale coded frames to the size of the original, bicubic and antialiased.
        align: As for `pim.score`.

    Raises:
        InputError: if the reference cannot be read. What is wrong with the other is in `failed`.
        UsageError: if an argument cannot be right.
        PimError: if a metric cannot be loaded, or there is no decoder.
    """
    if every < 1:
        raise UsageError(f"every must be 1 or more; got {every}")
    where = str(choose(device))
    chosen = load_metrics(metrics, where, align)
    pairs = FramePairs(os.fspath(reference), [os.fspath(distorted)], every)
    (found,) = scores_of(pairs, {metric.name: metric.lower_is_better for metric in chosen}).values()
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "resize": resize, "align": False}
    for each in score(pairs, chosen, device=where, **options):
        found.add(each.pair, each.values, {name: _words(error) for name, error in each.errors.items()})
    return found


def scores_of(pairs: FramePairs, metrics: Mapping[str, bool]) -> dict[str, VideoScore]:
    """Make a place for the values of every coded clip, by its path."""
    return {partners.shown.path: VideoScore(pairs.reference, partners, metrics) for partners in pairs.partners}


def _words(error: PimError) -> str:
    return str(error).splitlines()[0]


def _told(original: Shown, partners: Partners) -> Iterator[str]:
    """How two clips were paired, as far as it is not frame by frame at the same times."""
    coded = partners.shown
    rates = [_rate(shown) for shown in (original, coded)]
    if all(rates) and abs(rates[0] - rates[1]) > 0.005 * rates[0]:
        yield f"{coded.path} shows {rates[1]:.4g} frames a second, {original.path} {rates[0]:.4g}"
    for shown in (original, coded):
        if dropped := _dropped(shown):
            yield f"{shown.path}: {_frames(len(dropped))} dropped, at {_some(dropped)}"
    if partners.missing:
        count = len(original.times)
        yield f"{len(partners.missing)} of {count} frames of {original.path} have no partner in {coded.path}"
    if partners.spare:
        count = len(coded.times)
        yield f"{len(partners.spare)} of {count} frames of {coded.path} have no partner in {original.path}"
    if partners.apart > EQUAL:
        yield f"{coded.path}: partners are up to {1000 * partners.apart:.1f} ms apart; what moved meanwhile counts"
    if coded.times and abs(coded.start - original.start) > EQUAL:
        yield (
            f"{coded.path} begins at {coded.start:.3f} s, {original.path} at {original.start:.3f} s; "
            "times count from the first frame of each"
        )


def _rate(shown: Shown) -> float:
    """Frames a second by the usual distance of frames; 0 if there is none."""
    usual = _usual(np.diff(shown.times))
    return 1 / usual if usual else 0.0


def _usual(steps: NDArray[np.float64]) -> float:
    """The mean of all but gaps: times may be rounded."""
    return float(steps[steps <= GAP * np.median(steps)].mean()) if len(steps) else 0.0


def _dropped(shown: Shown) -> list[float]:
    """Times at which a clip of an even rate has no frame."""
    steps = np.diff(shown.times)
    usual = _usual(steps)
    gaps = np.flatnonzero(steps > GAP * usual)
    if shown.damaged or not usual or len(gaps) > 0.2 * len(steps):  # or no even rate
        return []
    return [
        shown.times[at] + usual * number for at in gaps.tolist() for number in range(1, round(float(steps[at] / usual)))
    ]


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _some(times: Sequence[float]) -> str:
    more = f" and {len(times) - LISTED} more" if len(times) > LISTED else ""
    return ", ".join(f"{time:.3f}" for time in times[:LISTED]) + f" s{more}"
