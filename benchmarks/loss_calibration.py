"""How much each metric weighs beside the MSE as a loss: the table of `pim/calibration.py`.

    python benchmarks/loss_calibration.py VIDEOS

Sample images are 64 crops from the videos that are not held out; distorted ones come from a coarse cosine
transform (`pim.calibration.coarse`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from timing import report, setting
from torch import Tensor

import pim
from pim.calibration import check_usable, coarse, measure
from pim.datasets.frames import find_sources, read_frames
from pim.errors import PimError

SIZE = 176  # pixels; MS-SSIM needs 161
GAP = 40  # frames between two crops of a video


def crops(paths: list[Path], count: int, size: int, seed: int, *, held_out: bool = False) -> Tensor:
    """Random crops of video frames, one frame in 40, (count, 3, size, size) in [0, 1]; every video in turn."""
    rng = np.random.default_rng(seed)
    sources = [s for s in find_sources(paths) if s.held_out == held_out]
    streams = [_crops_of(source.path, size, rng) for source in sources]
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


def _crops_of(path: Path, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for number, frame in enumerate(read_frames(path)):
        height, width = frame.shape[:2]
        if min(height, width) < size:
            return
        if number % GAP == 0:
            top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
            yield frame[top : top + size, left : left + size]


def main() -> None:
    """Cut, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--metric", action="append", help="may be repeated; by default every shipped one")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    reference = crops(asked.videos, asked.count, SIZE, asked.seed)
    distorted = coarse(reference, asked.seed)
    psnr = -10 * (reference - distorted).square().mean((1, 2, 3)).log10().mean().item()
    rows = []
    for name in asked.metric or [status.info.name for status in pim.metrics() if status.available]:
        metric = pim.load(name)
        try:
            check_usable(metric)
        except PimError:
            continue  # such as PSNR
        found = measure(metric, reference, distorted)
        rows.append({"metric": name, **found._asdict()})
    report(rows, setting(crops=f"{asked.count} of {SIZE}x{SIZE}", seed=asked.seed, psnr=f"{psnr:.2f}"), asked.output)


if __name__ == "__main__":
    main()
