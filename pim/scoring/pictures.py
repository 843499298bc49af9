"""Pictures and pairs of them: named, opened ahead of their use by threads, in order and within a budget of memory.

Threads suffice: decoders of image files release the interpreter lock, and a killed process leaves no orphans.
"""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from pim.errors import InputError, PimError
from pim.images import opener
from pim.images.opener import Decoding, OpenedImage, OpenOptions, Pixels

BUDGET = 512 << 20  # bytes of decoded images that wait at most
ImageLike = str | os.PathLike[str] | BinaryIO | PIL.Image.Image | np.ndarray[Any, Any] | Tensor


class Picture(Hashable, Protocol):
    """Anything that can be opened as an image; equal pictures have equal pixels."""

    @property
    def name(self) -> str:
        """What messages and tables call it; two different pictures have different names."""

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open it; raises InputError if it cannot be used."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture in memory."""

    pixels: Tensor  # (3, H, W), sRGB in [0, 1]
    decoding: Decoding | None  # None: it came as an array or a tensor

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[1])


@dataclass(frozen=True)
class FilePicture:
    """An image file, whole or a part of its columns, as it is or resized."""

    path: str | Path
    columns: tuple[int, int | None] | None = None  # a slice: first, and one after the last or None for the end
    shorter_side: int | None = None  # resize to this many pixels, bilinear and antialiased, before columns are taken

    @property
    def name(self) -> str:
        """The path, and what was done to the image."""
        done = "" if self.shorter_side is None else f"@{self.shorter_side}px"
        return str(self.path) + done + ("" if self.columns is None else f"[{self.columns[0]}:{self.columns[1]}]")

    def stamp(self, verify: bool) -> str:
        """Size and time of change of the file, or SHA-256 of its content."""
        try:
            if verify:
                from pim.core.files import sha256_of

                return sha256_of(self.path)
            state = Path(self.path).stat()
        except OSError as error:
            return f"unreadable: {error.strerror}"
        return f"{state.st_size}/{state.st_mtime_ns}"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open the file and take the part; raises InputError if it cannot be used, or is too narrow."""
        image = opener.open_image(self.path, options)
        pixels = image.pixels if self.shorter_side is None else resized(image.pixels, self.shorter_side)
        if self.columns is not None:
            wide, pixels = pixels.shape[1], np.ascontiguousarray(pixels[:, slice(*self.columns)])
            if not pixels.size:
                raise InputError(f"{self.path} is {wide} pixels wide; it has no columns {self.columns}")
        return replace(image, pixels=pixels)


@dataclass(frozen=True)
class StandardInput:
    """The image that is written to stdin; it can be opened once."""

    name: str = "-"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Read stdin to its end; raises InputError if it is empty or no image."""
        content = sys.stdin.buffer.read()
        if not content:
            raise InputError("nothing came from stdin (-); an image was expected")
        return opener.open_image(io.BytesIO(content), options)


