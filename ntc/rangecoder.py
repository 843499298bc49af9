"""A range coder in plain Python: what the bitstream is, and what codes where the fast coder is missing.

The words are those of constriction's queue.RangeEncoder, which codes the same streams some ten times
faster. State: 64 bits; words: 32 bits; probabilities: 24 bits.

Source: G. N. N. Martin, "Range encoding" (1979).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ntc.tables import PRECISION, Ints
from pim.errors import InputError

WORD, STATE, FINE = 32, 64, 24
_MASK = (1 << STATE) - 1
_LOW_WORD = (1 << STATE - WORD) - 1


def fine_counts(cdf: Ints) -> list[int]:
    """Cumulative counts out of 2^16 as the coder's own, out of 2^24, where nobody has less than 1.

    left_i = i + floor(cdf_i (2^24 - n) / 2^16) for n symbols; the last is 2^24.
    """
    n = len(cdf) - 1
    inner = [i + (int(c) * ((1 << FINE) - n) >> PRECISION) for i, c in enumerate(cdf[:-1])]
    return [*inner, 1 << FINE]


class RangeEncoder:
    """First in, first out."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._lower, self._range = 0, _MASK

    def encode(self, symbols: Sequence[int] | NDArray[np.int32], cdf: Ints) -> None:
        """Append symbols, numbers of entries of one table."""
        left = fine_counts(cdf)
        for s in symbols:
            scale = self._range >> FINE
            self._range = scale * (left[s + 1] - left[s])
            self._lower += scale * left[s]
            self._carry()
            if self._range <= _LOW_WORD:
                self._words.append(self._lower >> STATE - WORD)
                self._lower = self._lower << WORD & _MASK
                self._range <<= WORD

    def finish(self) -> NDArray[np.uint32]:
        """All words; the encoder is used up."""
        if self._range != _MASK or self._words:
            top = self._lower + self._range >> STATE - WORD
            self._lower += _LOW_WORD
            self._carry()
            self._words.append(self._lower >> STATE - WORD)
            if top == self._words[-1]:
                self._words.append(0)
        return np.array(self._words, dtype=np.uint32)

    def _carry(self) -> None:
        if self._lower <= _MASK:
            return
        self._lower &= _MASK
        at = len(self._words) - 1
        while self._words[at] == (1 << WORD) - 1:
            self._words[at] = 0
            at -= 1
        self._words[at] += 1


class RangeDecoder:
    """Gives back the symbols in their order, whatever the words are."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._words = words.tolist()
        self._next = 0
        self._lower, self._range = 0, _MASK
        self._point = self._word() << WORD | self._word()

    def decode(self, cdf: Ints, count: int) -> NDArray[np.int32]:
        """The next symbols, numbers of entries of one table, (count,).

        Raises:
            InputError: if no symbol fits, which a damaged stream can bring about.
        """
        left = fine_counts(cdf)
        out = np.empty(count, np.int32)
        for i in range(count):
            scale = self._range >> FINE
            quantile = (self._point - self._lower & _MASK) // scale
            if quantile >= 1 << FINE:
                raise InputError("the stream is damaged: no symbol fits")
            s = bisect_right(left, quantile) - 1
            out[i] = s
            self._range = scale * (left[s + 1] - left[s])
            self._lower = self._lower + scale * left[s] & _MASK
            if self._range <= _LOW_WORD:
                self._lower = self._lower << WORD & _MASK
                self._range <<= WORD
                self._point = self._point << WORD & _MASK | self._word()
        return out

    def _word(self) -> int:
        self._next += 1
        return self._words[self._next - 1] if self._next <= len(self._words) else 0
