"""What codecs learn from: windows of video frames and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pim.datasets.frames import LUMA, Source, count_frames, read_frames, reduce_window
from pim.errors import DataError, InputError, UsageError


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """How windows are taken from a source."""

    size: int = 128  # side, pixels
    per_source: int = 120  # windows of each video or folder
    smallest_reduction: float = 1.0  # a window of size * factor is reduced to size,
    largest_reduction: float = 4.0  # the factor being log-uniform between these two
    flat: float = 0.01  # deviation of luma below which a window shows nothing
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.size < 64 or self.size % 64 or self.per_source < 1:
            raise UsageError(
                f"patches need a size that is a multiple of 64, and per_source >= 1; got {self.size} and "
                f"{self.per_source}"
            )
        if not 1 <= self.smallest_reduction <= self.largest_reduction:
            raise UsageError(
                "patches need 1 <= smallest_reduction <= largest_reduction; got "
                f"{self.smallest_reduction} and {self.largest_reduction}"
            )


@dataclass(frozen=True)
class Patches:
    """Windows with where they come from."""

    pixels: NDArray[np.uint8]  # (P, 3, size, size), sRGB
    source: NDArray[np.int32]  # (P,), index into names
    names: tuple[str, ...]  # of the sources
    held_out: NDArray[np.bool_]  # per source: only for validation
    settings: PatchSettings

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, held_out: bool) -> NDArray[np.uint8]:
        """The pixels of sources that are held out, or of the others."""
        chosen: NDArray[np.uint8] = self.pixels[self.held_out[self.source] == held_out]
        return chosen

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and origin; resumed training insists on the same patches."""
        digest = hashlib.sha256(json.dumps([asdict(self.settings), self.names]).encode())
        for array in (self.pixels, self.source, self.held_out):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def spread(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Up to `count` of the patches (P, 3, S, S), evenly spread over all."""
    chosen: NDArray[np.uint8] = pixels[np.unique(np.linspace(0, len(pixels) - 1, count).astype(int))]
    return chosen


def collect(
    sources: list[Source],
    settings: PatchSettings,
    progress: Callable[[int, str], None] = lambda count, name: None,
    problem: Callable[[str], None] = lambda message: None,
) -> Patches:
    """Windows of all sources.

    Args:
        sources: From `pim.datasets.frames.find_sources`.
        settings: How windows are taken.
        progress: Called after each source with 1 and its name.
        problem: Called with a line for a source that is of no use; the others go on.

    Raises:
        DataError: if no source yields a window.
    """
    parts, names, held_out = [], [], []
    for source in sources:
        try:
            part = _windows_of(source, settings)
        except (InputError, DataError) as error:
            problem(str(error))
            part = []
        else:
            if not part:
                problem(f"{source.path}: no usable window; all are flat or smaller than {settings.size} pixels")
        progress(1, source.name)
        if part:
            parts.append(np.stack(part))
            names.append(source.name)
            held_out.append(source.held_out)
    if not parts:
        raise DataError(f"none of the sources has a usable window of {settings.size} pixels")
    index = np.concatenate([np.full(len(part), i, np.int32) for i, part in enumerate(parts)])
    return Patches(np.concatenate(parts), index, tuple(names), np.array(held_out), settings)


def _windows_of(source: Source, settings: PatchSettings) -> list[NDArray[np.uint8]]:
    """Windows (3, size, size) of random frames of one source; flat ones are left out."""
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{source.name}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    count = count_frames(source.path)
    if count < 1:
        raise DataError(f"{source.path} has no frames")
    wanted = np.bincount(rng.integers(0, count, settings.per_source), minlength=count)
    found = []
    for frame, windows in zip(read_frames(source.path), wanted, strict=False):
        height, width = frame.shape[:2]
        largest = min(settings.largest_reduction, min(height, width) / settings.size)
        for u_scale, u_top, u_left in rng.random((windows, 3)):
            if largest < 1:
                continue
            smallest = min(settings.smallest_reduction, largest)
            side = settings.size * smallest * (largest / smallest) ** u_scale
            left, top = u_left * (width - side), u_top * (height - side)
            window = reduce_window(frame, (left, top, left + side, top + side), settings.size)
            if (window @ LUMA / 255).std() >= settings.flat:
                found.append(np.ascontiguousarray(window.transpose(2, 0, 1)))
    return found
