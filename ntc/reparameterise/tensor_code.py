"""One quantised weight tensor as bytes: where it is not all zero, tables, and symbols for the coder.

Penalised training empties whole rows (units of a layer) and columns (their inputs). What is left is coded with
one table for each group; of an empty row or column there is one bit. A table takes a byte a symbol: its code length
in eighths of a bit, from which counts out of 2^16 follow by integer arithmetic alone, the same on every machine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ntc.tables import PRECISION, Ints, Tables
from pim.errors import WeightsError

Mask = NDArray[np.bool_]
ROWS, COLUMNS, SHARED = 1, 2, 4  # flags: which axes have a mask; one table for all groups
EIGHTHS = (1 << 30, 984625593, 902905650, 827968132, 759250124, 696235434, 638450708, 585461880)  # 2^(30 - f / 8)
LONGEST = 239  # eighths of a bit; shifts stay below 30
FARTHEST = 32_000  # first symbol of a table
MOST = 255  # symbols of a table besides the escape
_HEAD = struct.Struct("<Bh")  # number of symbols, the first one


class Reader:
    """Takes pieces off the front of some bytes, never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            WeightsError: if there are fewer.
        """
        if count > len(self._data) - self._at:
            raise WeightsError("the compressed model is cut short; fetch it again")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self._data) - self._at)

    def byte(self) -> int:
        """An unsigned byte."""
        return self.take(1)[0]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Numbers of a fixed layout."""
        return layout.unpack(self.take(layout.size))

    def array(self, dtype: np.dtype[np.generic], count: int) -> NDArray[np.generic]:
        """Values of one type, (count,)."""
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    def mask(self, count: int) -> NDArray[np.bool_]:
        """Packed bits, (count,)."""
        packed = np.frombuffer(self.take(-(-count // 8)), np.uint8)
        return np.unpackbits(packed, count=count).astype(bool)


@dataclass(frozen=True)
class Lengths:
    """Code lengths of the symbols low, low + 1, ... in eighths of a bit; all else escapes."""

    low: int
    eighths: NDArray[np.uint8]  # (n,)

    def to_bytes(self) -> bytes:
        """As it stands in the file: 3 bytes and one for every symbol."""
        return _HEAD.pack(len(self.eighths), self.low) + self.eighths.tobytes()


EMPTY = Lengths(0, np.zeros(0, np.uint8))


def read_lengths(reader: Reader) -> Lengths:
    """Code lengths as `Lengths.to_bytes` wrote them.

    Raises:
        WeightsError: if they are damaged.
    """
    count, low = reader.unpack(_HEAD)
    eighths = np.frombuffer(reader.take(count), np.uint8)
    if count and eighths.max() > LONGEST:
        raise WeightsError("the compressed model is damaged: a code length is impossible")
    return Lengths(low, eighths)


def fit_lengths(symbols: NDArray[np.integer]) -> Lengths:
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


def tables_of(lengths: list[Lengths]) -> Tables:
    """What the coder needs, a table for each."""
    parts = [_cumulative(found.eighths) for found in lengths]
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    return Tables(np.concatenate(parts), start, np.array([found.low for found in lengths], dtype=np.int32))


@dataclass(frozen=True)
class Plan:
    """What the decoder has to know before it reads symbols."""

    rows: Mask  # (R,): rows that are coded
    columns: Mask  # (C,)
    lengths: list[Lengths]  # a table for each of G groups; without symbols where a group is all zero
    shared: bool  # all groups have the same table

    @property
    def count(self) -> int:
        """Coded positions, each with a latent in every group."""
        return int(self.rows.sum()) * int(self.columns.sum())

    @property
    def coded(self) -> list[int]:
        """The groups that are not all zero."""
        return [g for g, found in enumerate(self.lengths) if len(found.eighths)]

    def tables(self) -> Tables | None:
        """Of the coded groups, or their one table; None if there are none."""
        different = self.coded[:1] if self.shared else self.coded
        return tables_of([self.lengths[g] for g in different]) if different else None

    def index(self) -> NDArray[np.int64]:
        """Which table codes each symbol: all of the first coded group, then of the second, and so on."""
        which = np.zeros(len(self.coded), np.int64) if self.shared else np.arange(len(self.coded))
        return np.repeat(which, self.count)


def plan(latents: Ints) -> Plan:
    """The cheapest plan for latents (R, C, G)."""
    live: Mask = (latents != 0).max(axis=2)
    full_rows, full_columns = np.ones(latents.shape[0], np.bool_), np.ones(latents.shape[1], np.bool_)
    found = []
    for by_row, by_column, shared in product((False, True), repeat=3):
        rows: Mask = live.max(axis=1) if by_row else full_rows
        columns: Mask = live.max(axis=0) if by_column else full_columns
        part = latents[rows][:, columns].reshape(-1, latents.shape[2])
        parts = [part] * len(part.T) if shared else part.T
        lengths = [fit_lengths(group.reshape(-1)) if group.any() else EMPTY for group in parts]
        found.append(Plan(rows, columns, lengths, shared))
    return min(found, key=lambda candidate: _cost(candidate, latents))


def symbols(latents: Ints, how: Plan) -> NDArray[np.int64]:
    """The latents (R, C, G) that are coded, in their order, flat."""
    part = latents[how.rows][:, how.columns].reshape(-1, latents.shape[2])
    return part[:, how.coded].T.reshape(-1).astype(np.int64)


def restore(values: NDArray[np.integer], how: Plan) -> Ints:
    """The inverse of `symbols`: latents (R, C, G)."""
    latents = np.zeros((len(how.rows), len(how.columns), len(how.lengths)), np.int32)
    part = np.zeros((how.count, len(how.lengths)), np.int32)
    part[:, how.coded] = values.reshape(len(how.coded), how.count).T
    where = np.ix_(how.rows, how.columns)
    latents[where] = part.reshape(int(how.rows.sum()), int(how.columns.sum()), -1)
    return latents


def to_bytes(how: Plan) -> bytes:
    """A plan as it stands in the file."""
    masks = [(flag, mask) for flag, mask in ((ROWS, how.rows), (COLUMNS, how.columns)) if not mask.all()]
    packed = b"".join(np.packbits(mask).tobytes() for _, mask in masks)
    tables_ = b"".join(found.to_bytes() for found in how.lengths[: 1 if how.shared else None])
    return bytes([sum(flag for flag, _ in masks) + SHARED * how.shared]) + packed + tables_


def from_bytes(reader: Reader, shape: tuple[int, int, int]) -> Plan:
    """A plan for latents of a shape (R, C, G).

    Raises:
        WeightsError: if it is damaged.
    """
    flags = reader.byte()
    if flags > ROWS | COLUMNS | SHARED:
        raise WeightsError("the compressed model is damaged: it has masks of an unknown kind")
    rows = reader.mask(shape[0]) if flags & ROWS else np.ones(shape[0], bool)
    columns = reader.mask(shape[1]) if flags & COLUMNS else np.ones(shape[1], bool)
    shared = bool(flags & SHARED)
    lengths = [read_lengths(reader)] * shape[2] if shared else [read_lengths(reader) for _ in range(shape[2])]
    return Plan(rows, columns, lengths, shared)


def _cost(how: Plan, latents: Ints) -> float:
    """Bytes of plan and symbols, about."""
    part = latents[how.rows][:, how.columns].reshape(-1, latents.shape[2])
    groups = [part.reshape(-1)] if how.shared else part.T
    return len(to_bytes(how)) + sum(_entropy(group) for group in groups) / 8


def _entropy(group: Ints) -> float:
    """Bits of symbols (n,) under their own frequencies."""
    _, counts = np.unique(group, return_counts=True)
    return -float((counts * np.log2(counts / max(1, len(group)))).sum())


def _cumulative(eighths: NDArray[np.uint8]) -> Ints:
    """Counts out of 2^16 for n symbols and the escape, none below 1; what rounding leaves goes to the likeliest."""
    weights = [EIGHTHS[int(length) % 8] >> int(length) // 8 for length in eighths]
    free = (1 << PRECISION) - len(weights) - 1
    total = max(1, sum(weights))
    counts = [1 + weight * free // total for weight in weights]
    counts[weights.index(max(weights))] += (1 << PRECISION) - 1 - sum(counts)
    return np.concatenate([[0], np.cumsum([*counts, 1])]).astype(np.int32)
