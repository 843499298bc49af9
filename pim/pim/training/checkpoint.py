"""Checkpoints: written whole, read without pickled code, refused when they belong to another run."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pim.core.files import write_bytes
from pim.errors import TrainingError


@dataclass(frozen=True)
class Checkpoint:
    """Everything that training needs to go on as if it had not stopped."""

    run: str  # JSON of settings, config and data fingerprint: only the same run resumes
    step: int  # steps done
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    average: dict[str, Tensor]  # running mean of the weights; empty if it is not kept
    log: list[dict[str, float]]  # rows of the log so far


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        PimError: if it cannot be written; the last one stays.
    """
    stream = io.BytesIO()
    torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}, stream)
    write_bytes(path, stream.getvalue())


def load(path: Path, run: str) -> Checkpoint | None:
    """The checkpoint of this run, or None if there is none.

    Args:
        path: Where it would be.
        run: What the run is, as in `Checkpoint.run`.

    Raises:
        TrainingError: if the file is damaged, or is of a run with other settings or data.
    """
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
    a, b = json.loads(theirs), json.loads(ours)
    flat_a, flat_b = _flatten(a), _flatten(b)
    names = [k for k in sorted(set(flat_a) | set(flat_b)) if flat_a.get(k) != flat_b.get(k)]
    return ", ".join(names) or "options"


def _flatten(value: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out.update(inner if isinstance(inner, dict) else {key: inner})
    return out
