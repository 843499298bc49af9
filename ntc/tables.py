"""Integer tables: probabilities as counts out of 2^16, the same on every machine.

A table covers the symbols low, low + 1, ...; its last entry is the escape, for everything else.
Source: pmf_to_quantized_cdf of tensorflow/compression, here to the same counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ntc import conditional
from ntc.prior import FactorisedDensity, interval_probability, logits
from pim.errors import InputError, WeightsError

PRECISION = 16  # bits
TAIL_MASS = 2.0**-14  # what the escape gets, about
LARGEST_TABLE = 1 << 14  # symbols

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


def quantise_pmf(pmf: Sequence[float] | NDArray[np.floating[Any]], precision: int = PRECISION) -> Ints:
    """Cumulative counts out of 2^precision of a probability mass function, every symbol possible.

    Rounds to the nearest count of at least 1, then takes or gives single counts where it costs the fewest or gains the
    most bits; so goes, too, what (n,) probabilities lack to a sum of 1.

    Returns:
        (n + 1,) from 0 to 2^precision, strictly increasing.

    Raises:
        InputError: if there are more symbols than counts, or values that are no probabilities.
    """
    p = np.asarray(pmf, dtype=np.float64)
    total = 1 << precision
    if p.ndim != 1 or not 2 <= len(p) <= total:
        raise InputError(f"a table of {precision} bits holds 2 to {total} symbols; got shape {p.shape}")
    if not np.isfinite(p).all() or p.min() < 0 or p.sum() > 1.001:
        raise InputError("probabilities must be finite, not negative, and sum up to 1 or less")
    counts = np.maximum(1, np.rint(p * total)).astype(np.int64)
    surplus = int(counts.sum()) - total
    if surplus > 0:
        _move(counts, p, surplus, -1)
    elif surplus < 0:
        _move(counts, p, -surplus, +1)
    return np.asarray(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _move(counts: NDArray[np.int64], p: Floats, units: int, step: int) -> None:
    """Add `step` to single counts, `units` times, each time where the expected length suffers least."""

    def cost(i: int) -> float:
        return float(p[i] * (np.log2(counts[i]) - np.log2(counts[i] + step)))

    queue = [(cost(i), i) for i in range(len(counts)) if step > 0 or counts[i] > 1]
    heapq.heapify(queue)
    for _ in range(units):
        _, i = heapq.heappop(queue)
        counts[i] += step
        if step > 0 or counts[i] > 1:
            heapq.heappush(queue, (cost(i), i))


@dataclass(frozen=True)
class Tables:
    """Several tables, one after the other."""

    cdf: Ints  # (sum of n_t + 1,): cumulative counts, each table from 0 to 2^16
    start: Ints  # (T + 1,): table t is cdf[start[t] : start[t + 1]]
    low: Ints  # (T,): the first symbol of each table

    def __post_init__(self) -> None:
        """Refuse what no table can be; files are not trusted.

        Raises:
            WeightsError: if an array is damaged.
        """
        cdf, start = self.cdf, self.start
        fine = cdf.ndim == start.ndim == self.low.ndim == 1 and len(start) == len(self.low) + 1 >= 2
        fine = fine and start[0] == 0 and start[-1] == len(cdf)
        fine = fine and np.diff(start).min() >= 3 and np.diff(start).max() <= LARGEST_TABLE
        if fine:
            steps = np.diff(cdf)
            steps[start[1:-1] - 1] = 1  # from one table to the next
            fine = steps.min() >= 1 and not cdf[start[:-1]].any() and (cdf[start[1:] - 1] == 1 << PRECISION).all()
        if not fine:
            raise WeightsError("the probability tables are damaged; train or fetch the codec again")

    def __len__(self) -> int:
        return len(self.low)

    def table(self, number: int) -> Ints:
        """The cumulative counts of one table, (n + 1,)."""
        return np.asarray(self.cdf[self.start[number] : self.start[number + 1]])

    @property
    def symbols(self) -> Ints:
        """How many symbols each table has besides the escape, (T,)."""
        return np.asarray(np.diff(self.start) - 2)

    @property
    def cheapest(self) -> Floats:
        """Bits of the most probable symbol of each table, (T,): no stream can be shorter."""
        largest = np.array([np.diff(self.table(t)).max() for t in range(len(self))])
        return np.asarray(PRECISION - np.log2(largest))


def build(pmfs: Sequence[Floats], low: Sequence[int]) -> Tables:
    """Tables of probability mass functions without their escape, which gets what is left.

    Args:
        pmfs: (n_t,) each; sums up to 1.
        low: The first symbol of each.
    """
    parts = [quantise_pmf(np.append(pmf, np.clip(1 - pmf.sum(), 0, 1))) for pmf in pmfs]
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    return Tables(np.concatenate(parts), start, np.array(low, dtype=np.int32))


def factorised(density: FactorisedDensity, offset: NDArray[np.floating[Any]], tail_mass: float = TAIL_MASS) -> Tables:
    """One table for each channel of a factorised density.

    Args:
        density: On any device.
        offset: (C,): symbol k stands for the latent k + offset.
        tail_mass: About what falls to the escape.
    """
    lower, upper = (tail.cpu().numpy() for tail in density.tails(tail_mass))
    low = np.floor(lower - offset).astype(np.int64)
    high = np.minimum(np.ceil(upper - offset).astype(np.int64), low + LARGEST_TABLE - 3)
    layers = list(density.layers(torch.float64))
    with torch.no_grad():
        edges = np.arange(int((high - low).max()) + 2) + low[:, None] + offset[:, None] - 0.5
        at = logits(torch.from_numpy(edges)[:, None].to(layers[0].matrix.device), layers)[:, 0].cpu()
        masses = interval_probability(at[:, :-1], at[:, 1:]).numpy()
    pmfs = [masses[c, : high[c] - low[c] + 1] for c in range(density.channels)]
    return build(pmfs, low.tolist())


def gaussian(tail_mass: float = TAIL_MASS) -> Tables:
    """One table for each entry of the table of scales, centred: symbol k stands for the latent mean + k."""
    half_width = float(torch.special.ndtri(torch.tensor(1 - tail_mass / 2, dtype=torch.float64)))
    pmfs, low = [], []
    for scale in conditional.scale_table():
        reach = int(np.ceil(half_width * float(scale)))
        k = torch.arange(-reach, reach + 1, dtype=torch.float64)
        pmfs.append(conditional.likelihood(k, 0.0, scale).numpy())
        low.append(-reach)
    return build(pmfs, low)
