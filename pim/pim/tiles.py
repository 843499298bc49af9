"""Large images part by part: where the tiles of a band lie, and how much surrounding each needs."""

from __future__ import annotations

from collections.abc import Sequence

Place = tuple[slice, slice]  # rows and columns; slice(None) twice is all of a band
WHOLE: Place = (slice(None), slice(None))


def grid(size: Sequence[int], tile: int | None) -> list[Place]:
    """Where the tiles of a band of this size lie; None: all of it is one."""
    if tile is None:
        return [WHOLE]
    height, width = size
    rows = [slice(top, min(top + tile, height)) for top in range(0, height, tile)]
    columns = [slice(left, min(left + tile, width)) for left in range(0, width, tile)]
    return [(r, c) for r in rows for c in columns]


def positions_of(where: Place, side: int, size: Sequence[int]) -> Place:
    """The positions of a tile that is given in latents taken at every `side`-th position."""
    rows, columns = (
        slice(part.start * side, min(part.stop * side, length)) for part, length in zip(where, size, strict=True)
    )
    return rows, columns


def with_halo(where: Place, halo: int, size: Sequence[int]) -> tuple[Place, Place]:
    """The tile with its surroundings, clipped at the border, and where the tile lies in that."""
    if where[0].stop is None:
        return where, where
    outer, inner = [], []
    for part, length in zip(where, size, strict=True):
        start, stop = max(0, part.start - halo), min(length, part.stop + halo)
        outer.append(slice(start, stop))
        inner.append(slice(part.start - start, part.stop - start))
    return (outer[0], outer[1]), (inner[0], inner[1])
