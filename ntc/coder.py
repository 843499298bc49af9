"""Symbols to bytes and back: tables, escapes, and the coder below.

One call codes a block of symbols, each with its own table: first all entries of table 0 in their order,
then those of table 1, and so on; then, in the order of the block, the values of the symbols that
escaped. Nothing is written of how many there are: the decoder has to know.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntc.rangecoder import RangeDecoder, RangeEncoder
from ntc.tables import PRECISION, Ints, Tables
from pim.errors import InputError

LARGEST = 1 << 24  # magnitude of a symbol; float32 holds it exactly
_EVEN = np.array([0, 1 << PRECISION - 1, 1 << PRECISION], dtype=np.int32)  # a bit of raw data
_LONGEST = 26  # bits of an escaped value

Words = NDArray[np.uint32]
Whole = NDArray[np.integer[Any]]


class _FastEncoder:
    """The coder of constriction, with the calls of `RangeEncoder`."""

    def __init__(self) -> None:
        import constriction

        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Ints, cdf: Ints) -> None:
        self._coder.encode(np.ascontiguousarray(symbols, dtype=np.int32), _model(cdf))

    def finish(self) -> Words:
        return np.asarray(self._coder.get_compressed())


class _FastDecoder:
    def __init__(self, words: Words) -> None:
        import constriction

        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, cdf: Ints, count: int) -> Ints:
        try:
            return np.asarray(self._coder.decode(_model(cdf), count))
        except AssertionError as error:  # how it says that no symbol fits
            raise InputError("the stream is damaged: no symbol fits") from error


def _model(cdf: Ints) -> object:
    return _categorical(cdf.astype(np.int32).tobytes())


@functools.lru_cache(maxsize=512)
def _categorical(cdf: bytes) -> object:
    import constriction

    # Counts out of 2^16 are exact in float64, so both sides build the same model.
    return constriction.stream.model.Categorical(
        np.diff(np.frombuffer(cdf, np.int32)) / (1 << PRECISION), perfect=False
    )


def fast() -> bool:
    """Whether constriction is installed; without it the same streams are coded in plain Python, slowly."""
    return importlib.util.find_spec("constriction") is not None


def cost(symbols: Whole, index: Whole, tables: Tables) -> float:
    """Count the bits of a block (n,), coded with tables by number (n,): their ideal code length, escapes included."""
    symbols, index = _block(symbols, index, tables)
    entry, escaped = _entries(symbols, index, tables)
    at = tables.start[index] + entry
    bits = PRECISION * len(at) - float(np.log2(tables.cdf[at + 1] - tables.cdf[at]).sum())
    values = [_value(_distance(symbols, index, tables, i)) for i in np.flatnonzero(escaped).tolist()]
    return bits + sum(2 * value.bit_length() - 1 for value in values)


class Encoder:
    """Codes blocks of symbols into one stream."""

    def __init__(self, tables: Tables, backend: RangeEncoder | None = None) -> None:
        """With `tables` for the first blocks; `backend` replaces the fastest coder that is installed."""
        self.tables = tables
        self._backend: _FastEncoder | RangeEncoder = backend or (_FastEncoder() if fast() else RangeEncoder())

    def put(self, symbols: Whole, index: Whole, tables: Tables | None = None) -> None:
        """Code one block of whole numbers (n,) up to +-2^24, with the number of a table for each, (n,).

        Raises:
            InputError: if a symbol is too large, or an index has no table.
        """
        tables = tables or self.tables
        symbols, index = _block(symbols, index, tables)
        if len(symbols) and max(int(symbols.max()), -int(symbols.min())) > LARGEST:
            raise InputError(f"latents must stay within +-{LARGEST}; got {np.abs(symbols).max()}: the model is broken")
        entry, escaped = _entries(symbols, index, tables)
        for number, members in _groups(index):
            self._backend.encode(entry[members], tables.table(number))
        values = [_value(_distance(symbols, index, tables, at)) for at in np.flatnonzero(escaped).tolist()]
        if values:
            self._backend.encode(np.concatenate([_gamma(value) for value in values]), _EVEN)

    def finish(self) -> bytes:
        """The stream, little-endian words of 32 bits; the encoder is used up."""
        return self._backend.finish().astype("<u4").tobytes()


class Decoder:
    """Gives back what `Encoder` coded, block by block."""

    def __init__(self, data: bytes, tables: Tables, source: RangeDecoder | None = None) -> None:
        """Read `data`; `source` replaces the fastest coder that is installed.

        Raises:
            InputError: if the bytes are no whole words.
        """
        if len(data) % 4:
            raise InputError(f"a stream consists of words of 4 bytes; got {len(data)} bytes")
        self.tables = tables
        words = np.frombuffer(data, dtype="<u4").astype(np.uint32)
        self._source: _FastDecoder | RangeDecoder = source or (_FastDecoder(words) if fast() else RangeDecoder(words))

    def get(self, index: Whole, tables: Tables | None = None) -> Ints:
        """Decode one block of symbols (n,) from the number of the table that coded each, (n,).

        Raises:
            InputError: if the stream is so damaged that no symbol fits; other damage gives wrong symbols.
        """
        tables = tables or self.tables
        _, index = _block(index, index, tables)
        entry = np.empty(len(index), np.int32)
        for number, members in _groups(index):
            entry[members] = self._source.decode(tables.table(number), len(members))
        symbols = entry + tables.low[index]
        for at in np.flatnonzero(entry == tables.symbols[index]):
            distance = self._escaped()
            symbols[at] += distance if distance >= 0 else distance - entry[at]
        return symbols

    def _escaped(self) -> int:
        zeros = 0
        while not self._source.decode(_EVEN, 1)[0]:
            zeros += 1
            if zeros >= _LONGEST:
                raise InputError("the stream is damaged: an escaped symbol has no end")
        value = 1
        for bit in self._source.decode(_EVEN, zeros):
            value = 2 * value + int(bit)
        return value // 2 if value % 2 else -(value // 2)


def _block(symbols: Whole, index: Whole, tables: Tables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if symbols.shape != index.shape or symbols.ndim != 1:
        raise InputError(f"symbols and index must be flat and equally long; got {symbols.shape} and {index.shape}")
    if not (np.issubdtype(symbols.dtype, np.integer) and np.issubdtype(index.dtype, np.integer)):
        raise InputError(f"symbols and index must be whole numbers; got {symbols.dtype} and {index.dtype}")
    if len(index) and not (index.min() >= 0 and index.max() < len(tables)):
        raise InputError(f"there are tables 0 to {len(tables) - 1}; got index {index.min()} to {index.max()}")
    return symbols.astype(np.int64), index.astype(np.int64)


def _entries(symbols: NDArray[np.int64], index: NDArray[np.int64], tables: Tables) -> tuple[Ints, NDArray[np.bool_]]:
    """Entries of the tables that stand for the symbols, and which of them are escapes."""
    entry = symbols - tables.low[index]
    escape = tables.symbols[index]
    escaped = (entry < 0) | (entry >= escape)
    return np.where(escaped, escape, entry).astype(np.int32), escaped


def _distance(symbols: NDArray[np.int64], index: NDArray[np.int64], tables: Tables, at: int) -> int:
    """How far an escaped symbol lies beyond its table: 0, 1, 2 .. above it, -1, -2 .. below it."""
    over = int(symbols[at]) - int(tables.low[index[at]])
    return over - int(tables.symbols[index[at]]) if over >= 0 else over


def _gamma(value: int) -> Ints:
    """A positive number in Elias' gamma code."""
    digits = bin(value)[2:]
    return np.array([int(bit) for bit in "0" * (len(digits) - 1) + digits], dtype=np.int32)


def _value(distance: int) -> int:
    """Distances as positive numbers: 0, -1, 1, -2 .. become 1, 2, 3, 4 .."""
    return 2 * distance + 1 if distance >= 0 else -2 * distance


def _groups(index: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Tables in ascending order, each with the places of its symbols in ascending order."""
    if not len(index):
        return []
    order = np.argsort(index.astype(np.min_scalar_type(int(index.max()))), kind="stable")  # narrow: by radix
    ordered = index[order]
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    return [(int(ordered[p[0]]), order[p]) for p in np.split(np.arange(len(index)), cuts)]
