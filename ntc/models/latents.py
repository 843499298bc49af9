"""What the latents of all codecs share: proxies of rounding in training, and the factorised prior.

Sources: arXiv 1802.01436 (factorised prior), 2006.09952 (soft rounding), 2007.08739 (mixed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ntc import conditional, tables
from ntc.bounds import lower_bound
from ntc.models.exchange import Coding, Exchange
from ntc.models.fixedpoint import MEAN_BITS, grid, round_to
from ntc.prior import FactorisedDensity
from ntc.quantize import add_noise, soft_round, soft_round_conditional_mean, straight_through
from pim.errors import UsageError

Rounding = Literal["noise", "mixed", "straight", "dither", "soft"]
_INDEX_BITS = 3
INDEX_UNIT = 2.0**_INDEX_BITS  # entries of the table of scales per unit of a network's output
START_SCALE = 2.2  # output of a network for a scale of about 1


@dataclass(frozen=True)
class Proxy:
    """What stands for rounding in training.

    `noise`: uniform noise for rate and distortion. `mixed`: noise for the rate, straight-through rounding
    for the distortion. `straight`: straight-through for both. `dither`: rounding from random offsets, for
    both. `soft`: soft rounding, noise, and the decoder's best guess of what was there before.
    """

    rounding: Rounding = "mixed"
    alpha: float = 4.0  # steepness of soft rounding

    def rate_side(self, y: Tensor, mean: Tensor | float) -> Tensor:
        """What the rate is counted at."""
        if self.rounding == "straight":
            return straight_through(y, mean)
        if self.rounding == "dither":
            return straight_through(y, torch.rand_like(y) - 0.5)
        if self.rounding == "soft":
            return add_noise(soft_round(y - mean, self.alpha)) + mean
        return add_noise(y)

    def decoder_side(self, y: Tensor, mean: Tensor | float, rate_side: Tensor) -> Tensor:
        """What the synthesis gets."""
        if self.rounding == "mixed":
            return straight_through(y, mean)
        if self.rounding == "soft":
            return soft_round_conditional_mean(rate_side - mean, self.alpha) + mean
        return rate_side

    @property
    def softness(self) -> float | None:
        """The alpha that the densities have to know of; None without soft rounding."""
        return self.alpha if self.rounding == "soft" else None


class FactorisedPrior(nn.Module):
    """Latents without any context: a density per channel, an offset on the grid, tables."""

    offset: Tensor

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name = name
        self.density = FactorisedDensity(channels)
        self.register_buffer("offset", torch.zeros(channels))
        self.tables: tables.Tables | None = None

    def proxy(self, v: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor]:
        """What the decoder gets, and bits per image (N,), in training."""
        mean = self.offset[:, None, None]
        noisy = proxy.rate_side(v, mean)
        bits = self.density.bits(noisy, proxy.softness, mean)
        return proxy.decoder_side(v, mean, noisy), bits.flatten(1).sum(1)

    def exact(self, v: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """Send (1, C, *size) through an exchange; returns what both sides know afterwards."""
        channels = self.density.channels
        mean = self.offset.cpu()[None, :, None, None].expand(1, channels, *size)
        index = torch.arange(channels)[None, :, None, None].expand(mean.shape)
        return exchange.block(v, mean, index, self.coding()) + mean

    def coding(self) -> Coding:
        """The tables.

        Raises:
            UsageError: if there are no tables yet.
        """
        if self.tables is None:
            raise UsageError("this codec has no tables yet; call its export() after training")
        return Coding(self.name, self.tables)

    def least_bits(self, size: tuple[int, int]) -> float:
        """Bits of `size` places whose symbols are all the most probable ones."""
        return float(self.coding().tables.cheapest.sum()) * size[0] * size[1]

    @torch.no_grad()
    def centre(self) -> None:
        """Put the offset where the density has its median."""
        median = self.density.median()
        self.offset.copy_(grid(median - median.round()))

    def export(self) -> None:
        """Make the tables."""
        self.centre()
        self.tables = tables.factorised(self.density, self.offset.double().cpu().numpy())


def soft_index(raw: Tensor) -> Tensor:
    """A network's output as a place in the table of scales, 0 .. 63, with a gradient that leads back inside."""
    last = conditional.SCALES - 1
    inside = lower_bound(raw * INDEX_UNIT, 0.0)
    return last - lower_bound(last - inside, 0.0)


def gaussian_proxy(y: Tensor, mean: Tensor | float, raw_scale: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor]:
    """Give what the decoder gets of y, (N, M, h, w), in training, and bits per image (N,), under predicted Gaussians.

    Their scales are a network's output, see `soft_index`.
    """
    noisy = proxy.rate_side(y, mean)
    bits = conditional.bits(noisy, mean, conditional.scale_of(soft_index(raw_scale)), proxy.softness)
    return proxy.decoder_side(y, mean, noisy), bits.flatten(1).sum(1)


def exact_index(sums: Tensor) -> Tensor:
    """The table numbers that whole sums of a network (steps of 2^-24) stand for, int64."""
    return round_to(sums, _INDEX_BITS).clamp(0, conditional.SCALES - 1).long()


def exact_mean(sums: Tensor) -> Tensor:
    """The means that whole sums of a network (steps of 2^-24) stand for, on a grid of 1/16, float32."""
    return (round_to(sums, MEAN_BITS) * 2.0**-MEAN_BITS).float()
