"""One process or several (`torchrun`): who writes, and how the minibatch marginal sees all processes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Team:
    """The processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def gather(self, mine: Tensor) -> Tensor:
        """Rows of all processes, (N, ...) -> (size * N, ...), with gradients summed over the losses of all."""
        if self.size == 1:
            return mine
        from torch.distributed.nn.functional import all_gather

        return torch.cat(list(all_gather(mine)))  # type: ignore[no-untyped-call]

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        for parameter in module.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def mean(self, mine: Tensor) -> Tensor:
        """The mean of a tensor over the processes, without gradient."""
        if self.size == 1:
            return mine
        total = mine.detach().clone()
        dist.all_reduce(total)
        return total / self.size


def join(device: torch.device) -> Team:
    """Join the processes that `torchrun` started, with the device of this one; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)  # NCCL takes the current one
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Team(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """End the process, successfully, if it joined others; alone, do nothing.

    For commands, when all is written: a thread that gloo leaves behind aborts the usual exit now and then, and
    `torchrun` would call a finished training failed.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    dist.barrier()  # who leaves first would take the connection away from the others
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
