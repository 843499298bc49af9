"""The quantities of the VGG metric: how far two pictures are apart in every channel of every tap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pim._version import VERSION
from pim.scoring.fingerprint import parameters_hash
from vggmetric import loading
from vggmetric.embedding import EPS, Analysis, Embedding, Norm
from vggmetric.features import CHANNELS, Pool
from vggmetric.fitting.layout import PIXELS, Layout

MEASURED = 1024  # side of the middle part of a reference over which the scale of a tap is taken


@dataclass(frozen=True)
class ReferenceQuantities:
    """What is computed of references alone."""

    analysis: Analysis
    squares: Tensor | None  # (N, L) mean squares of the taps; None where no scales are needed


class VGGQuantities:
    """What a backbone says about picture pairs: q of every channel, as the layout has them.

    With norm "none" the mean squares of the taps of the reference follow, from which the scales of a head come.

    Raises:
        MetricUnavailable: if the weights of the backbone are not here.
    """

    def __init__(self, backbone: str, norm: Norm = "unit", pool: Pool = "max", device: str = "cpu") -> None:
        self.backbone, self.norm, self.pool = backbone, norm, pool
        network = loading.load(backbone, pool=pool).to(device)
        self.layout = Layout(tuple(network.taps), tuple(CHANNELS[tap] for tap in network.taps))
        self._embedding = Embedding(network, norm)

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """All that the values depend on besides the pictures."""
        weights = parameters_hash(self._embedding.network)
        settings = {"norm": self.norm, "pool": self.pool, "eps": EPS}
        return {"backbone": self.backbone, "weights": weights, "version": VERSION, **settings}

    @property
    def size(self) -> int:
        """How many numbers there are for a pair."""
        return self.layout.size + (len(self.layout.layers) if self.norm == "none" else 0)

    def analyse(self, reference: Tensor) -> ReferenceQuantities:
        """What can be computed from references (N, 3, H, W) alone."""
        squares = self._mean_squares(reference) if self.norm == "none" else None
        return ReferenceQuantities(self._embedding.analyse(reference), squares)

    def compare(self, analysed: ReferenceQuantities, distorted: Tensor) -> Tensor:
        """The numbers of analysed references and distorted pictures (N, 3, H, W), (N, size)."""
        differences = self._embedding.differences(analysed.analysis, distorted)
        found = [differences[tap] for tap in self.layout.layers]
        return torch.cat([*found, *([] if analysed.squares is None else [analysed.squares])], dim=1)

    def split(self, numbers: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Quantities (M, P) and scales by tap, from the numbers of all pairs (M, size)."""
        quantities = numbers[:, : self.layout.size]
        if self.norm == "unit":
            return quantities, {}
        squares = numbers[:, self.layout.size :].mean(axis=0, dtype=np.float64)
        roots = {tap: float(np.sqrt(s)) or 1.0 for tap, s in zip(self.layout.layers, squares, strict=True)}
        scales = {tap: root for tap, root in roots.items() if tap != PIXELS}
        divisor = self.layout.spread(np.array([scales.get(tap, 1.0) ** 2 for tap in self.layout.layers]))
        return np.asarray(quantities / divisor, dtype=np.float32), scales

    def _mean_squares(self, reference: Tensor) -> Tensor:
        height, width = reference.shape[-2:]
        top, left = (max(0, (side - MEASURED) // 2) for side in (height, width))
        middle = reference[..., top : top + MEASURED, left : left + MEASURED]
        taps = dict(self._embedding.network(middle))
        return torch.stack([taps[tap].square().mean((1, 2, 3)) for tap in self.layout.layers], dim=1)
