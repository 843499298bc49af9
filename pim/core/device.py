"""Devices: which one to compute on, what it can do, and how float32 stays float32 there.

Everything that depends on the kind of device stands here, once. Results come to the CPU before they are widened to
float64, which some devices lack.
"""

from __future__ import annotations

import os

import torch

from pim.errors import UsageError

_KINDS = ("cuda", "mps", "cpu")  # in the order in which "auto" takes them


def choose(name: str) -> torch.device:
    """The device to compute on, once it has been tried; each process of `torchrun` gets its own.

    Args:
        name: "auto" for a GPU where there is one, or a device as torch names it: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UsageError: if torch does not know it or this machine does not have it.
    """
    if name == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(kind for kind in _KINDS if there[kind])
    try:
        device = torch.device(f"cuda:{local_rank()}" if name == "cuda" and local_rank() else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"cannot compute on the device {name!r}: {reason}; 'cpu' always works, 'auto' takes what is there"
        ) from error
    return device


def local_rank() -> int:
    """Which process of this machine this one is, as `torchrun` numbers them; 0 without it."""
    return int(os.environ.get("LOCAL_RANK", "0"))
