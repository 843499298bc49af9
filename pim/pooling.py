"""From the distances in the bands to one number, or to one map.

Source: arXiv 2006.06752 takes the plain mean over bands. Deviation: fixed weights and a power are
possible, and stand in the settings of a weight file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pim.config import PIMConfig


def pool(per_band: Tensor, config: PIMConfig) -> Tensor:
    """One distance per image from the distances in its bands.

    d = mean over bands of (w_b d_b + f)^p - f^p; the published form has all w_b = 1 and p = 1.

    Args:
        per_band: (B, N), >= 0.
        config: band_weights w, band_power p, band_floor f (used where p < 1).

    Returns:
        (N,), 0 where all bands are 0.
    """
    weighted = _weighted(per_band, config)
    if config.band_power == 1.0:
        return weighted.mean(0)
    floor, power = config.band_floor, config.band_power
    # Estimates of a mixture distance can be negative, where a power is not defined.
    mean: Tensor = ((weighted.clamp_min(0) + floor) ** power - floor**power).mean(0)
    return mean


def _weighted(per_band: Tensor, config: PIMConfig) -> Tensor:
    if not config.band_weights:
        return per_band
    return per_band * torch.tensor(config.band_weights, dtype=per_band.dtype, device=per_band.device)[:, None]


def shares(per_band: Tensor, config: PIMConfig) -> Tensor:
    """Factors (B, N) with which the band maps add up to a map whose mean is the pooled distance."""
    slope = _weighted(torch.ones_like(per_band), config) / len(per_band)
    if config.band_power == 1.0:
        return slope
    floor, power = config.band_floor, config.band_power
    value = ((_weighted(per_band, config).clamp_min(0) + floor) ** power - floor**power) / len(per_band)
    return torch.where(per_band > 0, value / per_band.clamp_min(1e-30), slope * power * floor ** (power - 1))


def spread(band_map: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """A band map at image size, (N, h, w) -> (N, H, W): every pixel takes the mean of what it covers, so means stay."""
    if tuple(band_map.shape[1:]) == tuple(size):
        return band_map
    rows, columns = (_cover(fine, coarse, band_map) for fine, coarse in zip(size, band_map.shape[1:], strict=True))
    return rows @ band_map @ columns.T


def _cover(fine: int, coarse: int, like: Tensor) -> Tensor:
    """(fine, coarse): share of each coarse cell in each fine cell of the same interval; rows sum to 1."""
    edges = torch.arange(fine + 1, dtype=torch.float64) * coarse / fine
    cells = torch.arange(coarse, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    return (overlap.clamp_min(0) * fine / coarse).to(like)
