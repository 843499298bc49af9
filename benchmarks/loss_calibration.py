"""How much each metric weighs beside the MSE as a loss: the table of `pim/calibration.py`.

    python benchmarks/loss_calibration.py VIDEOS

Sample images are 64 crops from the videos that are not held out; distorted ones come from a coarse cosine
transform (`pim.images.made.coarse`), or with `--against jpeg:20` from an encoder: how far the ratio depends on that
says how far one weight can be right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from loss_step import usable
from timing import report, setting
from torch import Tensor
from video_crops import crops

import pim
from ntc.rd import ANCHORS, as_picture, as_tensor
from pim.calibration import measure
from pim.images.made import coarse
from pim.metrics.fine import Fine

SIZE = 176  # pixels; MS-SSIM needs 161


def distort(images: Tensor, kind: str, seed: int) -> Tensor:
    """Coarse copies, or the images as jpeg:QUALITY or webp:QUALITY leaves them."""
    if kind == "coarse":
        return coarse(images, seed)
    name, _, quality = kind.partition(":")
    pictures = [as_picture(image.permute(1, 2, 0).numpy()) for image in images]
    return torch.cat([as_tensor(ANCHORS[name].code(picture, quality)[1]) for picture in pictures])


def main() -> None:
    """Cut, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--metric", action="append", help="may be repeated; by default every shipped one")
    parser.add_argument("--against", action="append", help="coarse, jpeg:20, webp:20, ...; may be repeated")
    parser.add_argument("--fine", action="store_true", help="at two sizes, as pim.loss.Distortion(fine=True)")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    reference = crops(asked.videos, asked.count, SIZE, asked.seed, gap=40)
    rows = []
    for kind in asked.against or ["coarse"]:
        distorted = distort(reference, kind, asked.seed)
        psnr = -10 * (reference - distorted).square().mean((1, 2, 3)).log10().mean().item()
        for name in usable(asked.metric):
            metric = Fine(pim.load(name)) if asked.fine else pim.load(name)
            found = measure(metric, reference, distorted)
            rows.append({"metric": metric.name, "against": kind, "psnr": psnr, **found._asdict()})
    report(rows, setting(crops=f"{asked.count} of {SIZE}x{SIZE}", seed=asked.seed), asked.output)


if __name__ == "__main__":
    main()
