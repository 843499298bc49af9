"""What a PIM costs and needs, from its settings alone: multiply-adds per pixel, and the smallest image."""

from __future__ import annotations

import torch
from torch import nn

from pim.core.info import MetricInfo
from pim.pim import pyramid
from pim.pim.networks import CHANNELS, FILTER_SETS, MarginalEncoder, PIMConfig, band_network


def about(config: PIMConfig, name: str = "pim") -> MetricInfo:
    """What one can know of a PIM with these settings and weights of one's own."""
    return MetricInfo(
        name=name,
        summary="PIM with weights of your own",
        lower_is_better=True,
        value_range=(0.0, float("inf")),
        min_size=max(smallest_side(config), 32),
        spatial=config.padding != "valid" and config.pyramid != "laplacian",
        operations=count_operations(config),
        source="arXiv 2006.06752",
    )


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
    networks = sum(
        share * _network(config, pictures) for share, pictures in zip(_shares(config), config.pictures, strict=True)
    )
    # Differences along rows and columns, and their squares, are taken at every pixel.
    return (networks + _filters(config)) / config.reduction**2 + (4 * CHANNELS if config.detail else 0)


def _network(config: PIMConfig, pictures: int) -> float:
    """At one position of a band."""
    with torch.device("meta"):
        convolutions = sum(layer.weight.numel() for layer in band_network(config, pictures))
        dense = sum(layer.weight.numel() for layer in MarginalEncoder(config).modules() if isinstance(layer, nn.Linear))
    # Squares and quotients of three colours, and sums over windows along rows and columns.
    surround = 2 * pictures * (3 + config.surround) if config.surround else 0
    return (convolutions + dense) / config.stride**2 + surround


def _shares(config: PIMConfig) -> list[float]:
    """How many positions every band has, coarsest first, for each position of the finest."""
    if config.pyramid == "none":
        return [1.0]
    scales = [4.0**-scale for scale in reversed(range(config.scales))]
    if config.pyramid == "laplacian":
        return scales
    each = 1 if config.grouped else FILTER_SETS[config.filter_set]
    oriented = [share for share in scales for _ in range(each)]
    return [4.0**-config.scales, *oriented, *[1.0] * (config.high_pass + config.detail)]


def _filters(config: PIMConfig) -> float:
    """Of the pyramid, at one position of the finest band."""
    if config.pyramid == "none":
        return 0.0
    quarters = [4.0**-scale for scale in range(config.scales + 1)]
    if config.pyramid == "laplacian":
        return 3 * 9 * (sum(quarters[1:]) + sum(quarters[:-1]))
    taps = pyramid.steerable_filters(config.filter_set)
    filters = 3 * (taps.lo0.numel() + config.high_pass * taps.hi0.numel())
    return filters + 3 * (taps.oriented.numel() * sum(quarters[:-1]) + taps.lo.numel() * sum(quarters[1:]))
