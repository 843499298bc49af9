"""From the distances at the positions to one number per band, and from those to one number, or to one map.

Source: arXiv 2006.06752 takes plain means over positions and over bands. Deviation: a power over positions
(Minkowski pooling), and fixed weights and a power over bands are possible, and stand in the settings of a weight file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pim.pim.config import PIMConfig


class OverPositions:
    """One distance per image from those at all positions of a band: (mean of d^p)^(1/p), tile by tile."""

    def __init__(self, power: float, dtype: torch.dtype, positions: int | None = None) -> None:
        """The power p (1: plain mean), the type of sums, and the positions behind all values; None: one each."""
        self.power, self.dtype = power, dtype
        self.parts: list[Tensor] = []
        self.positions, self.values = positions, 0

    def add(self, tile: Tensor, areas: Tensor | None) -> None:
        """Distances (N, h, w), and how many positions each stands for, (h, w); None: one."""
        if self.power == 1:
            self.parts.append((tile if areas is None else tile * areas).sum((1, 2), dtype=self.dtype))
        else:
            # The norm has a gradient at 0, where a root has none.
            weighted = tile if areas is None else tile * areas ** (1 / self.power)
            self.parts.append(torch.linalg.vector_norm(weighted, self.power, (1, 2), dtype=self.dtype))
        self.values += tile.shape[1] * tile.shape[2]

    def value(self) -> Tensor:
        """(N,)."""
        parts, count = torch.stack(self.parts), self.positions or self.values
        if self.power == 1:
            return parts.sum(0) / count
        pooled: Tensor = torch.linalg.vector_norm(parts, self.power, 0) / count ** (1 / self.power)
        return pooled


def power_map(positions: Tensor, power: float) -> Tensor:
    """A map whose mean is what `OverPositions` gives of these distances (N, h, w): d^p / pooled^(p-1)."""
    if power == 1:
        return positions
    count = positions.shape[1] * positions.shape[2]
    # In units of the largest, which cancel: powers of small distances leave the range of float32.
    unit = positions / positions.detach().amax((1, 2), keepdim=True).clamp_min(1e-30)
    pooled = torch.linalg.vector_norm(unit, power, (1, 2), keepdim=True) / count ** (1 / power)
    share: Tensor = positions * (unit / pooled.clamp_min(1e-30)) ** (power - 1)
    return share


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
