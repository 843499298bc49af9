"""What every training loop here keeps: a learning rate that rises and falls, a mean of weights, a log."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from pim.core.files import write_text


class Schedule(Protocol):
    """The settings of a learning rate."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def learning_rate(self) -> float:
        """At its peak."""

    @property
    def warm_up(self) -> float:
        """Share of the steps in which it rises; then it falls as a cosine."""

    @property
    def final_rate(self) -> float:
        """Share of the peak that is left at the end."""


def learning_rate(step: int, settings: Schedule) -> float:
    """The rate of a step: linear rise, then half a cosine down to a share of the peak."""
    rise = settings.warm_up * settings.steps
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1.0, settings.steps - rise)
    low = settings.final_rate
    return settings.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))


def update_average(average: dict[str, Tensor], network: nn.Module, step: int, decay: float) -> None:
    """Move a running mean of the weights a little towards the weights; the start is soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    state = network.state_dict()
    for name, mean in average.items():
        mean.lerp_(state[name].detach(), 1 - decay)


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the log of a run as CSV, whole or not at all.

    Raises:
        PimError: if it cannot be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["step"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    write_text(path, stream.getvalue())
