"""Pairs of neighbouring video frames, cut into crops: what PIM learns from.

A source is a video file or a folder of frames. From each source come crops of pairs (t, t + k): the
same window of both frames, reduced by a random factor. Pairs across a cut, pairs of (nearly) equal
frames and flat crops are left out. Which crops come out depends on the source, the settings and
the seed alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pim.core.files import written_whole
from pim.datasets.crops import Crops, CropSettings
from pim.errors import DataError, InputError

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv"}
FRAME_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Source:
    """One video file or folder of frames."""

    path: Path
    name: str
    held_out: bool


def find_sources(paths: Iterable[str | Path], held_out_share: float = 0.1, seed: int = 0) -> list[Source]:
    """The videos and frame folders among files and folders, sorted by name.

    A folder with a `manifest.csv` that has the columns `file` and `split` decides itself which of its
    videos are held out (split `valid`); otherwise a share of the sources is, chosen by a hash of their
    names, so that adding a video does not move the others.

    Raises:
        DataError: if a path does not exist or holds neither videos nor frames.
    """
    found: dict[str, Source] = {}
    for given in map(Path, paths):
        for path, split in _expand(given):
            name = path.name if path.name not in found else str(path)
            held_out = split == "valid" if split else _share_of(name, seed) < held_out_share
            found[name] = Source(path, name, held_out)
    sources = [found[name] for name in sorted(found)]
    if len(sources) > 1 and held_out_share > 0 and not any(s.held_out for s in sources):
        last = min(sources, key=lambda s: _share_of(s.name, seed))
        sources = [Source(s.path, s.name, s is last) for s in sources]
    return sources


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
        cache: Folder for the crops of each source; an interrupted call continues there.
        progress: Called after each source with 1 and its name.
        problem: Called with a line for a source that cannot be decoded; the others go on.

    Raises:
        DataError: if no source yields a crop, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot keep crops in {cache}: {error.strerror}; PIM_CACHE names another folder") from error
    parts, names, held_out = [], [], []
    for source in sources:
        part_file = cache / f"{_part_key(source, settings)}.crops.npz"
        try:
            part = _read_part(part_file)
        except (OSError, KeyError, ValueError, BadZipFile):
            try:
                part = _crops_of(source, settings)
            except (InputError, DataError) as error:
                problem(str(error))
                progress(1, source.name)
                continue
            with written_whole(part_file) as stream:
                np.savez(stream, pairs=part["pairs"], frame=part["frame"], gap=part["gap"])
        progress(1, source.name)
        if len(part["pairs"]):
            parts.append(part)
            names.append(source.name)
            held_out.append(source.held_out)
        else:
            why = f"cuts, still pictures, flat windows and frames of less than {settings.size} pixels are left out"
            problem(f"{source.path}: no usable pair of frames ({why})")
    if not parts:
        raise DataError(
            "none of the sources has a usable pair of frames; PIM needs videos in which something moves, "
            f"at least {settings.size} pixels wide and high"
        )
    index = np.concatenate([np.full(len(p["pairs"]), i, np.int32) for i, p in enumerate(parts)])
    pairs, frame, gap = (np.concatenate([p[key] for p in parts]) for key in ("pairs", "frame", "gap"))
    return Crops(pairs, index, frame, gap, tuple(names), np.array(held_out), settings)


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video file, of a folder in natural order of names, or of one picture: (H, W, 3) sRGB.

    Raises:
        InputError: if a frame cannot be decoded.
    """
    yield from _video_frames(path) if _is_video(path) else _pictures(_frame_files(path))


def _expand(path: Path) -> list[tuple[Path, str]]:
    """Sources at a path, each with its split from a manifest or ""."""
    if path.is_file():
        return [(path, "")]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; expected a video, a folder of videos or a folder of frames")
    entries = sorted(path.iterdir())
    videos = [p for p in entries if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()]
    if videos:
        splits = _manifest_splits(path / "manifest.csv")
        return [(p, splits.get(p.name, "")) for p in videos]
    if any(p.suffix.lower() in FRAME_SUFFIXES for p in entries):
        return [(path, "")]
    folders = [p for p in entries if p.is_dir()]
    if nested := [source for folder in folders for source in _expand(folder)]:
        return nested
    raise DataError(f"{path} holds neither videos ({', '.join(sorted(VIDEO_SUFFIXES))}) nor numbered frames")


