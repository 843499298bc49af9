"""What happens to a block of latents on its way: it is measured, written, or read.

A model of the latents goes through one path with one of these three, so the evaluation of a codec, its
encoder and its decoder cannot disagree.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from ntc.coder import Decoder, Encoder, cost
from ntc.quantize import quantise
from ntc.tables import Ints, Tables
from pim.errors import InputError


@dataclass(frozen=True)
class Coding:
    """How the symbols of a block are coded."""

    name: str  # of the latents, "y" or "z"
    tables: Tables


class Measure:
    """Counts the bits that the tables promise, by latents."""

    def __init__(self) -> None:
        self.bits: dict[str, float] = defaultdict(float)

    def block(self, values: Tensor | None, mean: Tensor, index: Tensor, coding: Coding) -> Tensor:
        """Round and count a block of symbols, in the order of its elements, as all three treat one.

        Latents (None where they are to be read) are rounded from their means and coded with the tables of these
        numbers, all of one shape. Returns whole numbers k, float32, of that shape; the latents are k + mean.
        """
        k = rounded(values, mean)
        self.bits[coding.name] += cost(_symbols(k), index.flatten().numpy(), coding.tables)
        return k


class Write:
    """Writes into a stream."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.checksum = 0  # of all symbols so far

    def block(self, values: Tensor | None, mean: Tensor, index: Tensor, coding: Coding) -> Tensor:
        """Round and write."""
        k = rounded(values, mean)
        self._encoder.put(_symbols(k), index.flatten().numpy(), coding.tables)
        self.checksum = zlib.crc32(_symbols(k).tobytes(), self.checksum)
        return k


class Read:
    """Reads from a stream."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.checksum = 0  # of all symbols so far

    def block(self, values: Tensor | None, mean: Tensor, index: Tensor, coding: Coding) -> Tensor:
        """Read."""
        symbols = self._decoder.get(index.flatten().numpy(), coding.tables)
        self.checksum = zlib.crc32(symbols.astype("<i4").tobytes(), self.checksum)
        return torch.from_numpy(symbols).float().reshape(mean.shape)


Exchange = Measure | Write | Read


def rounded(values: Tensor | None, mean: Tensor) -> Tensor:
    """Whole steps from the mean.

    Raises:
        InputError: if a latent is not finite, or too large to be coded.
    """
    assert values is not None
    k = quantise(values, mean)
    if not (k.abs() < 1 << 24).all():  # NaN too
        raise InputError("the image leads to latents that are not finite or too large; the codec is broken")
    return k


def _symbols(k: Tensor) -> Ints:
    return k.flatten().to(torch.int32).numpy().astype("<i4")
