"""What every training loop here keeps: a learning rate that rises and falls, a mean of weights, a log, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pim.core.files import write_bytes, write_text
from pim.errors import TrainingError


def learning_rate(step: int, steps: int, peak: float, warm_up: float, final: float) -> float:
    """The rate of a step: linear rise in a share of the steps, then half a cosine down to a share of the peak."""
    rise = warm_up * steps
    if step < rise:
        return peak * (step + 1) / rise
    done = (step - rise) / max(1.0, steps - rise)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def check_finite(loss: Tensor, step: int, checkpoint: Path) -> None:
    """Refuse to go on with a loss that is not finite: TrainingError."""
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss.item()} at step {step}; a smaller learning rate usually helps "
            f"(the last good state is in {checkpoint})"
        )


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
