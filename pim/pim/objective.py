"""The bound on I(X;Y;Z) that PIM maximises, in nats.

Source: arXiv 2006.06752, the variational bound of section 2. With z ~ p(z|x,y),

    I_i = log q(z_i|x_i) + log q(z_i|y_i) - log p(z_i|x_i,y_i) - log (1/N) sum_n p(z_i|x_n,y_n)

is a lower bound in expectation, at most log N (the own term stands in its own denominator).
z is a tensor over the positions of a band, which leaves three ways to take the logarithm of the
mean over the minibatch:

    position   at every position of its own, then averaged over positions
    scale      on log densities averaged over the positions of a band: one bound per band
    image      on log densities averaged over positions and bands: one bound per image

`scale` and `image` use geometric means of densities: a softened contrastive objective.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pim.pim.distance import Mixture, log_density

BoundForm = Literal["position", "scale", "image"]


class BandTerms(NamedTuple):
    """The four log densities of one band, in nats."""

    log_q_x: Tensor  # (N, h, w): log q(z_i|x_i)
    log_q_y: Tensor  # (N, h, w): log q(z_i|y_i)
    log_joint: Tensor  # (N, h, w): log p(z_i|x_i,y_i)
    cross: Tensor  # log p(z_i|x_n,y_n): (N, N) averaged over positions, or (N, N, h, w) for `position`


def band_terms(
    z: Tensor, q_x: Mixture, q_y: Mixture, joint_mean: Tensor, all_joint_means: Tensor, form: BoundForm
) -> BandTerms:
    """Compute the log densities of one band.

    Args:
        z: (N, D, h, w), drawn from p(z|x,y): joint_mean + standard normal noise.
        q_x: q(z|x), means (N, M, D, h, w).
        q_y: q(z|y), the same shape.
        joint_mean: (N, D, h, w), the mean of p(z|x,y).
        all_joint_means: (K, D, h, w): those of the whole minibatch, over all processes.
        form: Which bound the terms are for.
    """
    log_joint = log_density(z, Mixture(joint_mean[:, None], None))
    cross = _cross_per_position(z, all_joint_means) if form == "position" else _cross(z, all_joint_means)
    return BandTerms(log_density(z, q_x), log_density(z, q_y), log_joint, cross)


def bound(terms: list[BandTerms], form: BoundForm) -> Tensor:
    """The bound for every pair, in nats: (B, N) for `position` and `scale`, by band; (1, N) for `image`."""
    if form == "position":
        return torch.stack([_combine(t).mean((1, 2)) for t in terms])
    means = [
        BandTerms(t.log_q_x.mean((1, 2)), t.log_q_y.mean((1, 2)), t.log_joint.mean((1, 2)), t.cross) for t in terms
    ]
    if form == "scale":
        return torch.stack([_combine(t) for t in means])
    over_bands = BandTerms(*(torch.stack(d).mean(0) for d in zip(*means, strict=True)))
    return _combine(over_bands)[None]


def _combine(t: BandTerms) -> Tensor:
    marginal = torch.logsumexp(t.cross, 1) - math.log(t.cross.shape[1])
    return t.log_q_x + t.log_q_y - t.log_joint - marginal


def _cross(z: Tensor, means: Tensor) -> Tensor:
    """Position mean of log p(z_i|x_n,y_n), (N, K), as one matrix product."""
    dimensions, positions = z.shape[1], z.shape[2] * z.shape[3]
    a, b = z.flatten(1), means.flatten(1)
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
    return -0.5 * squares / positions - 0.5 * dimensions * math.log(2 * math.pi)


def _cross_per_position(z: Tensor, means: Tensor) -> Tensor:
    """Log p(z_i|x_n,y_n) at every position, (N, K, h, w)."""
    squares = (z[:, None] - means[None]).square().sum(2)
    return -0.5 * squares - 0.5 * z.shape[1] * math.log(2 * math.pi)
