"""Nonlinear transform coding of vectors: small networks, a factorised density, and what stands for rounding.

Source: arXiv 2007.03034, sections III to V; soft rounding from arXiv 2006.09952.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntc.bounds import lower_bound
from ntc.prior import LIKELIHOOD_BOUND, FactorisedDensity, interval_probability
from ntc.quantize import (
    add_noise,
    quantise,
    soft_round,
    soft_round_conditional_mean,
    soft_round_inverse,
    straight_through,
)

Proxy = Literal["noise", "straight-through", "soft"]
PROXIES: tuple[Proxy, ...] = ("noise", "straight-through", "soft")
RISEN, STEEPEST = 3.0, 4.0  # steepness of soft rounding after its rise, and its limit when learned


class Coded(NamedTuple):
    """What a batch costs."""

    bits: Tensor  # (N,)
    error: Tensor  # (N,) summed squared error


def perceptron(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Dense layers with an activation between them."""
    layers: list[nn.Module] = []
    for inner, outer in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inner, outer), activation()]
    return nn.Sequential(*layers[:-1])


class TransformCode(nn.Module):
    """Analysis, latents that get rounded, synthesis.

    Args:
        analysis: (N, D) -> (N, C).
        synthesis: (N, C) -> (N, D).
        latents: C.
        proxy: What stands for rounding in training: uniform noise for rate and distortion; noise for the rate
            and straight-through rounding for the distortion; soft rounding of growing steepness, then noise.
    """

    def __init__(self, analysis: nn.Module, synthesis: nn.Module, latents: int, proxy: Proxy = "noise") -> None:
        super().__init__()
        self.analysis, self.synthesis, self.proxy = analysis, synthesis, proxy
        self.density = FactorisedDensity(latents)
        self.steepness = nn.Parameter(torch.tensor(RISEN / STEEPEST).logit())
        self.risen = 1.0  # share of the rise of the steepness that is behind us

    def forward(self, x: Tensor, generator: torch.Generator | None = None, gain: float = 1.0) -> Coded:
        """Rate and distortion with the proxy of training, (N, D).

        Args:
            x: (N, D).
            generator: Of the noise.
            gain: On the latents before the proxy, taken back after it: below 1, cells are as much wider.
        """
        y, alpha = gain * self.analysis(x), self.alpha() if self.proxy == "soft" else None
        noisy = add_noise(y if alpha is None else soft_round(y, alpha), generator)
        bits = self.density.bits(noisy, alpha) if gain == 1 else self._bits_of_wide_cells(noisy, alpha, gain)
        if alpha is not None:
            seen = soft_round_conditional_mean(noisy, alpha)
        else:
            seen = straight_through(y) if self.proxy == "straight-through" else noisy
        return Coded(bits.sum(1), _squared_error(x, self.synthesis(seen / gain)))

    def _bits_of_wide_cells(self, noisy: Tensor, alpha: Tensor | None, gain: float) -> Tensor:
        """The density is that of the latents before the gain, (N, C) -> (N, C)."""
        edges = (noisy - 0.5, noisy + 0.5)
        inner = edges if alpha is None else (soft_round_inverse(edge, alpha) for edge in edges)
        lower, upper = (self.density.logits(edge / gain) for edge in inner)
        return -torch.log2(lower_bound(interval_probability(lower, upper), LIKELIHOOD_BOUND))

    def alpha(self) -> Tensor:
        """Steepness of soft rounding: rises linearly to 3, then is learned between 0 and 4."""
        if self.risen < 1:
            return torch.tensor(RISEN * self.risen)
        return STEEPEST * torch.sigmoid(self.steepness)

    @torch.no_grad()
    def offset(self) -> Tensor:
        """By how much the centre of a cell differs from a whole number, (C,): puts one on the median.

        Soft rounding has its cells at whole numbers already.
        """
        if self.proxy == "soft":
            return torch.zeros(self.density.channels)
        median = self.density.median()
        return (median - median.round()).float()

    @torch.no_grad()
    def symbols(self, x: Tensor) -> Tensor:
        """Whole numbers as the entropy coder would see them, (N, D) -> (N, C)."""
        return quantise(self.analysis(x), self.offset())

    @torch.no_grad()
    def reconstruct(self, symbols: Tensor) -> Tensor:
        """What the decoder makes of them, (N, C) -> (N, D)."""
        found: Tensor = self.synthesis(symbols + self.offset())
        return found

    def code(self, x: Tensor) -> Coded:
        """Rate and distortion with real rounding, (N, D); bits by the learned density.

        Gradients reach the density and the synthesis.
        """
        y = self.symbols(x) + self.offset()
        return Coded(self.density.bits(y).sum(1), _squared_error(x, self.synthesis(y)))


class Rotation(nn.Module):
    """An orthonormal transform of a source, with a learned step for every coefficient.

    Args:
        basis: Orthonormal rows, (C, D). Coefficients beyond them are dropped.
    """

    basis: Tensor

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)
        self.log_scale = nn.Parameter(torch.zeros(len(basis)))  # minus the logarithm of the step

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients in units of their steps, (N, D) -> (N, C)."""
        return x @ self.basis.T * torch.exp(self.log_scale)


class InverseRotation(nn.Module):
    """Back from coefficients, each with a learned weight: noise that no information carries can be damped.

    Args:
        basis: As for `Rotation`.
    """

    basis: Tensor

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)
        self.weight = nn.Parameter(torch.ones(len(basis)))

    def forward(self, y: Tensor) -> Tensor:
        """(N, C) -> (N, D)."""
        return y * self.weight @ self.basis


def linear_code(basis: Tensor) -> TransformCode:
    """A fixed orthonormal transform with entropy-coded scalar quantisers, trained with uniform noise.

    Args:
        basis: Orthonormal rows, (C, D).
    """
    return TransformCode(Rotation(basis), InverseRotation(basis.clone()), len(basis), "noise")


def mlp_code(
    dimensions: int,
    width: int,
    latents: int,
    proxy: Proxy,
    activation: Callable[[], nn.Module] = nn.Softplus,
) -> TransformCode:
    """The networks of the papers: two hidden layers of one width on either side."""
    inwards = perceptron((dimensions, width, width, latents), activation)
    outwards = perceptron((latents, width, width, dimensions), activation)
    return TransformCode(inwards, outwards, latents, proxy)


def _squared_error(x: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(y, x, reduction="none").sum(1)
