"""Probability tables in a byte a symbol, the same counts on every machine.

A symbol stands in the file with its code length in eighths of a bit; counts out of 2^16 follow from these
by integer arithmetic alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntc.reparameterise.reading import Reader
from ntc.tables import PRECISION, Ints, Tables
from pim.errors import WeightsError

EIGHTHS = (1 << 30, 984625593, 902905650, 827968132, 759250124, 696235434, 638450708, 585461880)  # 2^(30 - f / 8)
LONGEST = 239  # eighths of a bit; shifts stay below 30
FARTHEST = 32_000  # first symbol of a table
MOST = 255  # symbols of a table besides the escape
_HEAD = struct.Struct("<Bh")  # number of symbols, the first one


@dataclass(frozen=True)
class Lengths:
    """Code lengths of the symbols low, low + 1, ... in eighths of a bit; all else escapes."""

    low: int
    eighths: NDArray[np.uint8]  # (n,)

    def to_bytes(self) -> bytes:
        """As it stands in the file: 3 bytes and one for every symbol."""
        return _HEAD.pack(len(self.eighths), self.low) + self.eighths.tobytes()


EMPTY = Lengths(0, np.zeros(0, np.uint8))


def read(reader: Reader) -> Lengths:
    """Code lengths as `Lengths.to_bytes` wrote them.

    Raises:
        WeightsError: if they are damaged.
    """
    count, low = reader.unpack(_HEAD)
    eighths = np.frombuffer(reader.take(count), np.uint8)
    if count and eighths.max() > LONGEST:
        raise WeightsError("the compressed model is damaged: a code length is impossible")
    return Lengths(low, eighths)


def fit(symbols: NDArray[np.integer]) -> Lengths:
    """The table that suits some symbols: their own frequencies.

    Args:
        symbols: (n,), n > 0; those far out are left to the escape.
    """
    low = max(int(symbols.min()), int(np.median(symbols)) - MOST // 2)
    low = min(max(low, -FARTHEST), FARTHEST)
    high = min(max(int(symbols.max()), low), low + MOST - 1)
    inside = symbols[(symbols >= low) & (symbols <= high)]
    counts = np.bincount(inside - low, minlength=high - low + 1)
    with np.errstate(divide="ignore"):
        bits = -np.log2(counts / len(symbols))
    return Lengths(low, np.minimum(np.rint(8 * bits), LONGEST).astype(np.uint8))


def tables(lengths: list[Lengths]) -> Tables:
    """What the coder needs, a table for each."""
    parts = [_cumulative(found.eighths) for found in lengths]
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    return Tables(np.concatenate(parts), start, np.array([found.low for found in lengths], dtype=np.int32))


def _cumulative(eighths: NDArray[np.uint8]) -> Ints:
    """Counts out of 2^16 for n symbols and the escape, none below 1; what rounding leaves goes to the likeliest."""
    weights = [EIGHTHS[int(length) % 8] >> int(length) // 8 for length in eighths]
    free = (1 << PRECISION) - len(weights) - 1
    total = max(1, sum(weights))
    counts = [1 + weight * free // total for weight in weights]
    counts[weights.index(max(weights))] += (1 << PRECISION) - 1 - sum(counts)
    return np.concatenate([[0], np.cumsum([*counts, 1])]).astype(np.int32)
