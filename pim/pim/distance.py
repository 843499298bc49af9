"""The distance of PIM on one screen: from the latents of two images to one number, and to a map.

    x -> bands -> networks -> q(z|x) at every position       `pim.pim.pyramid`, `pim.pim.networks`, `pim.pim.latent`

    d_b(x, y) = mean over positions of KL(q(z|x) || q(z|y)) + KL(q(z|y) || q(z|x))
    d(x, y)   = mean over bands of w_b d_b                   published: w_b = 1

Source: arXiv 2006.06752 and its released code. For single Gaussians the divergence is a squared difference, which PIM-1
divides by the dimensions D. Deviations: PIM-5 is estimated with less noise; bands can have fixed weights; with
`distance="root_mean_square"`, d_b is the root of what is published, a norm of the difference: d obeys the triangle
inequality.

`pim.pim.tiled` computes the same in tiles.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pim.core.device import accumulation
from pim.pim.config import PIMConfig
from pim.pim.filtering import window_sums
from pim.pim.latent import Mixture, log_mixture


def squared_difference(p: Mixture, q: Mixture) -> Tensor:
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
    """d_b: one number per image from the divergences at all positions of a band.

    Args:
        parts: (N, h, w) each: all positions, or tiles that make them up.
        config: For `distance`.

    Returns:
        (N,).
    """
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


def distance_map(bands: Iterable[Tensor], weights: Tensor | None, config: PIMConfig, size: tuple[int, int]) -> Tensor:
    """What every pixel contributes: a map whose mean is the distance.

    It is the mean over bands of w_b u_b, spread over the pixels that a position covers, with u the divergence at the
    position or, for the root mean square, divergence / d_b, shared with the positions that it has been computed from.

    Args:
        bands: Divergences at all positions of each band, (N, h, w).
        weights: w, (B,); None: all 1.
        config: For `distance`.
        size: H, W of the image.

    Returns:
        (N, 1, H, W), 0 where nothing differs.
    """
    total: Tensor | int = 0
    for i, places in enumerate(list(bands)):  # all of them first: then what they were made of is no more in memory
        if config.distance == "root_mean_square":
            whole = root(places.mean((1, 2), keepdim=True))
            places = _shared(places / torch.where(whole > 0, whole, 1), config)
        total = total + spread(places if weights is None else weights[i] * places, size)
    assert isinstance(total, Tensor)
    return total[:, None] / config.bands


def _shared(places: Tensor, config: PIMConfig) -> Tensor:
    """Share what each position has evenly with what every convolution after the first has seen of it; sums stay."""
    for _ in range((len(config.filters) - 1) * (config.kernel // 2)):  # 3 x 3 each, as borders keep sums only then
        places = window_sums(places[:, None], 3, "replicate")[:, 0] / 9
    return places


def spread(band_map: Tensor, size: tuple[int, int]) -> Tensor:
    """A band map at image size, (N, h, w) -> (N, H, W): every pixel takes the mean of what it covers, so means stay."""
    for dim, pixels in ((1, size[0]), (2, size[1])):
        if (positions := band_map.shape[dim]) != pixels:
            first, share = _covered(pixels, positions, band_map)
            share = share if dim == 2 else share[:, None]
            after = (first + 1).clamp(max=positions - 1)
            # Not as a sum of products: maps of millions of pixels should not be held five times.
            band_map = torch.lerp(band_map.index_select(dim, after), band_map.index_select(dim, first), share)
    return band_map


def _covered(pixels: int, positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the one or two positions that each pixel covers, and how much of the pixel lies in it."""
    # In whole numbers, exact on every device: pixels are `positions` long, positions are `pixels` long.
    start = torch.arange(pixels, device=like.device) * positions
    first = start // pixels
    inside = ((first + 1) * pixels - start).clamp(max=positions)
    return first, inside.to(like.dtype) / positions
