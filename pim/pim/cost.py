"""What a PIM costs and needs, from its settings alone: multiply-adds per pixel, and the smallest image."""

from __future__ import annotations

import torch
from torch import nn

from pim.pim import pyramid
from pim.pim.config import PIMConfig
from pim.pim.networks import CHANNELS, MarginalEncoder, band_network


def smallest_side(config: PIMConfig) -> int:
    """The smallest image side for which every band has a position left."""
    cnn = 1 + (len(config.filters) * (config.kernel - 1) if config.padding == "valid" else 0)
    side = cnn
    if config.pyramid == "laplacian":
        for level in range(config.scales):
            side = max(cnn if config.residual and level == 0 else cnn + 4, 2 * (side - 1) + 3 if level else 0)
    elif config.pyramid == "steerable" and config.padding == "valid":
        filters = pyramid.steerable_filters(config.filter_set)
        for _ in range(config.scales):
            side = max(cnn + filters.oriented.shape[-1] - 1, 2 * (side - 1) + filters.lo.shape[-1])
        side = max(side + filters.lo0.shape[-1] - 1, cnn + filters.hi0.shape[-1] - 1)
    return side * config.reduction


def count_operations(config: PIMConfig) -> float:
    """Multiply-adds per pixel and image: pyramid, convolutions and encoders (pooling is left out)."""
    with torch.device("meta"):
        convolutions = sum(layer.weight.numel() for layer in band_network(config))
        dense = sum(layer.weight.numel() for layer in MarginalEncoder(config).modules() if isinstance(layer, nn.Linear))
    # Squares and quotients of three colours, and sums over windows along rows and columns.
    surround = 2 * (3 + config.surround) if config.surround else 0
    network = (convolutions + dense) / config.stride**2 + surround
    operations = _operations_per_position(config, network) / config.reduction**2
    # Differences along rows and columns, and their squares, are taken at every pixel.
    return operations + (network / config.reduction**2 + 4 * CHANNELS if config.detail else 0)


def _operations_per_position(config: PIMConfig, network: float) -> float:
    """Of all bands, per position of the finest one, when a network needs so many at each position of its band."""
    if config.pyramid == "none":
        return network
    quarters = [4.0**-scale for scale in range(config.scales + 1)]
    if config.pyramid == "laplacian":
        filters = 3 * 9 * (sum(quarters[1:]) + sum(quarters[:-1]))
        return sum(quarters[:-1]) * network + filters
    taps = pyramid.steerable_filters(config.filter_set)
    orientations = len(taps.oriented)
    positions = config.high_pass + orientations * sum(quarters[:-1]) + quarters[-1]
    filters = 3 * (taps.lo0.numel() + config.high_pass * taps.hi0.numel())
    filters += 3 * (taps.oriented.numel() * sum(quarters[:-1]) + taps.lo.numel() * sum(quarters[1:]))
    return positions * network + filters
