"""Frames of a reference and of coded clips, paired by the time at which they are shown.

A pair are two frames of which each is the nearest in time to the other; times count from the first frame of each file.
So a frame that was dropped, or that another frame rate has no place for, stays without a partner instead of being
compared with its neighbour.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pim.datasets.video import Clip, Pixels, look_at, video_frames
from pim.errors import InputError
from pim.images.arrays import pixels_of
from pim.images.opener import Decoding, OpenedImage, OpenOptions
from pim.images.raster import check_size
from pim.scoring.pairs import Pair

EQUAL = 0.001  # seconds: some containers keep times no finer
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class FramePicture:
    """A frame of a video file, or the place of one that cannot be used."""

    path: str
    time: float  # in seconds from the first frame
    pixels: Pixels | None
    problem: str = ""  # why there are no pixels, as what follows its name
    codec: str = ""

    @property
    def name(self) -> str:
        """The file and the time."""
        return f"{self.path} at {self.time:.3f} s"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Give the pixels, decoded already; raises InputError if there are none, or too many."""
        if self.pixels is None:
            raise InputError(f"{self.name} {self.problem}")
        height, width = self.pixels.shape[:2]
        try:
            check_size(width, height, options.max_pixels)
        except InputError as error:
            raise InputError(f"{self.name} {error}") from error
        decoding = Decoding(self.path, self.codec, width, height, "RGB", 8, 1, None, "none", 0, 1, ())
        return OpenedImage(pixels_of(self.pixels, self.name), decoding)


@dataclass(frozen=True, eq=False)
class FramePair(Pair):
    """Two frames that are shown at one time."""

    number: int = 0  # of the frame of the reference, from 0
    extra: dict[str, Any] = field(default_factory=dict)
    pictures: tuple[FramePicture, FramePicture] = field(kw_only=True)

    def both(self) -> tuple[FramePicture, FramePicture]:
        """Frame of the reference, and of the coded clip."""
        return self.pictures


class Shown:
    """The frames of a video file in the order of their times, damaged ones in their places.

    A file that cannot be read has none, and is cut off before the first.

    Args:
        path: The file.
        tell: Called with a line about what was left out or changed.

    Raises:
        InputError: if there is no such file.
    """

    def __init__(self, path: str, tell: Tell) -> None:
        self.path, self.times, self.size = path, array("d"), (0, 0)  # times of the frames so far, width and height
        self.damaged = False
        self._tell = tell
        if not Path(path).exists():
            raise InputError(f"{path} does not exist")
        try:
            self.clip = look_at(Path(path))
        except InputError as error:
            self.clip = Clip("", 0, 0, np.zeros(0), 0.0, 1.0, str(error).removeprefix(f"{path} "), -math.inf)

    def __iter__(self) -> Iterator[FramePicture]:
        for picture in self._frames():
            self.times.append(picture.time)
            yield picture

    def _frames(self) -> Iterator[FramePicture]:
        """What was decoded, and between that, once there was damage, the packets of which nothing came."""
        promised = deque(self.clip.times - self.start if self.clip.times.size else ())
        problem, count = "", 0
        frames = video_frames(Path(self.path), self._tell)
        try:
            for frame in frames:
                time = count / self.clip.rate if frame.time is None else frame.time - self.start
                count += 1
                if frame.pixels is None:
                    problem = frame.problem
                    if not self.clip.times.size:
                        yield self.lost(time, problem)
                    continue
                while promised and promised[0] < time - EQUAL / 2:
                    before = promised.popleft()
                    if problem:
                        yield self.lost(before, problem)
                while promised and promised[0] < time + EQUAL / 2:
                    promised.popleft()
                self.size = frame.pixels.shape[1], frame.pixels.shape[0]
                yield FramePicture(self.path, time, frame.pixels, codec=self.clip.codec)
        except InputError as error:  # every frame says it
            problem = problem or str(error).removeprefix(f"{self.path} ")
        if problem:
            yield from (self.lost(time, problem) for time in promised)

    @property
    def start(self) -> float:
        """The time of the first frame in the file, in seconds."""
        return float(self.clip.times[0]) if self.clip.times.size else 0.0

    def lost(self, time: float, problem: str) -> FramePicture:
        """Give the place of a frame that cannot be used."""
        self.damaged = True
        return FramePicture(self.path, time, None, problem, self.clip.codec)


