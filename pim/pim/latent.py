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
    return _log_mixture(z, q) - 0.5 * q.means.shape[2] * math.log(2 * math.pi)


def _log_mixture(z: Tensor, q: Mixture) -> Tensor:
    """Log density without the constant, which would cost digits where it cancels anyway."""
    exponent = -0.5 * (z[:, None] - q.means).square().sum(2)
    if q.logits is None:
        return exponent[:, 0]
    return torch.logsumexp(torch.log_softmax(q.logits, 1) + exponent, 1)


def squared_distance(p: Mixture, q: Mixture) -> Tensor:
    """PIM-1 at every position: mean over the D dimensions of (mu_p - mu_q)^2.

    This is the symmetrised Kullback-Leibler divergence of the two unit Gaussians, divided by D.

    Args:
        p: One component, means (N, 1, D, h, w).
        q: The same shape.

    Returns:
        (N, h, w), >= 0, 0 where the means are equal.
    """
    return (p.means[:, 0] - q.means[:, 0]).square().mean(1)


def symmetrised_divergence(p: Mixture, q: Mixture, noise: Tensor) -> Tensor:
    """PIM-5 at every position: an estimate of KL(p || q) + KL(q || p), in nats.

    Stratified over the components, one draw each: sum over m of w_m [log p(z_m) - log q(z_m)] with
    z_m = mu_m + noise. Both directions use the same noise, so the estimate is exactly symmetric, exactly 0
    for p = q, and, for single Gaussians, free of sampling error (the two errors cancel).
    Deviation from the released code, which draws a component and independent noise: same
    expectation, smaller variance, and a gradient.

    Args:
        p: Means (N, M, D, h, w).
        q: The same shape.
        noise: (S, M, D, h, w), standard normal; S draws are averaged.

    Returns:
        (N, h, w); an estimate, so it can be slightly negative for near pairs.
    """
    total = torch.zeros((), dtype=p.means.dtype, device=p.means.device)
    for draw in noise:
        total = total + _log_ratio(p, q, draw) + _log_ratio(q, p, draw)
    return total / len(noise)


def _log_ratio(p: Mixture, q: Mixture, noise: Tensor) -> Tensor:
    """An estimate of KL(p || q) at every position, (N, h, w)."""
    count = p.means.shape[1]
    weights = torch.ones_like(p.means[:, :, 0]) if p.logits is None else torch.softmax(p.logits, 1)
    total = torch.zeros_like(p.means[:, 0, 0])
    for m in range(count):
        z = p.means[:, m] + noise[m]
        total = total + weights[:, m] * (_log_mixture(z, p) - _log_mixture(z, q))
    return total
