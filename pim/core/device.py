"""Devices: which one to compute on, what it can do, and how float32 stays float32 there.

Everything that depends on the kind of device stands here, once. Results come to the CPU before they are widened to
float64, which some devices lack.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pim.errors import UsageError

_WITH_FLOAT64 = ("cpu", "cuda")
_KINDS = ("cuda", "mps", "cpu")  # in the order in which "auto" takes them


def choose(name: str) -> torch.device:
    """Choose the device to compute on, and try it; each process of `torchrun` gets its own.

    Args:
        name: "auto" for a GPU where there is one, or a device as torch names it: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UsageError: if torch does not know it or this machine does not have it.
    """
    if name == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(kind for kind in _KINDS if there[kind])
    rank = os.environ.get("LOCAL_RANK") if name == "cuda" else None  # as `torchrun` numbers processes of a machine
    try:
        device = torch.device(name if rank is None else f"cuda:{rank}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"cannot compute on the device {name!r}: {reason}; 'cpu' always works, 'auto' takes what is there"
        ) from error
    return device


def accumulation(device: torch.device) -> torch.dtype:
    """The type in which to sum over millions of positions: float64 where the device has it."""
    return torch.float64 if device.type in _WITH_FLOAT64 else torch.float32


def exact(values: Tensor) -> Tensor:
    """The values as float64 on the CPU, without gradient; one copy and one synchronisation of a GPU."""
    return values.detach().cpu().double()


def at_least_float32(cast: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make of what `.half()` and the like do to a tensor something that moves it, but never coarsens it."""

    def kept(tensor: Tensor) -> Tensor:
        done = cast(tensor)
        if not done.is_floating_point() or done.dtype.itemsize >= 4:
            return done
        return tensor.to(done.device, torch.promote_types(tensor.dtype, torch.float32))

    return kept


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in float32 where float32 is given, in forward and in backward: no autocast, and on a GPU no TF32.

    Small differences drown in fewer digits: with TF32, distances move by up to 1e-2 of themselves. Compiled programs
    keep what holds for TF32 where they are compiled.
    """
    # Asked of rare devices alone: torch before 2.7 does not compile the question.
    if device.type not in ("cpu", "cuda") and not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    plain = torch.autocast(device.type, enabled=False)
    if device.type != "cuda" or torch.compiler.is_compiling():
        return plain
    from pim.core.float32 import Float32

    both = ExitStack()
    both.enter_context(plain)
    both.enter_context(Float32())
    return both


def train_in_float32() -> None:
    """Switch TF32 off for the whole process and for good: for programs that own theirs, as `pim train` does."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # of all operators at once: torch.export refuses a mix


class Constants(nn.Module):
    """Fixed numbers that move with a module as buffers, and stay out of its state dict.

    They are made anew from float64 when the module is moved or cast: `.double()` must not keep the rounding of float32.
    """

    def __init__(self, **values: Tensor) -> None:
        """Name them; floating point, on the CPU."""
        super().__init__()
        self._exact = values
        for name, value in values.items():
            self.register_buffer(name, value.float(), persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        """The numbers of this name, where the module is."""
        values: Tensor = getattr(self, name)
        return values

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constants:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self._exact.items():
            moved = self[name]
            setattr(self, name, value.to(moved.dtype).to(moved.device))
        return self
