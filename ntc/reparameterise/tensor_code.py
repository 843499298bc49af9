"""One quantised weight tensor as bytes: where it is not all zero, tables, and symbols for the coder.

Penalised training empties whole rows (units of a layer) and columns (their inputs). What is left is coded with
one table for each group; of an empty row or column there is one bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ntc.reparameterise import tables
from ntc.reparameterise.reading import Reader
from ntc.tables import Tables
from pim.errors import WeightsError

Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]
ROWS, COLUMNS, SHARED = 1, 2, 4  # flags: which axes have a mask; one table for all groups


@dataclass(frozen=True)
class Plan:
    """What the decoder has to know before it reads symbols."""

    rows: Mask  # (R,): rows that are coded
    columns: Mask  # (C,)
    lengths: list[tables.Lengths]  # a table for each of G groups; without symbols where a group is all zero
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
        return tables.tables([self.lengths[g] for g in different]) if different else None

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
        lengths = [tables.fit(group.reshape(-1)) if group.any() else tables.EMPTY for group in parts]
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
    lengths = [tables.read(reader)] * shape[2] if shared else [tables.read(reader) for _ in range(shape[2])]
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
