"""Opening pairs of images ahead of their use, in bounded memory and in order."""

from __future__ import annotations

import io
import itertools
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pim.errors import InputError, PimError
from pim.scoring.pairs import STDIN, Pair

if TYPE_CHECKING:
    from torch import Tensor

    from pim.images.opener import OpenedImage, OpenOptions

AHEAD = 64_000_000  # pixels of images that wait decoded at most: 0.8 GB


@dataclass(frozen=True)
class Reading:
    """How images are opened."""

    opening: OpenOptions
    resize: bool = False  # scale distorted images to the size of the reference
    workers: int = 2  # threads that decode ahead


@dataclass(frozen=True)
class OpenedPair:
    """Two images of one size in memory."""

    pair: Pair
    reference: OpenedImage
    distorted: OpenedImage
    shared: bool = False  # the pair before or after has the same reference
    resized_from: tuple[int, int] | None = None  # width and height of the distorted image before


def opened(pairs: Sequence[Pair], reading: Reading) -> Iterator[OpenedPair | tuple[Pair, PimError]]:
    """Every pair with its images, or with what went wrong; a reference that follows itself is opened once."""
    with _Opener(reading.workers, reading.opening) as opener:
        waiting: deque[tuple[Pair, bool, Future[OpenedImage], Future[OpenedImage]]] = deque()
        source = _with_neighbours(pairs)
        last: tuple[str, Future[OpenedImage]] | None = None
        ahead = 1  # the size of the first pair is not known before it is open
        while True:
            for pair, shared in itertools.islice(source, max(0, ahead - len(waiting))):
                same = last is not None and last[0] == pair.reference_path
                first = last[1] if last is not None and same else opener.submit(pair.reference_path)
                last = (pair.reference_path, first)
                waiting.append((pair, shared, first, opener.submit(pair.distorted_path)))
            if not waiting:
                return
            pair, shared, first, second = waiting.popleft()
            try:
                item = _of_one_size(OpenedPair(pair, first.result(), second.result(), shared), reading.resize)
            except (PimError, MemoryError) as error:
                yield pair, error if isinstance(error, PimError) else named(error, pair)
                continue
            width, height = size(item.reference)
            ahead = max(1, min(2 * reading.workers, AHEAD // (2 * width * height)))
            yield item


def open_pair(pair: Pair, opening: OpenOptions, resize: bool = False) -> OpenedPair:
    """Both images of one pair, of one size.

    Raises:
        PimError: with the names of the files, if that is not possible.
    """
    result = next(opened([pair], Reading(opening, resize, workers=0)))
    if isinstance(result, tuple):
        raise result[1]
    return result


def tensor(image: OpenedImage, device: str) -> Tensor:
    """An opened image as a batch of one, (1, 3, H, W)."""
    import torch

    return torch.from_numpy(image.pixels).permute(2, 0, 1)[None].to(device)


def size(image: OpenedImage) -> tuple[int, int]:
    """Width and height in pixels."""
    height, width = image.pixels.shape[:2]
    return width, height


def named(error: Exception, pair: Pair) -> PimError:
    """An error, or a lack of memory, with the names of the files unless it has one."""
    text = str(error) if isinstance(error, PimError) else "not enough memory"
    if any(name in text for name in (pair.reference_path, pair.distorted_path)):
        return PimError(text)
    return PimError(f"{pair.distorted_path} against {pair.reference_path}: {text}")


def _of_one_size(item: OpenedPair, resize: bool) -> OpenedPair:
    target, before = size(item.reference), size(item.distorted)
    if before == target:
        return item
    if resize:
        return replace(item, distorted=_resized(item.distorted, *target), resized_from=before)
    raise InputError(
        f"{item.pair.distorted_path} is {before[0]} x {before[1]} pixels, {item.pair.reference_path} is "
        f"{target[0]} x {target[1]}; --resize scales the distorted image to the size of the reference"
    )


def _resized(image: OpenedImage, width: int, height: int) -> OpenedImage:
    """Bicubic, antialiased, in sRGB as it is coded, kept within [0, 1]."""
    import torch.nn.functional as F

    scaled = F.interpolate(tensor(image, "cpu"), (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    return replace(image, pixels=scaled[0].permute(1, 2, 0).contiguous().numpy())


def _with_neighbours(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, bool]]:
    """Each pair, and whether the one before or after it has the same reference."""
    for i, pair in enumerate(pairs):
        around = [*pairs[max(0, i - 1) : i], *pairs[i + 1 : i + 2]]
        yield pair, any(other.reference_path == pair.reference_path for other in around)


def _open(name: str, opening: OpenOptions) -> OpenedImage:
    from pim.images.opener import open_image

    if name != STDIN:
        return open_image(name, opening)
    content = sys.stdin.buffer.read()
    if not content:
        raise InputError("nothing came from stdin (-); an image was expected")
    return open_image(io.BytesIO(content), opening)


class _Opener:
    """Opens images in threads, or at once without workers."""

    def __init__(self, workers: int, opening: OpenOptions) -> None:
        self.opening = opening
        self.pool = ThreadPoolExecutor(workers) if workers else None

    def submit(self, name: str) -> Future[OpenedImage]:
        """Start to open an image."""
        if self.pool is not None:
            return self.pool.submit(_open, name, self.opening)
        future: Future[OpenedImage] = Future()
        try:
            future.set_result(_open(name, self.opening))
        except (PimError, MemoryError) as error:
            future.set_exception(error)
        return future

    def __enter__(self) -> _Opener:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
