"""An accelerator without hardware: tensors that say they are on the device "meta", and compute on the CPU.

It refuses float64 and tensors of two devices in one operation, and counts what crosses to and from the host.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = "meta"
_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)


class OnDevice(Tensor):
    """A tensor of the accelerator."""

    @staticmethod
    def __new__(cls, values: Tensor) -> OnDevice:
        if values.dtype == torch.float64:
            raise TypeError("this accelerator has no float64")
        return Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), dtype=values.dtype, device=DEVICE, requires_grad=False
        )

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None) -> Tensor:  # type: ignore[override]
        """A copy from the host; of "meta" alone, torch would make a tensor without values."""
        return torch.tensor(data, dtype=dtype or self.dtype).to(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} left the accelerator")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnDevice({self.values})"


class Accelerator(TorchDispatchMode):
    """Active, "meta" is an accelerator; `to_device`, `to_host` and `reads` count copies and synchronisations."""

    def __init__(self) -> None:
        super().__init__()
        self.to_device = self.to_host = self.reads = 0

    @property
    def synchronisations(self) -> int:
        """How often the host waited for the accelerator."""
        return self.to_host + self.reads

    def reset(self) -> None:
        """Count anew."""
        self.to_device = self.to_host = self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.ops.aten.to.device:  # inference mode brings some operators that consist of others
            with self:
                return torch.ops.aten._to_copy(args[0], device=args[1], dtype=args[2])
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        here = any(isinstance(t, OnDevice) for t in tensors)
        wanted = kwargs.get("device")
        there = here if wanted is None else torch.device(wanted).type == DEVICE
        self._count(func, here, there, tensors)
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        plain_args, plain_kwargs = tree_map_only(OnDevice, lambda t: t.values, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        if not there:
            return out
        with torch.inference_mode(False):  # a view of a usual tensor has to be a usual one
            wrapped = tree_map_only(Tensor, OnDevice, out)
        if torch.is_inference_mode_enabled():  # where tensors have no history of changes to keep right
            return args[0] if func._schema.is_mutable else wrapped
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _count(self, func: Any, here: bool, there: bool, tensors: list[Tensor]) -> None:
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        mixed = here and any(not isinstance(t, OnDevice) and t.ndim for t in tensors)
        if func in _READS:
            self.reads += here
        elif func is torch.ops.aten.copy_.default and mixed:
            to_device = isinstance(tensors[0], OnDevice)
            self.to_device, self.to_host = self.to_device + to_device, self.to_host + (not to_device)
        elif copies and here != there:
            self.to_device, self.to_host = self.to_device + there, self.to_host + here
        elif mixed:
            raise RuntimeError(f"{func}: expected all tensors on the accelerator")
