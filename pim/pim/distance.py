"""The distance of PIM on one screen: from the latents of two images to one number.

    x -> bands -> networks -> q(z|x) at every position       `pim.pim.pyramid`, `pim.pim.networks`

    d_b(x, y) = mean over positions of KL(q(z|x) || q(z|y)) + KL(q(z|y) || q(z|x))
    d(x, y)   = mean over bands of w_b d_b                   published: w_b = 1

Source: arXiv 2006.06752 and its released code. For single Gaussians the divergence is a squared difference, which PIM-1
divides by the dimensions D. Deviations: PIM-5 is estimated with less noise; bands can have fixed weights; with
`distance="root_mean_square"`, d_b is the root of what is published, a norm of the difference: d obeys the triangle
inequality.

Paper letters: x, y images, z the latent of D dimensions, mu means, q(z|x) the marginal encoder. `pim.pim.tiled`
computes the same in tiles, `pim.pim.maps` what every pixel contributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pim.core.device import accumulation

if TYPE_CHECKING:
    from pim.pim.networks import PIMConfig


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
    """Compute the log density of z (N, D, h, w) under q at every position, (N, h, w), in nats.

    It is logsumexp over m of log softmax(logits)_m - |z - mu_m|^2 / 2 - D/2 log 2 pi.
    """
    return log_mixture(z, q) - 0.5 * q.means.shape[2] * math.log(2 * math.pi)


def log_mixture(z: Tensor, q: Mixture) -> Tensor:
    """Log density without the constant, which would cost digits where it cancels anyway."""
    exponent = -0.5 * (z[:, None] - q.means).square().sum(2)
    if q.logits is None:
        return exponent[:, 0]
    return torch.logsumexp(torch.log_softmax(q.logits, 1) + exponent, 1)


def squared_difference(p: Mixture, q: Mixture) -> Tensor:
    """PIM-1 at every position, (N, h, w), >= 0: mean over the D dimensions of (mu_p - mu_q)^2.

    This is the symmetrised Kullback-Leibler divergence of the two unit Gaussians, divided by D.
    """
    return (p.means[:, 0] - q.means[:, 0]).square().mean(1)


def symmetrised_divergence(p: Mixture, q: Mixture, noise: Tensor) -> Tensor:
    """PIM-5 at every position, (N, h, w): an estimate of KL(p || q) + KL(q || p), in nats, by S draws of noise.

    Stratified over the components, one draw each: sum over m of w_m [log p(z_m) - log q(z_m)] with
    z_m = mu_m + noise. Both directions use the same noise, so the estimate is exactly symmetric, exactly 0
    for p = q, and, for single Gaussians, free of sampling error (the two errors cancel).
    Deviation from the released code, which draws a component and independent noise: same
    expectation, smaller variance, and a gradient. It can be slightly negative for near pairs.
    """
    return torch.stack([_log_ratio(p, q, draw) + _log_ratio(q, p, draw) for draw in noise.unbind(0)]).mean(0)


def _log_ratio(p: Mixture, q: Mixture, noise: Tensor) -> Tensor:
    """An estimate of KL(p || q) at every position, (N, h, w)."""
    weights = torch.ones_like(p.means[:, :, 0]) if p.logits is None else torch.softmax(p.logits, 1)
    total = torch.zeros_like(p.means[:, 0, 0])
    for m in range(p.means.shape[1]):
        z = p.means[:, m] + noise[m]
        total = total + weights[:, m] * (log_mixture(z, p) - log_mixture(z, q))
    return total


def divergence(p: Mixture, q: Mixture, noise: Tensor | None) -> Tensor:
    """How far the latents of two images are apart at every position of a band, (N, h, w)."""
    return squared_difference(p, q) if noise is None else symmetrised_divergence(p, q, noise)


def over_positions(parts: Iterable[Tensor], config: PIMConfig) -> Tensor:
    """d_b: one number per image, (N,), from the divergences (N, h, w) at all positions of a band, or in tiles of it."""
    sums, count = [], 0
    for part in parts:
        # Sums over millions of positions lose digits in float32.
        sums.append(part.sum((1, 2), dtype=accumulation(part.device)))
        count += part.shape[1] * part.shape[2]
    mean = torch.stack(sums).sum(0) / count
    return mean if config.distance == "mean_square" else root(mean)


def root(square: Tensor) -> Tensor:
    """The root of numbers >= 0, with gradient 0 at 0, where the images are equal and the slope has no limit."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def over_bands(per_band: Tensor, weights: Tensor | None) -> Tensor:
    """d: one number per image from those of its bands, (B, N) -> (N,): mean of w_b d_b, w (B,) or all 1."""
    return (per_band if weights is None else weights[:, None] * per_band).mean(0)
