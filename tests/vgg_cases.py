"""What the tests of the VGG metric share: backbones that need no download, and the numbers to agree with."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vggmetric import Head, VGGMetric
from vggmetric.head import shipped, uniform

RANDOM = "rand447"
OXFORD12 = "weights/vgg16_oxford_conv1_conv2_f32.safetensors"  # in the development data


@dataclass(frozen=True)
class Case:
    """A backbone and an image pair of the golden file."""

    tag: str
    pair: str
    backbone: str
    file: str | None = None  # of the backbone, in the development data

    def metric(self, shared: Path) -> VGGMetric:
        """LPIPS's linear weights on this backbone, on the taps that it has; a copy of its own."""
        return copy.deepcopy(_metric(self, shared))

    def images(self, arrays: Mapping[str, np.ndarray[Any, Any]], dtype: torch.dtype) -> list[torch.Tensor]:
        """Reference and distorted, (1, 3, H, W)."""
        stored = (arrays[f"{self.pair}_{side}"] for side in ("ref", "dist"))
        return [torch.from_numpy(pixels).permute(2, 0, 1)[None].to(dtype) / 255 for pixels in stored]


@functools.cache
def _metric(case: Case, shared: Path) -> VGGMetric:
    weights = Head.read(shipped()["lpips-vgg"]).weights
    taps = ("relu1_2", "relu2_2") if case.tag == "ox" else tuple(weights)
    head = Head(case.backbone, {tap: weights[tap] for tap in taps})
    return VGGMetric(head, backbone=None if case.file is None else shared / case.file)


CASES = [Case("rand", pair, RANDOM) for pair in "ab"] + [Case("ox", pair, "oxford12", OXFORD12) for pair in "ab"]


@functools.cache
def golden_vgg(shared: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(shared / "golden" / "vgg_golden.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@functools.cache
def random_metric(*, pool: str = "max", norm: str = "unit", last: int = 13) -> VGGMetric:
    """The first layers of a random backbone, all alike, the pixels too; shared, so never to be changed."""
    weights = dict(list(uniform(RANDOM).weights.items())[:last])
    return VGGMetric(replace(uniform(RANDOM), weights={"pixels": torch.ones(1), **weights}, pool=pool, norm=norm))
