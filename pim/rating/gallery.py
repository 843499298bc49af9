"""Pictures as raters see them: opened as metrics open them, sent as 8-bit sRGB, pixel for pixel."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pim.core.files import sha256_of
from pim.errors import DataError, InputError, PimError, os_errors_as
from pim.images.opener import OpenOptions, open_image

Pixels = NDArray[np.float32]

KEPT = 384 << 20  # bytes of encoded pictures that are kept in memory
BLOCKS = 16  # of a coarse picture along its shorter side
SMALLEST_BLOCK = 8  # pixels
CLEAR = 0.1  # a coarse picture must differ from its original by that much somewhere, values being in [0, 1]
NAMED = 20  # problems that an error names


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a picture file."""

    sha256: str  # of the file
    stamp: str  # size and time of the file, to tell without reading that it is as it was
    width: int
    height: int
    clear: bool | None  # whether its coarse version can be told from it at a glance; None: not looked at


def stamp_of(path: Path) -> str:
    """Size and time of last change of a file.

    Raises:
        InputError: if it is not there.
    """
    with os_errors_as(InputError, f"{path} cannot be read"):
        status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def survey(
    paths: Mapping[str, Path],
    references: Collection[str],
    options: OpenOptions,
    known: Mapping[str, Facts],
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, Facts]:
    """Open every picture once, by name, except those that are known from an earlier survey and have not changed.

    Catch trials may be made of `references`. `progress` is called with 1 after every picture.

    Raises:
        DataError: that names the pictures which cannot be shown, and why.
    """
    found: dict[str, Facts] = {}
    problems = []
    for name, path in sorted(paths.items()):
        try:
            stamp, is_reference, before = stamp_of(path), name in references, known.get(name)
            if before is not None and before.stamp == stamp and not (is_reference and before.clear is None):
                found[name] = before
            else:
                found[name] = _look(path, stamp, is_reference, options)
        except InputError as error:
            problems.append(str(error))
        progress(1)
    if problems:
        rest = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise DataError(f"pictures cannot be shown ({len(problems)}): {'; '.join(problems[:NAMED])}{rest}")
    return found


def _look(path: Path, stamp: str, is_reference: bool, options: OpenOptions) -> Facts:
    opened = open_image(path, options)
    pixels, decoding = opened.pixels, opened.decoding
    clear = float(np.abs(coarse(pixels) - pixels).max()) >= CLEAR if is_reference else None
    return Facts(sha256_of(path), stamp, decoding.width, decoding.height, clear)


def coarse(pixels: Pixels) -> Pixels:
    """Make a version that nobody takes for the original, (H, W, 3) in [0, 1].

    It is a mosaic of at most 16 blocks along the shorter side, at half the contrast.
    """
    height, width = pixels.shape[:2]
    block = max(SMALLEST_BLOCK, -(-min(height, width) // BLOCKS))
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0, dtype=np.float64), columns, axis=1)
    sizes = np.diff([*rows, height])[:, None] * np.diff([*columns, width])
    means = (sums / sizes[..., None] + pixels.mean(axis=(0, 1), dtype=np.float64)) / 2
    mosaic: Pixels = means.astype(np.float32).repeat(block, axis=0)[:height].repeat(block, axis=1)[:, :width]
    return mosaic


def as_png(pixels: Pixels) -> bytes:
    """Write (H, W, 3) in [0, 1], to the nearest of 256 levels, as a PNG that says it is sRGB and nothing else."""
    stream, chunks = io.BytesIO(), PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\0")
    samples = (pixels * np.float32(255)).round().astype(np.uint8)
    Image.fromarray(samples).save(stream, "PNG", compress_level=1, pnginfo=chunks)
    return stream.getvalue()


class _NamedBytes(io.BytesIO):
    """The content of a file with its name, which tells some formats and begins messages."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(content)
        self.name = str(path)


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that may be asked for."""

    path: Path
    sha256: str
    coarse: bool


class Gallery:
    """Encoded pictures by their token; nothing else can be read through it."""

    def __init__(self, pictures: Mapping[str, Shown], options: OpenOptions, kept: int = KEPT) -> None:
        self._pictures, self._options, self._limit = dict(pictures), options, kept
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._turn = threading.Lock()  # one picture at a time: a large one takes much memory

    def png(self, token: str) -> bytes | None:
        """The picture as a PNG; None if there is no such picture.

        Raises:
            PimError: if its file is no longer what it was.
        """
        shown = self._pictures.get(token)
        if shown is None:
            return None
        with self._turn:
            if token in self._kept:
                self._kept.move_to_end(token)
                return self._kept[token]
            encoded = self._encode(shown)
            self._keep(token, encoded)
            return encoded

    def _encode(self, shown: Shown) -> bytes:
        with os_errors_as(PimError, f"{shown.path} can no longer be read"):
            content = shown.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != shown.sha256:
            raise PimError(f"{shown.path} has changed since the ratings began; put the old file back")
        pixels = open_image(_NamedBytes(content, shown.path), self._options).pixels
        return as_png(coarse(pixels) if shown.coarse else pixels)

    def _keep(self, token: str, encoded: bytes) -> None:
        self._kept[token] = encoded
        self._bytes += len(encoded)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])


def sizes_differ(triplets: Iterable[tuple[str, str, str]], facts: Mapping[str, Facts]) -> list[str]:
    """The triplets (reference, a, b) whose pictures have not all one size, in words."""
    sizes = {name: f"{about.width} x {about.height}" for name, about in facts.items()}
    odd = [names for names in triplets if len({sizes[name] for name in names}) > 1]
    return [", ".join(f"{name} ({sizes[name]})" for name in names) for names in odd]
