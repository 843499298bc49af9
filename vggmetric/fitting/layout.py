"""Which quantities belong to which layer."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.errors import check_known
from vggmetric.fitting.choice import Array

PIXELS = "pixels"


@dataclass(frozen=True)
class Layout:
    """Layers, first to last, with their channels side by side."""

    layers: tuple[str, ...]  # (L,) such as pixels, relu1_1, relu1_2
    channels: tuple[int, ...]  # (L,)

    @property
    def size(self) -> int:
        """The number of all channels, P."""
        return sum(self.channels)

    def columns(self, layer: str) -> slice:
        """Where the channels of a layer are."""
        place = self.layers.index(layer)
        start = sum(self.channels[:place])
        return slice(start, start + self.channels[place])

    def pooled(self, quantities: NDArray[np.float32] | Array) -> Array:
        """Sums over the channels of every layer: (M, P) -> (M, L)."""
        starts = np.cumsum([0, *self.channels[:-1]])
        return np.asarray(np.add.reduceat(quantities, starts, axis=1, dtype=np.float64))

    def spread(self, weights: Array) -> Array:
        """The weight of a layer for each of its channels: (..., L) -> (..., P)."""
        return np.asarray(np.repeat(weights, self.channels, axis=-1))

    def by_layer(self, weights: Array) -> Array:
        """Split weights (P,) into those of every layer, (P, L); a layer that has none counts its channels alike."""
        found = np.zeros((self.size, len(self.layers)))
        for place, layer in enumerate(self.layers):
            own = weights[self.columns(layer)]
            found[self.columns(layer), place] = own if own.any() else 1.0
        return found

    def uniform(self) -> Array:
        """Weight 1 on every layer of the network, none on the pixels: (P,)."""
        return self.spread(np.array([layer != PIXELS for layer in self.layers], dtype=np.float64))

    def without(self, layers: Collection[str]) -> Layout:
        """The layout of what is left when some layers are taken out."""
        kept = [(layer, count) for layer, count in zip(self.layers, self.channels, strict=True) if layer not in layers]
        return Layout(tuple(layer for layer, _ in kept), tuple(count for _, count in kept))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The layers by what they see: the pixels, and the blocks between two poolings."""
        found: dict[str, list[str]] = {}
        for layer in self.layers:
            block = re.fullmatch(r"relu(\d)_\d", layer)
            found.setdefault(f"block{block[1]}" if block else layer, []).append(layer)
        return {name: tuple(layers) for name, layers in found.items()}

    def named(self, name: str) -> tuple[str, ...]:
        """The layers of a group, or the one of that name.

        Raises:
            UsageError: if there is neither.
        """
        groups = self.groups()
        if name in groups:
            return groups[name]
        check_known("this backbone has no layer or group", [name], [*groups, *self.layers])
        return (name,)

    def mask(self, layers: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which channels belong to some layers, (P,)."""
        found = np.zeros(self.size, dtype=bool)
        for layer in layers:
            found[self.columns(layer)] = True
        return found
