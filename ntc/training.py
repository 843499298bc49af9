"""Training a codec: minimise rate + lambda * distortion, log it, survive being killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntc import store
from ntc.losses import PEAK, Distortion
from ntc.models import build
from ntc.models.codec import Codec
from ntc.models.config import CodecConfig
from ntc.models.transforms import start_from_images
from ntc.optim import Sadam
from ntc.patches import Patches, generator, spread, windows
from ntc.settings import CodecTraining
from pim._version import VERSION
from pim.errors import TrainingError
from pim.pim.training.upkeep import (
    Checkpoint,
    check_finite,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    set_rate,
    update_average,
    write_log,
)

LOG_EVERY = 10  # steps
CENTRE_EVERY = 100  # steps between looks at the medians of the densities
SAVE_EVERY = 60.0  # seconds between checkpoints
VALIDATION_PATCHES = 16
START_PATCHES = 256


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after a logged step."""

    step: int  # steps done
    fresh: int  # of these, since the last report
    loss: float
    bits_per_pixel: float
    psnr: float  # dB, of the training patches with noise in place of rounding


@dataclass(frozen=True)
class Quality:
    """How a trained codec does on held-out patches, for one lambda; exact, as a file would be."""

    level: float
    bits_per_pixel: float
    psnr: float  # dB, mean over patches, before rounding to 8 bits


@dataclass(frozen=True)
class Run:
    """What a run is; only the same run resumes."""

    patches: Patches
    output: Path
    config: CodecConfig
    settings: CodecTraining
    start: Path | None = None  # a codec of the same settings to start from

    @property
    def identity(self) -> str:
        """As JSON, for the checkpoint."""
        return json.dumps(
            {
                "settings": asdict(self.settings),
                "network": self.config.to_dict(),
                "patches": self.patches.fingerprint,
                "start": None if self.start is None else store.load(self.start).codec.freeze().hex(),
                "version": VERSION,
            }
        )

    @property
    def checkpoint_file(self) -> Path:
        """Beside the output."""
        return self.output.with_suffix(".ckpt")

    def steps_done(self) -> int:
        """Steps that a checkpoint of this run has behind it; 0 without one."""
        found = load_checkpoint(self.checkpoint_file, self.identity)
        return 0 if found is None else found.step


