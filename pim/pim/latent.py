"""Distributions over z at one position of a band: unit-variance Gaussians and mixtures of them.

Source: arXiv 2006.06752, section on the distance; densities as in its released code.
Paper letters: x, y images, z the latent of D dimensions, mu means, q(z|x) the marginal encoder.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """q(z|x) at every position of a band: M unit-variance Gaussians in D dimensions."""

    means: Tensor  # (N, M, D, h, w)
    logits: Tensor | None  # (N, M, h, w), unnormalised; None for M = 1

    def crop(self, rows: slice, columns: slice) -> Mixture:
        """The same at some positions only."""
        logits = None if self.logits is None else self.logits[..., rows, columns]
        return Mixture(self.means[..., rows, columns], logits)

    def split(self, count: int) -> tuple[Mixture, Mixture]:
        """The first `count` images of a batch, and the rest."""
        logits = (None, None) if self.logits is None else (self.logits[:count], self.logits[count:])
        return Mixture(self.means[:count], logits[0]), Mixture(self.means[count:], logits[1])


def log_density(z: Tensor, q: Mixture) -> Tensor:
    """Log density of z under q at every position.

    Args:
        z: (N, D, h, w).
        q: With means (N, M, D, h, w).

    Returns:
        (N, h, w), in nats: logsumexp over m of log softmax(logits)_m - |z - mu_m|^2 / 2 - D/2 log 2 pi.
    """
    return log_mixture(z, q) - 0.5 * q.means.shape[2] * math.log(2 * math.pi)


def log_mixture(z: Tensor, q: Mixture) -> Tensor:
    """Log density without the constant, which would cost digits where it cancels anyway."""
    exponent = -0.5 * (z[:, None] - q.means).square().sum(2)
    if q.logits is None:
        return exponent[:, 0]
    return torch.logsumexp(torch.log_softmax(q.logits, 1) + exponent, 1)
