"""A small rated data set on disk and cheap metrics, for the tests of runs."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pim.core.info import MetricInfo
from pim.core.metric import Metric
from pim.datasets.dataset import Dataset, Record
from pim.eval.judgements import Plan, plan_of


class MeanAbsolute(Metric):
    """Mean absolute difference, times a weight that stands for trained weights."""

    def __init__(self, weight: float = 1.0, seconds: float = 0.0) -> None:
        super().__init__()
        self.info = MetricInfo("mean-absolute", "toy", True, (0.0, inf))
        self.seconds = seconds
        self.register_buffer("weight", torch.tensor(weight))
        self.prepared = 0

    def _analyse(self, image: torch.Tensor) -> torch.Tensor:
        self.prepared += 1
        return image

    def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return (features - distorted).abs().mean((1, 2, 3)) * self.weight


def make_toy(root: Path, references: int = 6, levels: int = 4, types: tuple[str, ...] = ("noise", "shift")) -> Dataset:
    """Pictures of two sizes under several types and levels of distortion; the score falls with the level."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for r in range(references):
        shape = (24, 32, 3) if r % 3 else (28, 20, 3)
        clean = rng.uniform(0.2, 0.8, shape)
        reference = root / f"r{r}.png"
        save(reference, clean)
        for kind in types:
            for level in range(1, levels + 1):
                change = rng.normal(size=shape) if kind == "noise" else np.ones(shape)
                distorted = root / f"r{r}_{kind}_{level}.png"
                save(distorted, clean + 0.04 * level * change)
                rows.append(
                    Record(
                        key=distorted.stem,
                        group=reference.stem,
                        subsets=("mild",) if level < 3 else ("strong",),
                        distortion=kind,
                        level=level,
                        pairs=((reference, distorted),),
                        value=5.0 - level + 0.1 * float(rng.normal()),
                        people=10,
                    )
                )
    return Dataset("toy", "opinion", root, tuple(rows), higher_is_better=True)


def make_plan(root: Path, references: int = 6, levels: int = 4, types: tuple[str, ...] = ("noise", "shift")) -> Plan:
    """The plan of `make_toy`."""
    return plan_of(make_toy(root, references, levels, types))


def save(path: Path, pixels: np.ndarray) -> None:
    """Write values in [0, 1] as an 8-bit PNG."""
    Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8)).save(path)