def train(
    run: Run,
    distortion: Distortion,
    *,
    device: str = "cpu",
    save_every: float = SAVE_EVERY,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> list[Quality]:
    """Train a codec and write it; goes on from a checkpoint of the same run if there is one.

    Beside the codec `NAME.safetensors` stand `NAME.ckpt` (removed at the end) and `NAME.log.csv`. The distortion of
    reference and decoded patches, (N, 3, H, W) to (N,), is weighed by lambda against bits per pixel. A checkpoint is
    written every `save_every` seconds; `watch` is told about progress.

    Returns:
        Results on held-out patches, for each lambda; empty if no source is held out.

    Raises:
        TrainingError: if there are too few patches, the loss is not finite, or a checkpoint is another run's.
    """
    return _Loop(run, distortion, torch.device(device)).execute(save_every, watch)


class _Loop:
    """State of one training run."""

    def __init__(self, run: Run, distortion: Distortion, device: torch.device) -> None:
        self.run, self.settings, self.distortion, self.device = run, run.settings, distortion, device
        self.pixels = run.patches.take(held_out=False)
        if len(self.pixels) < self.settings.batch:
            raise TrainingError(
                f"{len(self.pixels)} patches are fewer than a batch of {self.settings.batch}; add pictures or "
                "videos, take more patches from each, or choose a smaller batch"
            )
        if self.settings.window > run.patches.settings.size:
            raise TrainingError(f"a window of {self.settings.window} pixels is larger than the patches")
        self.identity = run.identity
        found = load_checkpoint(run.checkpoint_file, self.identity)
        self.codec = _fresh(run, self.pixels)
        self.step, self.log = 0, list[dict[str, float]]()
        if found is not None:
            self.codec.load_state_dict(found.network)
            self.step, self.log = found.step, found.log
        self.codec.to(device).train()
        self.optimiser = _optimiser(self.codec, self.settings)
        if found is not None:
            self.optimiser.load_state_dict(found.optimiser)
        average = self.codec.state_dict() if found is None else found.average
        self.average = {n: t.detach().clone().to(device) for n, t in average.items()} if self.settings.average else {}

    def execute(self, save_every: float, watch: Callable[[Progress], None]) -> list[Quality]:
        """All steps that are left, then tables, validation and the file."""
        saved, told = time.monotonic(), self.step
        while self.step < self.settings.steps:
            row = self._train_step()
            self.step += 1
            if self.step % LOG_EVERY == 0 or self.step == self.settings.steps:
                self.log.append(row)
                watch(Progress(self.step, self.step - told, row["loss"], row["bits_per_pixel"], row["psnr"]))
                told = self.step
            if time.monotonic() - saved >= save_every and self.step < self.settings.steps:
                self._save()
                saved = time.monotonic()
        self._save()
        if self.average:
            self.codec.load_state_dict(self.average)
        if self.settings.half:
            round_to_half(self.codec)
        self.codec.eval().export()
        reached = validate(self.codec, self.run.patches.take(held_out=True))
        store.save(self.run.output, self.codec, self._story(reached))
        self.run.checkpoint_file.unlink(missing_ok=True)
        return reached

    def _train_step(self) -> dict[str, float]:
        of = self.settings
        rate = learning_rate(self.step, of.steps, of.learning_rate, of.warm_up, of.final_rate)
        set_rate(self.optimiser, rate)
        if self.step % CENTRE_EVERY == 0:
            self.codec.factorised.centre()
        rng = generator(self.settings.seed, self.step)
        images = windows(self.pixels, self.settings, rng).to(self.device)
        levels = torch.from_numpy(rng.uniform(0, len(self.run.config.lambdas) - 1, len(images)).astype(np.float32))
        torch.manual_seed(int(rng.integers(1 << 62)))  # of the noise
        coded = self.codec(images, levels, self.settings.proxy_at(self.step))
        rates = coded.bits_per_pixel()
        lambdas = lambdas_at(self.run.config, levels).to(self.device)
        each = rates + lambdas * self.distortion(images, coded.image)
        loss = (each * fair(self.run.config, lambdas)).mean()
        check_finite(loss, self.step, self.run.checkpoint_file)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.settings.clip)
        self.optimiser.step()
        update_average(self.average, self.codec, self.step, self.settings.average)
        error = (images - coded.image.detach()).square().flatten(1).mean(1)
        return {
            "step": float(self.step + 1),
            "loss": loss.item(),
            "bits_per_pixel": rates.mean().item(),
            "psnr": float(-10 * error.log10().mean()),
            "learning_rate": rate,
            "gradient_norm": float(norm),
        }

    def _save(self) -> None:
        weights, state = self.codec.state_dict(), self.optimiser.state_dict()
        checkpoint = Checkpoint(self.identity, self.step, weights, state, self.average, self.log)
        save_checkpoint(self.run.checkpoint_file, checkpoint)
        write_log(self.run.output.with_suffix(".log.csv"), self.log)

    def _story(self, reached: list[Quality]) -> dict[str, Any]:
        patches = self.run.patches
        return {
            "settings": asdict(self.settings),
            "patches": len(self.pixels),
            "sources": [name for name, held_out in zip(patches.names, patches.held_out, strict=True) if not held_out],
            "patch_settings": asdict(patches.settings),
            "held_out": [
                {"level": q.level, "bits_per_pixel": round(q.bits_per_pixel, 4), "psnr": round(q.psnr, 3)}
                for q in reached
            ],
            "versions": {"pim": VERSION, "torch": torch.__version__},
        }


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


def validate(codec: Codec, pixels: NDArray[np.uint8]) -> list[Quality]:
    """Rate and PSNR of an exported codec on up to 16 patches (P, 3, S, S), spread evenly, for each lambda."""
    if not len(pixels):
        return []
    images = torch.from_numpy(spread(pixels, VALIDATION_PATCHES)).float().to(next(codec.parameters()).device) / PEAK
    reached = []
    for level in range(len(codec.config.lambdas)):
        coded = codec(images, float(level))
        error = (images - coded.image).square().flatten(1).mean(1)
        reached.append(Quality(level, float(coded.bits_per_pixel().mean()), float(-10 * error.log10().mean())))
    return reached


@torch.no_grad()
def round_to_half(codec: Codec) -> None:
    """Round all weights to what 16 bits hold; the file of such a codec takes 16 bits for each."""
    for parameter in codec.parameters():
        parameter.copy_(parameter.half())


def _fresh(run: Run, pixels: NDArray[np.uint8]) -> Codec:
    """A codec before the first step."""
    torch.manual_seed(run.settings.seed)
    codec = build(run.config)
    if run.start is not None:
        other = store.load(run.start).codec
        if other.config != run.config:
            raise TrainingError(f"{run.start} has other settings than this run: {other.config}")
        codec.load_state_dict(other.state_dict())
    elif run.settings.first_weights == "images":
        images = torch.from_numpy(spread(pixels, START_PATCHES)).float() / PEAK
        start_from_images(codec.analysis, codec.synthesis, images)
    return codec


def _optimiser(codec: Codec, settings: CodecTraining) -> torch.optim.Optimizer:
    if settings.optimiser == "adam":
        return torch.optim.Adam(codec.parameters(), lr=settings.learning_rate)
    transforms = ("analysis.", "synthesis.", "hyper_analysis.")  # as published; the networks behind the prior are not
    named = list(codec.named_parameters())
    groups = [
        {"params": [p for n, p in named if n.startswith(transforms)], "spectral": True},
        {"params": [p for n, p in named if not n.startswith(transforms)], "spectral": False},
    ]
    return Sadam(groups, lr=settings.learning_rate)
