"""Making the decoder of a trained codec smaller: gates under a price, pruning, training again.

Encoder and entropy model stay as they are, so files keep their bytes and only the decoded pictures change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ntc.losses import PEAK, mse
from ntc.models.codec import Codec
from ntc.models.latents import Proxy
from pim.errors import TrainingError
from reproductions import efficient

PRICE, DOUBLED = 0.02, 250  # of a whole decoder at the start, in units of the loss; steps until it has doubled
MOST = 20  # times doubled, the price has failed
GATE_RATE, WEIGHT_RATE = 10.0, 0.1  # of learning while gates close: weights must not outrun their gates


@dataclass(frozen=True)
class Training:
    """How decoders learn."""

    steps: int  # after pruning
    batch: int = 8
    window: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


def slim(
    codec: Codec,
    first: nn.Sequential,
    pixels: NDArray[np.uint8],
    shares: list[float],
    training: Training,
    watch: Callable[[], None],
) -> Iterator[nn.Sequential]:
    """Decoders pruned to shares of the multiply-adds of the first one, not yet trained again.

    Args:
        codec: Trained; it makes the latents.
        first: A decoder for them, trained.
        pixels: Patches (P, 3, S, S) to learn from.
        shares: Falling, each in (0, 1).
        training: Batches, learning rate, seed.
        watch: Called after every step.

    Raises:
        TrainingError: if the gates do not close.
    """
    whole, gated = efficient.multiply_adds(first), efficient.gated(first)
    scales = [gate.scale for gate in efficient.gates(gated)]
    others = [p for p in gated.parameters() if all(p is not scale for scale in scales)]
    batches = _batches(pixels, training)
    rate = training.learning_rate
    groups = [{"params": scales, "lr": GATE_RATE * rate}, {"params": others, "lr": WEIGHT_RATE * rate}]
    optimiser = torch.optim.Adam(groups)
    step = 0
    for share in shares:
        while efficient.multiply_adds(gated) > share * whole:
            if step == MOST * DOUBLED:
                raise TrainingError(
                    f"after {step} steps the decoder still needs more than {share:.0%} of the operations"
                )
            price = PRICE * 2 ** (step / DOUBLED)
            _descend(codec, gated, next(batches), optimiser, partial(efficient.charge, gated, price))
            efficient.close_gates(gated)
            step += 1
            watch()
        yield efficient.pruned(gated)


def tune(
    codec: Codec, decoder: nn.Sequential, pixels: NDArray[np.uint8], training: Training, watch: Callable[[], None]
) -> nn.Sequential:
    """A decoder after more training on the latents of a codec; the rate of learning falls to 0."""
    decoder = copy.deepcopy(decoder)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    batches = _batches(pixels, training)
    for _ in range(training.steps):
        _descend(codec, decoder, next(batches), optimiser)
        schedule.step()
        watch()
    return decoder


def _descend(
    codec: Codec,
    decoder: nn.Sequential,
    batch: tuple[Tensor, Tensor],
    optimiser: torch.optim.Optimizer,
    charge: Callable[[], None] = lambda: None,
) -> None:
    """One step on the distortion, each picture weighed by the root of its lambda, as in training the codec."""
    images, uniform = batch
    levels = uniform * (len(codec.config.lambdas) - 1)
    own, codec.synthesis = codec.synthesis, decoder
    codec.train().requires_grad_(False)
    decoder.requires_grad_(True)
    coded = codec(images, levels, Proxy("mixed"))
    codec.synthesis = own
    logs = torch.tensor(codec.config.lambdas).log()
    position = levels.round().long()
    weight = torch.exp(0.5 * (logs[position] - logs.mean()))
    loss = (weight * mse(images, coded.image)).mean()
    if not torch.isfinite(loss):
        raise TrainingError("the distortion of the decoder became infinite")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    charge()
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 100.0)
    optimiser.step()


def _batches(pixels: NDArray[np.uint8], training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """Random windows (batch, 3, window, window) in [0, 1], with a uniform number for each."""
    rng = np.random.default_rng(training.seed)
    room = pixels.shape[-1] - training.window
    while True:
        chosen = rng.integers(0, len(pixels), training.batch)
        corners = rng.integers(0, room + 1, (training.batch, 2))
        windows = [
            pixels[i, :, top : top + training.window, left : left + training.window]
            for i, (top, left) in zip(chosen, corners, strict=True)
        ]
        uniform = torch.from_numpy(rng.random(training.batch, dtype=np.float32))
        yield torch.from_numpy(np.stack(windows)).float() / PEAK, uniform
