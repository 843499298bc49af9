"""Bounds whose gradient still points the way back inside.

Source: the lower bound of tensorflow/compression (Apache-2.0), as used since arXiv 1802.01436.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Gradient = Literal["identity_if_towards", "identity", "disconnected"]
PEDESTAL = 2.0**-36  # keeps the square root differentiable at 0


class _LowerBound(torch.autograd.Function):
    """max(x, bound) with a choice of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float, gradient: Gradient) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound, ctx.gradient = bound, gradient
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (grad,) = incoming
        if ctx.gradient == "identity":
            return grad, None, None
        passes = x >= ctx.bound
        if ctx.gradient == "identity_if_towards":
            passes = passes | (grad < 0)
        return grad * passes, None, None


def lower_bound(x: Tensor, bound: float, gradient: Gradient = "identity_if_towards") -> Tensor:
    """Take max(x, bound) elementwise; any shape.

    Where x < bound, "identity_if_towards" passes back only what a step of descent would use to push x up to the
    bound, "identity" everything, "disconnected" nothing.
    """
    out: Tensor = _LowerBound.apply(x, bound, gradient)
    return out


class NonNegative(nn.Module):
    """Parameters that stay at or above a minimum: value = max(v, b)^2 - p, stored as v.

    p = 2^-36 and b = sqrt(minimum + p), so the gradient neither vanishes nor explodes near the minimum.
    Follows the GDN parameters of tensorflow/compression.
    """

    def __init__(self, initial: Tensor, minimum: float = 0.0) -> None:
        """Start at `initial` (any shape, values >= minimum)."""
        super().__init__()
        self.bound = (minimum + PEDESTAL) ** 0.5
        self.root = nn.Parameter((initial + PEDESTAL).clamp_min(PEDESTAL).sqrt())

    def forward(self) -> Tensor:
        """The values, the shape of `initial`."""
        return lower_bound(self.root, self.bound).square() - PEDESTAL
