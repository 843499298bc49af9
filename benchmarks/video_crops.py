"""Crops of video frames, for benchmarks that need photographs of something."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pim.datasets.frames import find_sources, frames_of
from pim.errors import InputError


def crops(paths: Sequence[Path], count: int, size: int, seed: int, *, gap: int = 20, held_out: bool = False) -> Tensor:
    """Random crops of video frames, (count, 3, size, size) in [0, 1]; every video in turn, one crop every `gap` frames.

    Videos are those of training, or those that are held out of it.
    """
    rng = np.random.default_rng(seed)
    sources = [s for s in find_sources(paths) if s.held_out == held_out]
    streams = [_crops_of(source.path, size, gap, rng) for source in sources]
    found: list[np.ndarray] = []
    while streams and len(found) < count:
        for stream in list(streams):
            crop = next(stream, None)
            if crop is None:
                streams.remove(stream)
            else:
                found.append(crop)
    if len(found) < count:
        raise SystemExit(f"the videos give only {len(found)} crops of {size} pixels")
    return torch.from_numpy(np.stack(found[:count])).permute(0, 3, 1, 2).float() / 255


def _crops_of(path: Path, size: int, gap: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    frames = enumerate(frame.pixels for frame in frames_of(path, lambda line: None) if frame.pixels is not None)
    while True:
        try:
            number, frame = next(frames)
        except StopIteration:
            return
        except InputError as error:  # HDR, or damaged: as training leaves it out
            print(f"left out: {error}", file=sys.stderr)
            return
        height, width = frame.shape[:2]
        if min(height, width) < size:
            return
        if number % gap == 0:
            top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
            yield frame[top : top + size, left : left + size]
