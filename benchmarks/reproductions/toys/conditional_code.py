"""One transform code for a range of trade-offs: gains on the latents that depend on lambda.

y = a(lambda) g_a(x) is rounded, and the synthesis gets y / a(lambda), so large gains mean fine steps. One
density of g_a(x) serves all lambdas: a symbol costs what the density gives to its cell of width 1 / a.

Source: the idea of gains, arXiv 2003.02012, after the discussion of rate-distortion parameterisations in
arXiv 2007.03034. Deviations: gains are a small network of log lambda and start at sqrt(lambda), where uniform
steps are best at high rates; `informed` networks see log lambda as a further input too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntc.bounds import lower_bound
from ntc.prior import LIKELIHOOD_BOUND, FactorisedDensity, interval_probability
from ntc.quantize import add_noise, quantise
from reproductions.toys.transform_code import Coded, perceptron

GAIN_WIDTH = 16


class ConditionalCode(nn.Module):
    """A transform code that is told lambda.

    Args:
        dimensions: D of the source.
        width: Units of the two hidden layers on either side.
        informed: The networks see log lambda.
    """

    def __init__(self, dimensions: int, width: int, informed: bool) -> None:
        super().__init__()
        self.informed = informed
        more = int(informed)
        self.analysis = perceptron((dimensions + more, width, width, dimensions), nn.Softplus)
        self.synthesis = perceptron((dimensions + more, width, width, dimensions), nn.Softplus)
        self.gain = perceptron((1, GAIN_WIDTH, dimensions), nn.Softplus)
        self.density = FactorisedDensity(dimensions)

    def forward(self, x: Tensor, lmbda: Tensor, generator: torch.Generator | None = None) -> Coded:
        """Rate and distortion with noise in place of rounding.

        Args:
            x: (N, D).
            lmbda: (N,), > 0.
            generator: Of the noise.
        """
        log = lmbda.log()[:, None]
        gain = self._gains(log)
        return self._coded(x, log, gain, add_noise(gain * self._see(self.analysis, x, log), generator))

    @torch.no_grad()
    def code(self, x: Tensor, lmbda: float) -> Coded:
        """Rate and distortion with real rounding; a cell has its centre on the median of each latent."""
        log = torch.full((len(x), 1), math.log(lmbda))
        gain = self._gains(log)
        median = gain[0] * self.density.median().float()
        offset = median - median.round()
        y = gain * self._see(self.analysis, x, log)
        return self._coded(x, log, gain, quantise(y, offset) + offset)

    def _coded(self, x: Tensor, log: Tensor, gain: Tensor, y: Tensor) -> Coded:
        lower, upper = (self.density.logits((y + side) / gain) for side in (-0.5, 0.5))
        bits = -torch.log2(lower_bound(interval_probability(lower, upper), LIKELIHOOD_BOUND)).sum(1)
        decoded = self._see(self.synthesis, y / gain, log)
        return Coded(bits, F.mse_loss(decoded, x, reduction="none").sum(1))

    def _gains(self, log: Tensor) -> Tensor:
        found: Tensor = torch.exp(0.5 * log + self.gain(log))
        return found

    def _see(self, network: nn.Module, values: Tensor, log: Tensor) -> Tensor:
        found: Tensor = network(torch.cat([values, log], dim=1) if self.informed else values)
        return found
