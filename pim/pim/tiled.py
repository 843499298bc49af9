"""The distance of PIM by tiles, for images whose latents should not all be in memory; see `pim.pim.distance`.

A tile is computed with its surroundings, clipped at the border of the image, so that zero padding happens where it
would happen untiled: values are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pim.pim import distance
from pim.pim.distance import Mixture
from pim.pim.pyramid import Band, blocks
from pim.pim.tiles import Place, grid, positions_of, with_halo

if TYPE_CHECKING:
    from pim.pim.model import PIM

TILE = 256  # side of a tile, in positions of a band

Side = Band | Mixture  # one image in a band: not computed yet, or its latents
Tiles = Iterable[tuple[Place, Tensor]]  # where each lies, and the divergences there, (N, h, w)


def divergences(model: PIM, first: Iterable[Side], second: Iterable[Side]) -> Iterator[Tiles]:
    """The tiles of every band, coarsest first, to be used up before the next band."""
    for index, (x, y) in enumerate(zip(first, second, strict=True)):
        yield _band(model, index, x, y)


def joined(tiles: Tiles) -> Tensor:
    """The divergences of a band at all its positions, (N, h, w)."""
    parts = list(tiles)
    height, width = (max(place[axis].stop for place, _ in parts) for axis in (0, 1))
    whole = parts[0][1].new_empty(len(parts[0][1]), height, width)
    for (rows, columns), tile in parts:
        whole[:, rows, columns] = tile
    return whole


def _band(model: PIM, index: int, x: Side, y: Side) -> Iterator[tuple[Place, Tensor]]:
    config = model.config
    size = y.means.shape[-2:] if isinstance(y, Mixture) else [blocks(n, config.stride) for n in y.source.shape[-2:]]
    for where in grid(size, max(1, TILE // config.stride)):
        if isinstance(x, Band) and isinstance(y, Band):
            p, q = _latents(model, index, x, where, [x.source, y.source]).split(len(x.source))
        else:
            p, q = (_at(model, index, side, where) for side in (x, y))
        yield where, distance.divergence(p, q, model.noise(index, q.means, where))


def _at(model: PIM, index: int, side: Side, where: Place) -> Mixture:
    """q(z|.) at some positions of a band, from what is known of it already, or from the band."""
    return side.crop(*where) if isinstance(side, Mixture) else _latents(model, index, side, where, [side.source])


def _latents(model: PIM, index: int, band: Band, where: Place, sources: list[Tensor]) -> Mixture:
    """q(z|.) at some positions of a band, for the sources in one batch."""
    config, size = model.config, sources[0].shape[-2:]
    halo = sum(f.shape[-1] // 2 for f in band.filters) + config.surround // 2
    halo += (1 + (len(config.filters) - 1) * config.stride) * (config.kernel // 2)
    halo += -halo % config.stride  # the first latent of a tile must stay on the grid of the whole
    outer, inner = with_halo(positions_of(where, config.stride, size), halo, size)
    part = torch.cat([source[..., outer[0], outer[1]] for source in sources]).contiguous()
    rows, columns = (slice(s.start // config.stride, blocks(s.stop, config.stride)) for s in inner)
    return model.encode(index, Band(part, band.filters), rows, columns)
