"""Minibatches of a codec's training: which patches, which windows of them, which lambdas.

Everything is a function of (seed, step): a resumed run draws what the undisturbed one would have drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntc.distortion import PEAK
from ntc.models.config import CodecConfig
from ntc.settings import CodecTraining

STREAM = 0  # of random numbers; others must not meet it


def generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, STREAM, step])))


def windows(pixels: NDArray[np.uint8], settings: CodecTraining, rng: np.random.Generator) -> Tensor:
    """Random windows of random patches, mirrored and turned, (batch, 3, window, window) in [0, 1]."""
    chosen = rng.choice(len(pixels), settings.batch, replace=False)
    room = pixels.shape[-1] - settings.window
    out = []
    for i, (top, left), flips in zip(
        chosen, rng.integers(0, room + 1, (len(chosen), 2)), rng.random((len(chosen), 2)) < 0.5, strict=True
    ):
        patch = pixels[i, :, top : top + settings.window, left : left + settings.window]
        patch = patch[..., ::-1] if flips[0] else patch
        out.append(patch.swapaxes(-1, -2) if flips[1] else patch)
    return torch.from_numpy(np.stack(out)).float() / PEAK


def lambdas_at(config: CodecConfig, levels: Tensor) -> Tensor:
    """The lambdas at levels (N,), log-linear between the given ones."""
    logs = torch.tensor(config.lambdas).log()
    low = levels.floor().clamp(0, max(0, len(logs) - 2)).long()
    high = (low + 1).clamp_max(len(logs) - 1)
    return torch.lerp(logs[low], logs[high], levels - low).exp()


def fair(config: CodecConfig, lambdas: Tensor) -> Tensor | float:
    """Weights of losses at lambdas (N,), so that high rates, whose losses are larger, do not drown the others."""
    if not config.conditioned:
        return 1.0
    middle = torch.tensor(config.lambdas).log().mean().exp()
    return (middle.to(lambdas) / lambdas).sqrt()
