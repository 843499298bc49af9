"""What every pixel contributes to the distance of PIM."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pim.pim.distance import root
from pim.pim.networks import PIMConfig, window_sums


def distance_map(bands: Iterable[Tensor], weights: Tensor | None, config: PIMConfig, size: tuple[int, int]) -> Tensor:
    """What every pixel contributes, (N, 1, H, W): a map whose mean is the distance, 0 where nothing differs.

    It is the mean over bands of w_b u_b, spread over the pixels that a position covers, with u the divergence at the
    position or, for the root mean square, divergence / d_b, shared with the positions that it has been computed from.

    Args:
        bands: Divergences at all positions of each band, (N, h, w).
        weights: w, (B,); None: all 1.
        config: For `distance`.
        size: H, W of the image.
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
