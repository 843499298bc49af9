"""Pictures opened ahead of their use, by threads, in order and within a budget of memory.

Threads suffice: decoders of image files release the interpreter lock, and a killed process leaves no orphans.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch.nn.functional as F
from torch import Tensor

from pim.errors import InputError, PimError
from pim.images.opener import OpenOptions
from pim.scoring.pictures import Given, Loaded, Picture, load

BUDGET = 512 << 20  # bytes of decoded images that wait at most


class SizesDiffer(InputError):
    """Two pictures that are to be compared have different sizes."""


class PicturePair(Protocol):
    """Anything that names two pictures."""

    def both(self) -> tuple[Picture, Picture]:
        """Reference and distorted picture."""


Item = TypeVar("Item", bound=PicturePair)


@dataclass(frozen=True)
class Reading:
    """How pictures are opened."""

    opening: OpenOptions = OpenOptions()
    resize: bool = False  # scale distorted pictures to the size of their reference, bicubic and antialiased
    workers: int = 2  # threads; 0 opens when asked


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Pairs to compute together."""

    pairs: tuple[Item, ...]
    recurring: frozenset[Picture] = frozenset()  # those that other pairs have too: worth keeping once analysed


@dataclass(frozen=True, eq=False)
class OpenedPair(Generic[Item]):
    """A pair with its pictures in memory, or with what is wrong."""

    pair: Item
    reference: Loaded | PimError
    distorted: Loaded | PimError
    error: PimError | None = None  # why the two cannot be compared
    resized_from: tuple[int, int] | None = None  # width and height of the distorted picture before


@dataclass(frozen=True, eq=False)
class OpenedBatch(Generic[Item]):
    """A batch with its pictures."""

    pairs: tuple[OpenedPair[Item], ...]
    recurring: frozenset[Picture]


def opened(
    batches: Iterable[Batch[Item]], reading: Reading, budget: int = BUDGET
) -> Generator[OpenedBatch[Item], None, None]:
    """Open the pictures of batches; a reference that the batch before has too is opened once.

    Args:
        batches: In the order of use; read only a little ahead.
        reading: How to open.
        budget: Bytes of pictures that are opened ahead; at least one batch always is.
    """
    pool = ThreadPoolExecutor(reading.workers, thread_name_prefix="decode") if reading.workers else None

    def submit(picture: Picture) -> Future[Opened]:
        if pool is not None and not isinstance(picture, Given):  # what the caller holds may not stand two threads
            return pool.submit(_open, picture, reading.opening)
        future: Future[Opened] = Future()
        future.set_result(_open(picture, reading.opening))
        return future

    try:
        yield from _ahead(_pending(batches, submit), reading.workers, reading.resize, budget)
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def open_pair(pair: Item, reading: Reading) -> OpenedPair[Item]:
    """Open both pictures of one pair.

    Raises:
        PimError: with the names of the pictures, if that is not possible or the two cannot be compared.
    """
    ((result,),) = (batch.pairs for batch in opened([Batch((pair,))], reading))
    if result.error is not None:
        raise result.error
    return result


Opened = Loaded | PimError
_Futures = tuple[Future[Opened], Future[Opened]]


@dataclass(frozen=True)
class _Pending(Generic[Item]):
    """A batch whose pictures are being opened."""

    batch: Batch[Item]
    futures: tuple[_Futures, ...]


def _pending(batches: Iterable[Batch[Item]], submit: Callable[[Picture], Future[Opened]]) -> Iterator[_Pending[Item]]:
    known: dict[Picture, Future[Opened]] = {}
    for batch in batches:
        both = [pair.both() for pair in batch.pairs]
        references: dict[Picture, Future[Opened]] = {}
        futures = []
        for reference, distorted in both:
            if reference not in references:
                references[reference] = known.get(reference) or submit(reference)
            futures.append((references[reference], submit(distorted)))
        known = references
        yield _Pending(batch, tuple(futures))


def _ahead(source: Iterator[_Pending[Item]], workers: int, resize: bool, budget: int) -> Iterator[OpenedBatch[Item]]:
    """The batches in order, with as many more under way as fit into the budget and keep all threads busy."""
    waiting: deque[_Pending[Item]] = deque()
    largest = budget  # bytes of a picture; nothing is known before one is open, so begin with a single batch
    while True:
        while not waiting or (
            len(waiting) < 2 * workers and largest * sum(2 * len(p.futures) for p in waiting) < budget
        ):
            following = next(source, None)
            if following is None:
                break
            waiting.append(following)
        if not waiting:
            return
        pending = waiting.popleft()
        pairs = tuple(
            _matched(pair, first.result(), second.result(), resize)
            for pair, (first, second) in zip(pending.batch.pairs, pending.futures, strict=True)
        )
        images = (image for pair in pairs for image in (pair.reference, pair.distorted) if isinstance(image, Loaded))
        largest = max((image.pixels.nbytes for image in images), default=largest)
        yield OpenedBatch(pairs, pending.batch.recurring)


def _matched(pair: Item, reference: Opened, distorted: Opened, resize: bool) -> OpenedPair[Item]:
    """What every metric gets to see of two opened pictures: here, and nowhere else, one is fitted to the other."""
    for image in (reference, distorted):
        if isinstance(image, PimError):
            return OpenedPair(pair, reference, distorted, image)
    assert isinstance(reference, Loaded)
    assert isinstance(distorted, Loaded)
    if reference.pixels.shape == distorted.pixels.shape:
        return OpenedPair(pair, reference, distorted)
    if resize:
        fitted = Loaded(_resized(distorted.pixels, *reference.size), distorted.decoding)
        return OpenedPair(pair, reference, fitted, resized_from=distorted.size)
    names = [picture.name for picture in pair.both()]
    sizes = ["{} x {}".format(*image.size) for image in (reference, distorted)]
    error = SizesDiffer(f"{names[1]} is {sizes[1]} pixels, its reference {names[0]} is {sizes[0]}")
    return OpenedPair(pair, reference, distorted, error)


def _resized(image: Tensor, width: int, height: int) -> Tensor:
    """Bicubic, antialiased, in sRGB as it is coded, kept within [0, 1]."""
    return F.interpolate(image[None], (height, width), mode="bicubic", antialias=True).clamp(0, 1)[0]


def _open(picture: Picture, options: OpenOptions) -> Opened:
    """The picture, or the error that names it: one that fails must not stop the others."""
    try:
        return load(picture, options)
    except PimError as error:
        return error
    except MemoryError:
        return InputError(f"{picture.name}: not enough memory to open it")
