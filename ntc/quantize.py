"""Rounding, and what stands for it in training.

`quantise` is the only rounding of latents: training, the estimate of the rate and the coder all call it.
Sources: arXiv 1611.01704 (noise), 2006.09952 (soft rounding, dither), 2007.08739 (straight-through).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TINY_ALPHA = 1e-3  # below this soft rounding is the identity
CLIP = 1 - 1e-6  # the gradient of atanh explodes at 1


def quantise(y: Tensor, mean: Tensor | float = 0.0) -> Tensor:
    """Round latents y, any shape, to whole steps k from the mean, ties to even: what is coded, as floats.

    The decoder sees `k + mean`. The gradient is 0.
    """
    return torch.round(y - mean)


def straight_through(y: Tensor, mean: Tensor | float = 0.0) -> Tensor:
    """What the decoder sees, `quantise(y, mean) + mean`, with the gradient of y.

    From means uniform in [-1/2, 1/2) for each latent the error is independent of y, as if noise was added ("dither").
    """
    return y + (quantise(y, mean) + mean - y).detach()


def add_noise(y: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add noise that is uniform in [-1/2, 1/2): its density is the pmf of rounded y, made smooth."""
    noise = torch.rand(y.shape, generator=generator, dtype=y.dtype, device=y.device)
    return y + noise - 0.5


def soft_round(x: Tensor, alpha: Tensor | float) -> Tensor:
    """Differentiable rounding of any shape: the identity for a steepness alpha -> 0, rounding for alpha -> infinity.

    s(x) = m + tanh(alpha (x - m)) / (2 tanh(alpha / 2)) with m = floor(x) + 1/2.
    """
    alpha = torch.as_tensor(alpha, dtype=x.dtype, device=x.device)
    safe = alpha.clamp_min(TINY_ALPHA)
    middle = x.detach().floor() + 0.5
    soft = middle + torch.tanh(safe * (x - middle)) / (2 * torch.tanh(safe / 2))
    return torch.where(alpha < TINY_ALPHA, x, soft)


def soft_round_inverse(y: Tensor, alpha: Tensor | float) -> Tensor:
    """The x with soft_round(x, alpha) = y. Gradients stay finite: the argument of atanh is clipped."""
    alpha = torch.as_tensor(alpha, dtype=y.dtype, device=y.device)
    safe = alpha.clamp_min(TINY_ALPHA)
    middle = y.detach().floor() + 0.5
    inner = ((y - middle) * 2 * torch.tanh(safe / 2)).clamp(-CLIP, CLIP)
    sharp = middle + (torch.atanh(inner) / safe).clamp(-0.5, 0.5)
    return torch.where(alpha < TINY_ALPHA, y, sharp)


def soft_round_conditional_mean(z: Tensor, alpha: Tensor | float) -> Tensor:
    """About E[Y | soft_round(Y) + U = z], U uniform: what the decoder makes of a noisy soft-rounded latent."""
    return soft_round_inverse(z - 0.5, alpha) + 0.5


class _Perturbed(torch.autograd.Function):
    """f(x + u) forwards, the expected gradient f(x + 1/2) - f(x - 1/2) backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.function = function
        return function(x + noise)

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return incoming[0] * (ctx.function(x + 0.5) - ctx.function(x - 0.5)), None, None


def perturb_and_apply(function: Callable[[Tensor], Tensor], x: Tensor, noise: Tensor) -> Tensor:
    """An elementwise function of noisy x, with the gradient that it has on average over the noise.

    d/dx E_u f(x + u) = f(x + 1/2) - f(x - 1/2) for noise u uniform in [-1/2, 1/2), of the shape of x, whatever f is
    (arXiv 2006.09952). Parameters of the function get no gradient.
    """
    out: Tensor = _Perturbed.apply(x, noise, function)
    return out