def _manifest_splits(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not {"file", "split"} <= set(table.columns):
        return {}
    if wrong := sorted(set(table["split"]) - {"train", "valid", ""}):
        raise DataError(f"{path}: column split must be train or valid; got {', '.join(wrong)}")
    return dict(zip(table["file"], table["split"], strict=True))


def _share_of(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _part_key(source: Source, settings: CropSettings) -> str:
    files = sorted(source.path.iterdir()) if source.path.is_dir() else [source.path]
    state = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    text = json.dumps([source.name, state, asdict(settings)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_part(path: Path) -> dict[str, NDArray[np.generic]]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as z:
        return {key: z[key] for key in ("pairs", "frame", "gap")}


def _crops_of(source: Source, settings: CropSettings) -> dict[str, NDArray[np.generic]]:
    """Crops of one source: planned first, then taken while the frames stream by."""
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}/{source.name}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    count = count_frames(source.path)
    if count <= settings.largest_gap:
        raise DataError(f"{source.path}: {count} frames are too few; {settings.largest_gap + 1} or more are needed")
    wanted: dict[int, list[int]] = {}
    for _ in range(settings.per_source):
        gap = int(rng.integers(1, settings.largest_gap + 1))
        wanted.setdefault(int(rng.integers(gap, count)), []).append(gap)  # taken when the later frame arrives
    pairs, frames, gaps = [], [], []
    recent: deque[NDArray[np.uint8]] = deque(maxlen=settings.largest_gap + 1)
    for t, frame in enumerate(read_frames(source.path)):
        if recent and recent[-1].shape != frame.shape:
            recent.clear()  # a stream that changes its size starts anew
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


def _crop(
    first: NDArray[np.uint8], second: NDArray[np.uint8], settings: CropSettings, rng: np.random.Generator
) -> NDArray[np.uint8] | None:
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


def reduce_window(frame: NDArray[np.uint8], box: tuple[float, float, float, float], size: int) -> NDArray[np.uint8]:
    """The window (left, top, right, bottom) of a frame, resampled to (size, size, 3)."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS, box=box))


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.abs((first.astype(np.float32) - second) @ LUMA).mean() / 255)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key under which frame 10 comes after frame 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _is_video(path: Path) -> bool:
    return not path.is_dir() and path.suffix.lower() not in FRAME_SUFFIXES


def _frame_files(path: Path) -> list[Path]:
    """The pictures in a folder in natural order, or the one picture at a path."""
    if not path.is_dir():
        return [path]
    return sorted((p for p in path.iterdir() if p.suffix.lower() in FRAME_SUFFIXES), key=_natural)


def count_frames(path: Path) -> int:
    """How many frames `read_frames` gives; videos are not decoded for that.

    Raises:
        InputError: if it cannot be read.
    """
    if not _is_video(path):
        return len(_frame_files(path))
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream")
            stream = container.streams.video[0]
            # The count in the header can be missing or wrong; packets are counted without decoding.
            return sum(1 for packet in container.demux(stream) if packet.size)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a video: {error}") from error


def _video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    av = _av()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be decoded: {error}") from error


def _pictures(files: list[Path]) -> Iterator[NDArray[np.uint8]]:
    from pim.images.opener import open_image

    for file in files:
        yield (open_image(file).pixels * 255 + 0.5).astype(np.uint8)


def _av() -> ModuleType:
    """PyAV, which is needed only where videos are."""
    try:
        import av
    except ImportError as error:
        raise DataError(
            "reading videos needs PyAV: pip install 'pim-metric[video]'; packed crops need no decoder"
        ) from error
    return av
