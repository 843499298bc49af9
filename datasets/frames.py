"""Pairs of neighbouring video frames, cut into crops: what PIM learns from.

A source is a video file or a folder of frames. From each source come crops of pairs (t, t + k): the
same window of both frames, reduced by a random factor. Pairs across a cut, pairs of (nearly) equal
frames and flat crops are left out. Which crops come out depends on the source, the settings and
the seed alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pim.core.files import written_whole
from pim.datasets.crops import Crops, CropSettings
from pim.datasets.footage import NAMED, Source, breaks, find_sources, is_video, pictures_in, settled
from pim.datasets.video import Frame, Pixels, Tell, count_frames, video_frames
from pim.errors import DataError, InputError, PimError

__all__ = ["Source", "collect", "find_sources", "frames_of"]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def collect(
    sources: list[Source],
    settings: CropSettings,
    cache: Path,
    progress: Callable[[int, str], None] = lambda count, name: None,
    problem: Callable[[str], None] = lambda message: None,
) -> Crops:
    """The crops of all sources; each source is decoded once and its crops are kept in `cache`.

    Args:
        sources: From `find_sources`.
        settings: How crops are taken.
        cache: Folder for the crops of each source; an interrupted call continues there. One that cannot be used is
            told of and done without.
        progress: Called after each source with 1 and its name.
        problem: Called with a line for what cannot be used, be it a source or a frame; the others go on.

    Raises:
        DataError: if no source yields a crop.
    """
    parts, used = [], []
    keep = _Cache(cache, problem)
    for source in sources:
        for note in source.notes:
            problem(note)
        try:
            part = keep.get(source, settings)
        except (InputError, DataError) as error:
            problem(str(error))
            progress(1, source.name)
            continue
        progress(1, source.name)
        if len(part["pairs"]):
            parts.append(part)
            used.append(source)
        else:
            why = f"cuts, still pictures, flat windows and frames of less than {settings.size} pixels are left out"
            problem(f"{source.path}: no usable pair of frames ({why})")
    if not parts:
        raise DataError(
            "none of the sources has a usable pair of frames; PIM needs videos in which something moves, "
            f"at least {settings.size} pixels wide and high"
        )
    used = settled(used)
    names, held_out = [source.name for source in used], [source.held_out for source in used]
    index = np.concatenate([np.full(len(p["pairs"]), i, np.int32) for i, p in enumerate(parts)])
    pairs, frame, gap = (np.concatenate([p[key] for p in parts]) for key in ("pairs", "frame", "gap"))
    return Crops(pairs, index, frame, gap, tuple(names), np.array(held_out), settings)


def frames_of(path: Path, tell: Tell) -> Iterator[Frame]:
    """The frames of a source, with the places of those that cannot be used.

    Args:
        path: A video file, a folder of pictures, taken in natural order of their names, or one picture.
        tell: Called with a line about everything that is left out or changed.

    Raises:
        InputError: if none can be decoded.
    """
    return video_frames(path, tell) if is_video(path) else pictures_of(pictures_in(path), tell)


def pictures_of(files: Sequence[Path], tell: Tell) -> Iterator[Frame]:
    """Give pictures as frames, in their order; tells of the first that cannot be used, and how many more there are.

    Raises:
        InputError: if there is none that can be used.
    """
    from pim.images.opener import open_image

    failures: list[str] = []
    for file, apart in zip(files, breaks(files), strict=True):
        try:
            pixels = (open_image(file).pixels * 255 + 0.5).astype(np.uint8)
        except InputError as error:
            # The opener advises options of other commands.
            failures.append("; ".join(part for part in str(error).split("; ") if "--" not in part))
            yield Frame(None)
            continue
        yield Frame(pixels, not apart)
    if failures and len(failures) == len(files):
        raise InputError(failures[0] + (f"; and {len(failures) - 1} more" if len(failures) > 1 else ""))
    for failure in failures[:NAMED]:
        tell(failure)
    if len(failures) > NAMED:
        tell(f"{files[0].parent}: {len(failures) - NAMED} more pictures cannot be used")


class _Cache:
    """Crops of sources that were cut before, where there is a folder to keep them in."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self._folder, self._tell, self._told = folder, tell, False

    def get(self, source: Source, settings: CropSettings) -> dict[str, NDArray[np.generic]]:
        """The crops of a source, kept or cut.

        Raises:
            InputError: if no frame can be decoded.
            DataError: if there are too few, or a manifest divides a clip.
        """
        if source.splits and len(set(source.splits.values())) > 1:
            raise DataError(f"{source.path}: the manifest divides the frames of one clip; hold out the whole folder")
        file = self._folder / f"{_part_key(source, settings)}.crops.npz"
        try:
            with file.open("rb") as kept, np.load(kept, allow_pickle=False) as z:
                return {key: z[key] for key in ("pairs", "frame", "gap")}
        except (OSError, KeyError, ValueError, BadZipFile):
            part = _crops_of(source, settings, self._tell)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with written_whole(file) as stream:
                np.savez(stream, pairs=part["pairs"], frame=part["frame"], gap=part["gap"])
        except (OSError, PimError) as error:
            if not self._told:
                self._tell(f"crops cannot be kept in {self._folder} ({error}); PIM_CACHE names another folder")
            self._told = True
        return part


