"""Peak memory of the whole way from two image files to one value, each metric in a process of its own.

    python benchmarks/memory.py --output memory.csv

The first row is a pair of small images: what Python and torch need before anything large is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from timing import report, setting

SMALL = (256, 192)
MIB = 1 << (20 if sys.platform == "darwin" else 10)  # ru_maxrss counts bytes there, KiB elsewhere


def write_pair(folder: Path, width: int, height: int) -> list[str]:
    """Two PNG files of that size: waves, and waves with noise."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = 128 + 60 * np.sin(columns / 37) + 40 * np.cos(rows / 23)
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    paths = []
    for name, gray in (("reference", waves), ("distorted", waves + noise)):
        paths.append(str(folder / f"{name}_{width}x{height}.png"))
        pixels = np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(pixels).save(paths[-1], compress_level=1)
    return paths


def peak_of_score(paths: list[str], metric: str, threads: int) -> tuple[float, float]:
    """Peak resident MiB and seconds of `pim score` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "pim", "score", *paths, "--metric", metric, "--quiet"]
    start = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"pim score --metric {metric} ended with {child.returncode}")
    return used.ru_maxrss / MIB, time.perf_counter() - start


def main() -> None:
    """Write the images, score them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", action="append", help="may be repeated; by default pim and pim-1")
    parser.add_argument("--size", default="6000x4000", help="width and height")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (SMALL, (width, height)):
            paths = write_pair(Path(folder), *size)
            for metric in asked.metric or ["pim", "pim-1"]:
                mib, seconds = peak_of_score(paths, metric, asked.threads)
                megapixels = size[0] * size[1] / 1e6
                rows.append({"metric": metric, "megapixels": megapixels, "peak MiB": mib, "seconds": seconds})
    report(rows, {**setting(), "threads": asked.threads}, asked.output)


if __name__ == "__main__":
    main()