@dataclass(frozen=True, eq=False)
class Given:
    """An image that the caller holds: an array, a tensor, a Pillow image or an open file."""

    image: Any
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and other.image is self.image

    def __hash__(self) -> int:
        return id(self.image)

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open a Pillow image or a file; raises InputError if it is none, or cannot be used."""
        return opener.open_image(self.image, options)

    def as_tensor(self) -> Tensor | None:
        """View arrays and tensors as (3, H, W), ranges unchecked; None for others; raises InputError for bad shapes."""
        if isinstance(self.image, np.ndarray):
            from pim.images.arrays import pixels_of

            return torch.from_numpy(pixels_of(self.image, self.name)).permute(2, 0, 1)
        if not isinstance(self.image, Tensor):
            return None
        if self.image.ndim == 4 and len(self.image) != 1:
            raise InputError(f"{self.name} holds {len(self.image)} images; one is expected, a metric takes batches")
        return self.image[0] if self.image.ndim == 4 else self.image


def as_picture(image: ImageLike, name: str) -> Picture:
    """Make a picture of an image in any form that `pim.distance` takes; `name` is for those without one."""
    if isinstance(image, str | os.PathLike):
        return FilePicture(os.fsdecode(image))
    return Given(image, name)


def load(picture: Picture, options: OpenOptions) -> Loaded:
    """Bring a picture into memory, that of its decoder if it has one; raises InputError if it cannot be used."""
    if isinstance(picture, Given) and (held := picture.as_tensor()) is not None:
        return Loaded(held, None)
    image = picture.open(options)
    height, width = image.pixels.shape[:2]
    return Loaded(torch.from_numpy(image.pixels).permute(2, 0, 1), replace(image.decoding, width=width, height=height))


def resized(pixels: Pixels, shorter_side: int) -> Pixels:
    """An image (H, W, 3) scaled so that its shorter side has that many pixels; unchanged if it has."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short == shorter_side:
        return pixels
    size = (round(height * shorter_side / short), round(width * shorter_side / short))
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    scaled = F.interpolate(batch, size, mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).contiguous().numpy()


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
    """Open the pictures of batches, in order; a reference that the batch before has too is opened once.

    At least one batch is opened ahead, more while their pictures have fewer bytes than the budget.
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
    """Open both pictures of a pair; raises PimError, with their names, if they cannot be opened or compared."""
    ((result,),) = (batch.pairs for batch in opened([Batch((pair,))], reading))
    if result.error is not None:
        raise result.error
    return result


Opened = Loaded | PimError
_Futures = tuple[Future[Opened], Future[Opened]]


def _pending(
    batches: Iterable[Batch[Item]], submit: Callable[[Picture], Future[Opened]]
) -> Iterator[tuple[Batch[Item], list[_Futures]]]:
    """Batches whose pictures are being opened."""
    known: dict[Picture, Future[Opened]] = {}
    for batch in batches:
        references: dict[Picture, Future[Opened]] = {}
        futures = []
        for reference, distorted in (pair.both() for pair in batch.pairs):
            if reference not in references:
                references[reference] = known.get(reference) or submit(reference)
            futures.append((references[reference], submit(distorted)))
        known = references
        yield batch, futures


def _ahead(
    source: Iterator[tuple[Batch[Item], list[_Futures]]], workers: int, resize: bool, budget: int
) -> Iterator[OpenedBatch[Item]]:
    """The batches in order, with as many more under way as fit into the budget and keep all threads busy."""
    waiting: deque[tuple[Batch[Item], list[_Futures]]] = deque()
    largest = budget  # bytes of a picture; nothing is known before one is open, so begin with a single batch
    while True:
        while not waiting or (
            len(waiting) < 2 * workers and largest * sum(2 * len(futures) for _, futures in waiting) < budget
        ):
            following = next(source, None)
            if following is None:
                break
            waiting.append(following)
        if not waiting:
            return
        batch, both = waiting.popleft()
        pairs = tuple(
            _matched(pair, first.result(), second.result(), resize)
            for pair, (first, second) in zip(batch.pairs, both, strict=True)
        )
        images = (image for pair in pairs for image in (pair.reference, pair.distorted) if isinstance(image, Loaded))
        largest = max((image.pixels.nbytes for image in images), default=largest)
        yield OpenedBatch(pairs, batch.recurring)


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
        size = reference.pixels.shape[1:]  # in sRGB as it is coded, kept within [0, 1]
        fitted = F.interpolate(distorted.pixels[None], size, mode="bicubic", antialias=True).clamp(0, 1)[0]
        return OpenedPair(pair, reference, Loaded(fitted, distorted.decoding), resized_from=distorted.size)
    names = [picture.name for picture in pair.both()]
    sizes = ["{} x {}".format(*image.size) for image in (reference, distorted)]
    error = SizesDiffer(f"{names[1]} is {sizes[1]} pixels, its reference {names[0]} is {sizes[0]}")
    return OpenedPair(pair, reference, distorted, error)


def _open(picture: Picture, options: OpenOptions) -> Opened:
    """The picture, or the error that names it: one that fails must not stop the others."""
    try:
        return load(picture, options)
    except PimError as error:
        return error
    except MemoryError:
        return InputError(f"{picture.name}: not enough memory to open it")
