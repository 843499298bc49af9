"""How features of a finished network are stored without training for it: what learned bottlenecks are held against."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntc import tables
from ntc.coder import Encoder
from ntc.tables import Tables

SMOOTH = 0.5  # added to every count, so that no symbol within the range is impossible


@dataclass(frozen=True)
class ScalarCoder:
    """Features, turned by an orthonormal matrix or not, in steps of one size, each with its own table."""

    mean: Tensor  # (C,)
    basis: Tensor  # (C, C), orthonormal rows
    step: float
    tables: Tables

    @classmethod
    def fit(cls, features: Tensor, step: float, *, turned: bool) -> ScalarCoder:
        """Tables from training features (N, C); `turned` along their principal components."""
        mean = features.mean(0)
        basis = torch.eye(features.shape[1])
        if turned:
            covariance = torch.cov((features - mean).double().T)
            basis = torch.linalg.eigh(covariance).eigenvectors.flip(1).T.float()
        symbols = _symbols(features, mean, basis, step)
        low = symbols.min(axis=0)
        pmfs = [_frequencies(column) for column in symbols.T]
        return cls(mean, basis, step, tables.build(pmfs, low.tolist()))

    def code(self, features: Tensor) -> tuple[Tensor, int]:
        """What the decoder gets, (N, C), and the bytes of the stream."""
        symbols = _symbols(features, self.mean, self.basis, self.step)
        encoder = Encoder(self.tables)
        encoder.put(symbols.reshape(-1), np.tile(np.arange(symbols.shape[1]), len(symbols)))
        restored = torch.from_numpy(symbols).float() * self.step @ self.basis + self.mean
        return restored, len(encoder.finish())


def deflated(features: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Features in a float type, then zlib: what the decoder gets, and bytes."""
    stored = features.to(dtype)
    return stored.float(), len(zlib.compress(stored.contiguous().view(torch.uint8).numpy().tobytes(), 9))


def _symbols(features: Tensor, mean: Tensor, basis: Tensor, step: float) -> NDArray[np.int64]:
    turned = (features - mean) @ basis.T
    return (turned / step).round().numpy().astype(np.int64)


def _frequencies(column: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(column - column.min()) + SMOOTH
    return np.asarray(counts / (counts.sum() + SMOOTH))
