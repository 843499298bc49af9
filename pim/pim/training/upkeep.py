"""What every training loop here keeps: a learning rate that rises and falls, a mean of weights, a log, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pim.core.files import write_bytes, write_text
from pim.errors import TrainingError


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
    """Write the log of a run as CSV, whole or not at all; raises PimError if it cannot be written."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["step"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    write_text(path, stream.getvalue())


@dataclass(frozen=True)
class Checkpoint:
    """Everything that training needs to go on as if it had not stopped."""

    run: str  # JSON of settings, config and data fingerprint: only the same run resumes
    step: int  # steps done
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    average: dict[str, Tensor]  # running mean of the weights; empty if it is not kept
    log: list[dict[str, float]]  # rows of the log so far


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; raises PimError if it cannot be written: the last one stays."""
    stream = io.BytesIO()
    torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}, stream)
    write_bytes(path, stream.getvalue())


def load_checkpoint(path: Path, run: str) -> Checkpoint | None:
    """Read the checkpoint of this run, if there is one; raises TrainingError if it is damaged or another run's."""
    if not path.exists():
        return None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(**values)
    except Exception as error:  # a torn archive can fail in any way; nothing in it is run
        raise TrainingError(f"{path} is not a readable checkpoint ({error}); delete it to start anew") from error
    if checkpoint.run != run:
        raise TrainingError(
            f"{path} belongs to a run with other {_differences(checkpoint.run, run)}; "
            "use the same options to go on, another --output, or delete it to start anew"
        )
    return checkpoint


def _differences(theirs: str, ours: str) -> str:
    a, b = (_flatten(json.loads(run)) for run in (theirs, ours))
    return ", ".join(key for key in sorted(a | b) if a.get(key) != b.get(key)) or "options"


def _flatten(value: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out |= inner if isinstance(inner, dict) else {key: inner}
    return out
