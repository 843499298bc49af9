"""A factorised density that learns its shape: one monotone little network per channel.

Source: arXiv 1802.01436 (bmshj2018), appendix 6.1; initial values of tensorflow/compression.
Deviations: medians and tails come from bisection when they are asked for, not from a second optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntc.bounds import lower_bound
from ntc.quantize import soft_round_inverse
from pim.errors import PimError

LIKELIHOOD_BOUND = 1e-9  # a symbol costs at most 29.9 bits in training
WIDEST = 2.0**40  # where the search for a tail gives up
BISECTIONS = 100


class Layer(NamedTuple):
    """One step of the network of every channel; `factor` is missing in the last."""

    matrix: Tensor  # (C, out, in)
    bias: Tensor  # (C, out, 1)
    factor: Tensor | None  # (C, out, 1)


def logits(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Logit of the cumulative density, which rises with x: (C, 1, L) -> (C, 1, L).

    h <- softplus(M) h + b, then h <- h + tanh(a) tanh(h) except after the last layer.
    """
    for matrix, bias, factor in layers:
        x = torch.baddbmm(bias, F.softplus(matrix), x)
        if factor is not None:
            x = x + torch.tanh(factor) * torch.tanh(x)
    return x


def interval_probability(lower: Tensor, upper: Tensor) -> Tensor:
    """sigmoid(upper) - sigmoid(lower), computed on the side where both are small."""
    sign = torch.where(lower + upper > 0, -1.0, 1.0).to(lower)
    return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()


class FactorisedDensity(nn.Module):
    """Independent channels, the same density at every place.

    Tensors are (N, C, ...): the channel is axis 1, whatever follows counts as places.
    """

    def __init__(self, channels: int, filters: Sequence[int] = (3, 3), init_scale: float = 10.0) -> None:
        """A broad bell over about +-`init_scale`; `filters` are the widths of the hidden layers."""
        super().__init__()
        self.channels = channels
        widths = (1, *filters, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        self.matrices, self.biases, self.factors = (nn.ParameterList() for _ in range(3))
        for inner, outer in zip(widths[:-1], widths[1:], strict=True):
            start = math.log(math.expm1(1 / (scale * outer)))
            self.matrices.append(nn.Parameter(torch.full((channels, outer, inner), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, outer, 1) - 0.5))
        for width in filters:
            self.factors.append(nn.Parameter(torch.zeros(channels, width, 1)))

    def layers(self, dtype: torch.dtype | None = None) -> list[Layer]:
        """The network, in another precision if asked."""
        factors = [*self.factors, None]
        return [
            Layer(m.to(dtype or m.dtype), b.to(dtype or b.dtype), None if a is None else a.to(dtype or a.dtype))
            for m, b, a in zip(self.matrices, self.biases, factors, strict=True)
        ]

    def logits(self, x: Tensor) -> Tensor:
        """Logit of the cumulative density, the shape of x."""
        flat = self._flat(x)
        return self._unflat(logits(flat, self.layers()), x)

    def cdf(self, x: Tensor) -> Tensor:
        """Cumulative density in (0, 1), the shape of x."""
        return torch.sigmoid(self.logits(x))

    def likelihood(self, x: Tensor, alpha: Tensor | float | None = None, centre: Tensor | float = 0.0) -> Tensor:
        """Density of latents x plus uniform noise, in (0, 1], the shape of x; at rounded latents, their probability.

        Args:
            x: (N, C, ...), noisy or rounded.
            alpha: The latents are soft-rounded with this before the noise; None: they are not.
            centre: From where they are soft-rounded.
        """
        low, high = x - 0.5, x + 0.5
        if alpha is not None:
            low, high = (soft_round_inverse(edge - centre, alpha) + centre for edge in (low, high))
        flat = torch.cat([self._flat(low), self._flat(high)], dim=2)
        lower, upper = logits(flat, self.layers()).chunk(2, dim=2)
        return self._unflat(interval_probability(lower, upper), x)

    def bits(self, x: Tensor, alpha: Tensor | float | None = None, centre: Tensor | float = 0.0) -> Tensor:
        """Bits of every noisy or rounded latent, >= 0, the shape of x; at most 29.9. Arguments as `likelihood`."""
        return -torch.log2(lower_bound(self.likelihood(x, alpha, centre), LIKELIHOOD_BOUND))

    @torch.no_grad()
    def quantile(self, logit: float) -> Tensor:
        """Find by bisection where the logit of the cumulative density takes a value: (C,) in float64.

        Raises:
            PimError: if the density has no such place within 2^40.
        """
        layers = self.layers(torch.float64)
        target = torch.full((self.channels, 1, 1), logit, dtype=torch.float64, device=self.matrices[0].device)
        low, high = -torch.ones_like(target), torch.ones_like(target)
        for bound, side in ((low, -1), (high, 1)):
            while (outside := side * logits(bound, layers) < side * target).any():
                bound[outside] *= 2
                if bound.abs().max() > WIDEST:
                    raise PimError("the factorised density has no tail within 2^40; its training went wrong")
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = logits(middle, layers) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return ((low + high) / 2).flatten()

    def median(self) -> Tensor:
        """The median of every channel, (C,) in float64."""
        return self.quantile(0.0)

    def tails(self, mass: float) -> tuple[Tensor, Tensor]:
        """Below the first lies mass / 2, above the second as much: (C,) each, in float64."""
        logit = math.log(2 / mass - 1)
        return self.quantile(-logit), self.quantile(logit)

    def _flat(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(self.channels, 1, -1)

    def _unflat(self, flat: Tensor, like: Tensor) -> Tensor:
        return flat.reshape(like.shape[1], like.shape[0], *like.shape[2:]).transpose(0, 1)
