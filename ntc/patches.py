"""What codecs learn from: windows of video frames and pictures, and minibatches of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntc.losses import PEAK
from ntc.settings import CodecTraining
from pim.datasets.footage import Source, is_video, pictures_in, settled
from pim.datasets.frames import LUMA, pictures_of, reduce_window
from pim.datasets.video import Tell, count_frames, video_frames
from pim.errors import DataError, InputError, UsageError

STREAM = 0  # of random numbers; others must not meet it


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """How windows are taken from a source."""

    size: int = 128  # side, pixels
    per_source: int = 120  # windows of each video or folder; of a folder of more pictures one of each
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
        return np.asarray(self.pixels[self.held_out[self.source] == held_out])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and origin; resumed training insists on the same patches."""
        digest = hashlib.sha256(json.dumps([asdict(self.settings), self.names]).encode())
        for array in (self.pixels, self.source, self.held_out):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def spread(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Up to `count` of the patches (P, 3, S, S), evenly spread over all."""
    return np.asarray(pixels[np.unique(np.linspace(0, len(pixels) - 1, count).astype(int))])


def generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step, so that a resumed run draws what the undisturbed one would have drawn."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, STREAM, step])))


def windows(pixels: NDArray[np.uint8], settings: CodecTraining, rng: np.random.Generator) -> Tensor:
    """Random windows of random patches, mirrored and turned, (batch, 3, window, window) in [0, 1]."""
    chosen = rng.choice(len(pixels), settings.batch, replace=False)
    room = pixels.shape[-1] - settings.window
    out = []
    for i, (top, left), flips in zip(
        chosen, rng.integers(0, room + 1, (len(chosen), 2)), rng.random((len(chosen), 2)) < 0.5, strict=True
    ):
        patch = pixels[i, :, top : top + settings.window, left : left + settings.window]
        patch = patch[..., ::-1] if flips[0] else patch
        out.append(patch.swapaxes(-1, -2) if flips[1] else patch)
    return torch.from_numpy(np.stack(out)).float() / PEAK


def collect(
    sources: list[Source],
    settings: PatchSettings,
    progress: Callable[[int, str], None] = lambda count, name: None,
    problem: Callable[[str], None] = lambda message: None,
) -> Patches:
    """Take windows of all sources.

    Args:
        sources: From `pim.datasets.footage.find_sources`.
        settings: How windows are taken.
        progress: Called after each source with 1 and its name.
        problem: Called with a line for a source or picture that is of no use; the others go on.

    Raises:
        DataError: if no source yields a window.
    """
    parts, used = [], []
    for source in sources:
        for note in source.notes:
            problem(note)
        for piece in _pieces(source):
            try:
                part = _windows_of(piece, settings, problem)
            except (InputError, DataError) as error:
                problem(str(error))
                continue
            if part:
                parts.append(np.stack(part))
                used.append(piece.source)
            else:
                problem(f"{source.path}: no usable window; all are flat or smaller than {settings.size} pixels")
        progress(1, source.name)
    if not parts:
        raise DataError(f"none of the sources has a usable window of {settings.size} pixels")
    used = settled(used)
    names, held_out = [source.name for source in used], [source.held_out for source in used]
    index = np.concatenate([np.full(len(part), i, np.int32) for i, part in enumerate(parts)])
    return Patches(np.concatenate(parts), index, tuple(names), np.array(held_out), settings)


@dataclass(frozen=True)
class _Piece:
    """What is held out, or not, as a whole: a video, or some of the pictures of a folder."""

    source: Source
    pictures: tuple[Path, ...]  # none: a video
    share: float  # of the windows of the source


def _pieces(source: Source) -> list[_Piece]:
    """A video as it is; a folder of pictures, which are sources of their own, as those to learn from and the others.

    Without a manifest, neighbours by name are held out: they may be frames of one scene.
    """
    pictures = () if is_video(source.path) else tuple(pictures_in(source.path))
    if len(pictures) < 2 or (source.draw is None and not source.splits):
        return [_Piece(source, pictures, 1.0)]
    count = max(1, round(source.share * len(pictures))) if source.share > 0 and not source.splits else 0
    first = int((source.draw or 0.0) * (len(pictures) - count + 1))
    block = {picture.name: True for picture in pictures[first : first + count]}
    held_out = tuple(p for p in pictures if (source.splits or block).get(p.name, False))
    kept = tuple(p for p in pictures if p not in set(held_out))
    learned = replace(source, held_out=False, draw=None, splits={})
    judged = replace(source, name=f"{source.name} (held out)", held_out=True, draw=None, splits={})
    pieces = [
        _Piece(part, chosen, len(chosen) / len(pictures)) for part, chosen in ((learned, kept), (judged, held_out))
    ]
    return [piece for piece in pieces if piece.pictures]


def _windows_of(piece: _Piece, settings: PatchSettings, tell: Tell) -> list[NDArray[np.uint8]]:
    """Windows (3, size, size) of frames of one source; flat ones are left out.

    Frames of a video are drawn; of pictures each has as many windows as the others, and one at least.
    """
    source = piece.source
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{source.name}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    total = max(1, round(settings.per_source * piece.share))
    if piece.pictures:
        count = len(piece.pictures)
        each, more = divmod(max(total, count), count)
        wanted = each + np.bincount(rng.choice(count, more, replace=False), minlength=count)
        frames = pictures_of(piece.pictures, tell)
    else:
        count = count_frames(source.path)
        if count < 1:
            raise DataError(f"{source.path} has no frames")
        wanted = np.bincount(rng.integers(0, count, total), minlength=count)
        frames = video_frames(source.path, tell)
    found = []
    for (frame, *_), windows in zip(frames, wanted, strict=False):
        if frame is None:
            continue
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
