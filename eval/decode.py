"""Pictures opened ahead of their use, by threads, within a budget of memory.

Threads suffice: decoders of image files release the interpreter lock, and a killed process leaves no orphans.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pim.errors import PimError
from pim.eval.pictures import Picture, Places
from pim.eval.waves import Wave
from pim.images.opener import OpenedImage, OpenOptions

BUDGET = 512 << 20  # bytes of decoded images that wait at most

Opened = OpenedImage | PimError


@dataclass(frozen=True)
class DecodedWave:
    """A wave with its images, or with what kept them from opening."""

    wave: Wave
    references: tuple[Opened, ...]
    distorted: tuple[Opened, ...]


def decoded(
    waves: Iterable[Wave], pairs: Places, options: OpenOptions, workers: int, budget: int = BUDGET
) -> Generator[DecodedWave]:
    """Open the pictures of every wave, the references of a block once.

    Args:
        waves: In the order of use; those of a block follow each other.
        pairs: The plan that the waves point into.
        options: How to open.
        workers: Threads; 0 opens each wave when it is asked for.
        budget: Bytes of images that are opened ahead; at least one wave always is.
    """
    if workers == 0:
        yield from _ahead(_pending(waves, pairs, lambda picture: _at_once(picture, options)), 0)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        yield from _ahead(_pending(waves, pairs, lambda picture: pool.submit(_open, picture, options)), budget)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Pending:
    """A wave whose pictures are being opened."""

    wave: Wave
    references: tuple[Future[Opened], ...]
    distorted: tuple[Future[Opened], ...]

    def result(self) -> DecodedWave:
        references, distorted = (tuple(f.result() for f in side) for side in (self.references, self.distorted))
        return DecodedWave(self.wave, references, distorted)


def _pending(waves: Iterable[Wave], pairs: Places, submit: Callable[[Picture], Future[Opened]]) -> Iterator[_Pending]:
    block, known = -1, dict[Picture, Future[Opened]]()
    for wave in waves:
        if wave.block != block:
            block, known = wave.block, {}
        chosen = [pairs[place] for place in wave.pairs]
        for pair in chosen:
            if pair.reference not in known:
                known[pair.reference] = submit(pair.reference)
        references = tuple(known[pair.reference] for pair in chosen)
        yield _Pending(wave, references, tuple(submit(pair.distorted) for pair in chosen))


def _ahead(source: Iterator[_Pending], budget: int) -> Iterator[DecodedWave]:
    """The waves in order, with as many more under way as fit into the budget."""
    waiting: deque[_Pending] = deque()
    largest = budget  # bytes of an image; nothing is known before one is open, so begin with a single wave
    while True:
        while not waiting or largest * sum(2 * len(p.distorted) for p in waiting) < budget:
            following = next(source, None)
            if following is None:
                break
            waiting.append(following)
        if not waiting:
            return
        ready = waiting.popleft().result()
        sizes = [i.pixels.nbytes for i in (*ready.references, *ready.distorted) if isinstance(i, OpenedImage)]
        largest = max(sizes, default=largest)
        yield ready


def _at_once(picture: Picture, options: OpenOptions) -> Future[Opened]:
    future: Future[Opened] = Future()
    future.set_result(_open(picture, options))
    return future


def _open(picture: Picture, options: OpenOptions) -> Opened:
    """The image, or the error that names the picture: a failed picture must not stop the others."""
    try:
        return picture.open(options)
    except PimError as error:
        return error
    except MemoryError:
        return PimError(f"{picture.name}: not enough memory to open it")
