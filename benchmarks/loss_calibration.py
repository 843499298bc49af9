"""How much each metric weighs beside the MSE as a loss: the table of `pim/calibration.py`.

    python benchmarks/loss_calibration.py VIDEOS

Sample images are 64 crops from the videos that are not held out; distorted ones come from a coarse cosine
transform (`pim.calibration.coarse`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from timing import report, setting
from video_crops import crops

import pim
from pim.calibration import check_usable, coarse, measure
from pim.errors import PimError

SIZE = 176  # pixels; MS-SSIM needs 161


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