def _part_key(source: Source, settings: CropSettings) -> str:
    files = [source.path] if is_video(source.path) else pictures_in(source.path)
    state = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    text = json.dumps([source.name, state, asdict(settings)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _crops_of(source: Source, settings: CropSettings, tell: Tell) -> dict[str, NDArray[np.generic]]:
    """Crops of one source: planned first, then taken while the frames stream by."""
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{source.name}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    count = count_frames(source.path) if is_video(source.path) else len(pictures_in(source.path))
    if count <= settings.largest_gap:
        raise DataError(f"{source.path}: {count} frames are too few; {settings.largest_gap + 1} or more are needed")
    wanted: dict[int, list[int]] = {}
    for _ in range(settings.per_source):
        gap = int(rng.integers(1, settings.largest_gap + 1))
        wanted.setdefault(int(rng.integers(gap, count)), []).append(gap)  # taken when the later frame arrives
    pairs, frames, gaps = [], [], []
    recent: deque[Pixels] = deque(maxlen=settings.largest_gap + 1)
    for t, (frame, follows, *_) in enumerate(frames_of(source.path, tell)):
        if not follows or frame is None or (recent and recent[-1].shape != frame.shape):
            recent.clear()  # what follows a gap, or has another size, starts anew
        if frame is None:
            continue
        recent.append(frame)
        for gap in wanted.get(t, []):
            if gap >= len(recent):
                continue
            crop = _crop(recent[-1 - gap], frame, settings, rng)
            if crop is not None:
                pairs.append(crop)
                frames.append(t - gap)
                gaps.append(gap)
    size = settings.size
    stacked = np.stack(pairs) if pairs else np.zeros((0, 2, 3, size, size), np.uint8)
    return {"pairs": stacked, "frame": np.array(frames, np.int32), "gap": np.array(gaps, np.int32)}


def _crop(first: Pixels, second: Pixels, settings: CropSettings, rng: np.random.Generator) -> Pixels | None:
    """The same random window of two frames, (2, 3, size, size), or None if it is of no use."""
    height, width = first.shape[:2]
    largest = min(settings.largest_reduction, min(height, width) / settings.size)
    tries = [(rng.random(), rng.random(), rng.random(), rng.random() < 0.5) for _ in range(4)]
    if largest < 1 or not settings.still <= _difference(first[::4, ::4], second[::4, ::4]) <= settings.cut:
        return None
    for u_scale, u_top, u_left, swap in tries:
        side = settings.size * largest**u_scale
        left, top = u_left * (width - side), u_top * (height - side)
        box = (left, top, left + side, top + side)
        pair = [reduce_window(frame, box, settings.size) for frame in (first, second)]
        luma = pair[0] @ LUMA / 255
        if luma.std() >= settings.flat and settings.still <= _difference(*pair) <= settings.cut:
            ordered = pair[::-1] if swap else pair
            # NumPy would keep the order of the channels in memory, and sums over it would round otherwise.
            return np.ascontiguousarray(np.stack([p.transpose(2, 0, 1) for p in ordered]))
    return None


def reduce_window(frame: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """The window (left, top, right, bottom) of a frame, resampled to (size, size, 3)."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS, box=box))


def _difference(first: Pixels, second: Pixels) -> float:
    return float(np.abs((first.astype(np.float32) - second) @ LUMA).mean() / 255)
