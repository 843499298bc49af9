"""Reading bytes that may be damaged."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from pim.errors import WeightsError


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
