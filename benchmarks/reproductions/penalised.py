"""Training a classifier with a price on something: weights or features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pim.errors import TrainingError
from reproductions.digits import Part

DECAY = ((0.6, 0.1), (0.9, 0.01))  # from this share of the steps on, times this
RAMP = 0.25  # share of the steps in which the price rises to its full height


@dataclass(frozen=True)
class Schedule:
    """How long, how fast."""

    epochs: int
    batch: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


def train(
    forward: Callable[[Tensor], tuple[Tensor, Tensor]],
    groups: Iterable[tuple[Iterable[nn.Parameter], float]],
    part: Part,
    price: float,
    schedule: Schedule,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Minimise cross entropy in nats + price * cost, the price rising linearly over the first quarter.

    Args:
        forward: From images (N, 1, 28, 28) to logits (N, 10) and a scalar cost.
        groups: Parameters, each group with its learning rate in units of the schedule's.
        part: What to learn from.
        price: Of the cost.
        schedule: Epochs, batch, learning rate, seed of the order of the pictures.
        watch: Called after every step.

    Raises:
        TrainingError: if the loss stops being a number.
    """
    generator = torch.Generator().manual_seed(schedule.seed)
    base = [(list(parameters), relative * schedule.learning_rate) for parameters, relative in groups]
    optimiser = torch.optim.Adam([{"params": parameters, "lr": rate} for parameters, rate in base])
    steps = len(part) // schedule.batch
    for epoch in range(schedule.epochs):
        order = torch.randperm(len(part), generator=generator)
        for step in range(steps):
            done = (epoch * steps + step) / (schedule.epochs * steps)
            for group, (_, rate) in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = rate * _factor(done)
            chosen = order[step * schedule.batch : (step + 1) * schedule.batch]
            logits, cost = forward(part.images[chosen])
            loss = F.cross_entropy(logits, part.labels[chosen]) + price * min(1.0, done / RAMP) * cost
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(f"the loss became {float(loss.detach())} in epoch {epoch}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            watch()


def _factor(done: float) -> float:
    return next((factor for share, factor in reversed(DECAY) if done >= share), 1.0)