class Partners:
    """The frames of a coded clip that belong to those of a reference.

    Args:
        shown: The coded clip.
        rate: Frames a second of the reference.
    """

    def __init__(self, shown: Shown, rate: float) -> None:
        self.shown = shown
        self.missing, self.spare = array("d"), array("d")  # times: of the reference, of the clip; without a partner
        self.apart = 0.0  # seconds between two partners, at most
        self._interval = 1 / shown.clip.rate
        self._furthest = min(1 / rate, self._interval) / 2 + EQUAL  # even rates leave no pair further apart
        self._tie = min(EQUAL, 0.1 / rate, 0.1 * self._interval)
        self._frames, self._ahead = iter(shown), deque[FramePicture]()
        self._before: FramePicture | None = None

    def of(self, time: float, following: float | None) -> FramePicture | None:
        """Find the partner of a frame of the reference; of two that are equally near the later one.

        Args:
            time: Of the frame.
            following: Time of the next frame of the reference; None after the last.

        Returns:
            The partner, which may be damaged; None if there is none.
        """
        while (head := self._next(0)) is not None:
            distance, after = abs(head.time - time), self._next(1)
            if after is not None and abs(after.time - time) <= distance + self._tie:
                self.spare.append(self._take().time)
            elif following is not None and abs(following - head.time) <= distance + self._tie:
                return self._none(time, head)
            elif distance <= self._furthest:
                self.apart = max(self.apart, distance)
                return self._take()
            elif head.time < time:
                self.spare.append(self._take().time)
            else:
                return self._none(time, head)
        return self._none(time, None)

    def rest(self) -> Iterator[FramePicture]:
        """Take the frames after the end of the reference."""
        while self._next(0) is not None:
            yield self._take()

    def _none(self, time: float, head: FramePicture | None) -> FramePicture | None:
        """No partner: through damage, or because none was coded."""
        clip, before = self.shown.clip, self._before
        if clip.cut and time + self.shown.start > clip.known_until:
            return self.shown.lost(time, clip.cut)
        if before is not None and before.pixels is None and (head is None or head.time - time > self._interval / 2):
            return self.shown.lost(time, before.problem)
        self.missing.append(time)
        return None

    def _next(self, place: int) -> FramePicture | None:
        while len(self._ahead) <= place and (frame := next(self._frames, None)) is not None:
            self._ahead.append(frame)
        return self._ahead[place] if len(self._ahead) > place else None

    def _take(self) -> FramePicture:
        self._before = self._ahead.popleft()
        return self._before


class FramePairs:
    """Pairs of frames, one reference frame after the other, each with its partner in every coded clip.

    Files are read to their ends once, without decoding; then frames are decoded as pairs are taken.

    Args:
        reference: A video file.
        distorted: What was made of it.
        every: Pairs only of every so many frames of the reference.
        tell: Called with a line about what was left out or changed in a file.

    Raises:
        InputError: if the reference cannot be read.
        DataError: if there is no decoder.
    """

    def __init__(
        self, reference: str, distorted: Sequence[str], every: int = 1, tell: Tell = lambda line: None
    ) -> None:
        self.every, self.reference = every, Shown(reference, tell)
        if not self.reference.clip.frames:
            raise InputError(f"{reference} {self.reference.clip.cut or 'has no frames'}")
        self.partners = [Partners(Shown(path, tell), self.reference.clip.rate) for path in distorted]

    def __len__(self) -> int:
        """How many there will be, about."""
        return -(-self.reference.clip.frames // self.every) * len(self.partners)

    def __iter__(self) -> Iterator[FramePair]:
        number = -1
        for number, (picture, following) in enumerate(pairwise(chain(self.reference, (None,)))):
            assert picture is not None
            for partners in self.partners:
                partner = partners.of(picture.time, None if following is None else following.time)
                if partner is not None and number % self.every == 0:
                    yield _pair(number, picture, partner)
        clip = self.reference.clip
        for partners in self.partners:
            for rest in partners.rest():
                if clip.cut:
                    number += 1
                    yield _pair(number, self.reference.lost(rest.time, clip.cut), rest)
                else:
                    partners.spare.append(rest.time)


def _pair(number: int, first: FramePicture, second: FramePicture) -> FramePair:
    extra = {"frame": number, "seconds": round(first.time, 6), "distorted_seconds": round(second.time, 6)}
    return FramePair(first.path, second.path, first.path, second.path, extra, number, pictures=(first, second))
