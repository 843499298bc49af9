"""Handwritten digits for classifiers: training, validation and test parts, and how a classifier does on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reproductions import mnist
from reproductions.mnist import CLASSES as CLASSES

SPLIT_SEED = 1234  # which training digits are held out; the same in all experiments
BATCH = 1000  # of evaluation


@dataclass(frozen=True)
class Part:
    """Pictures (N, 1, 28, 28) in [0, 1] and their labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def training_parts(folder: Path, held_out: int) -> tuple[Part, Part]:
    """Two disjoint parts of the training digits: to learn from, and `held_out` of them to choose settings on.

    Raises:
        DataError: if the files are missing or damaged.
    """
    digits = mnist.read(folder, "train")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits))
    whole = _part(digits)
    chosen, rest = order[held_out:], order[:held_out]
    return Part(whole.images[chosen], whole.labels[chosen]), Part(whole.images[rest], whole.labels[rest])


def test_part(folder: Path) -> Part:
    """The test digits.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _part(mnist.read(folder, "test"))


@torch.no_grad()
def error_rate(net: nn.Module, part: Part) -> float:
    """Share of wrongly classified pictures, in [0, 1]; lower is better. The net is left in evaluation mode."""
    net.eval()
    wrong = 0
    for start in range(0, len(part), BATCH):
        rows = slice(start, start + BATCH)
        wrong += int((net(part.images[rows]).argmax(1) != part.labels[rows]).sum())
    return wrong / len(part)


def _part(digits: mnist.Digits) -> Part:
    images = torch.from_numpy(digits.images.astype(np.float32) / 255)[:, None]
    return Part(images, torch.from_numpy(digits.labels.astype(np.int64)))
