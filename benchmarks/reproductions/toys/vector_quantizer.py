"""Entropy-constrained vector quantisation: the best that a code of single vectors can do, up to local optima.

Two ways to the same Lagrangian, E[rate + lambda * squared error]:

- `lloyd`, alternating minimisation. Source: Chou, Lookabaugh, Gray, "Entropy-constrained vector quantization"
  (IEEE Transactions on Acoustics, Speech and Signal Processing 37, 1989).
- `VariationalQuantizer`, stochastic descent on codewords and code lengths together. Source: arXiv 2007.03034,
  section III ("VECVQ").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reproductions.toys.limits import Point

CHUNK = 1 << 22  # distances in memory at once


@dataclass(frozen=True)
class Codebook:
    """Codewords with the lengths of their ideal codes."""

    words: Tensor  # (K, D)
    bits: Tensor  # (K,)

    def winners(self, x: Tensor, lmbda: float) -> Tensor:
        """The codeword with the smallest bits + lambda * squared error for each vector, (N,), int64.

        Shapes: (N, D) -> (N,)
        """
        size = max(1, CHUNK // self.words.numel())
        parts = [x[start : start + size] for start in range(0, len(x), size)]
        return torch.cat([_costs(part, self.words, self.bits, lmbda).argmin(dim=1) for part in parts])

    def measure(self, x: Tensor, lmbda: float) -> Point:
        """Mean code length and squared error on vectors (N, D)."""
        winner = self.winners(x, lmbda)
        error = (x - self.words[winner]).square().sum(dim=1)
        return Point(float(self.bits[winner].double().mean()), float(error.double().mean()))

    @property
    def used(self) -> int:
        """Codewords that cost less than 20 bits: that a million vectors would use."""
        return int((self.bits < 20).sum())


def lloyd(x: Tensor, lmbda: float, words: Tensor, *, tolerance: float = 1e-7, most: int = 2000) -> Codebook:
    """The classical algorithm: assign, then move every codeword and length to where they are best; until L stands.

    Args:
        x: Training vectors, (N, D).
        lmbda: Weight of the squared error.
        words: Where codewords start, (K, D); those that nobody chooses are dropped.
        tolerance: Relative decrease of L below which it stops.
        most: Iterations at most.
    """
    book = Codebook(words, torch.full((len(words),), math.log2(len(words)), dtype=x.dtype))
    last = math.inf
    for _ in range(most):
        winner = book.winners(x, lmbda)
        counts = torch.bincount(winner, minlength=len(book.words)).to(x.dtype)
        sums = torch.zeros_like(book.words).index_add_(0, winner, x)
        alive = counts > 0
        book = Codebook(sums[alive] / counts[alive, None], -torch.log2(counts[alive] / len(x)))
        loss = book.measure(x, lmbda).loss(lmbda)
        if last - loss < tolerance * abs(loss):
            break
        last = loss
    return book


class VariationalQuantizer(nn.Module):
    """Codewords and the logits of their code, trained by descent through the winner.

    Args:
        words: Where codewords start, (K, D).
    """

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        self.words = nn.Parameter(words.clone())
        self.logits = nn.Parameter(torch.zeros(len(words)))

    def forward(self, x: Tensor, lmbda: float) -> Tensor:
        """L of every vector, (N, D) -> (N,): the least of bits + lambda * squared error over codewords."""
        return _costs(x, self.words, self.bits(), lmbda).amin(dim=1)

    def bits(self) -> Tensor:
        """Code length of every codeword, (K,)."""
        return -F.log_softmax(self.logits, dim=0) / math.log(2)

    def codebook(self) -> Codebook:
        """What was learned, without gradients."""
        return Codebook(self.words.detach().clone(), self.bits().detach())


def _costs(x: Tensor, words: Tensor, bits: Tensor, lmbda: float) -> Tensor:
    """(N, D), (K, D), (K,) -> (N, K)."""
    return bits + lmbda * (x[:, None] - words).square().sum(dim=2)
