"""What the best code of a source reaches: exact optima and lower bounds.

All rates are in bits per vector, distortions are summed squared errors, and codes minimise
L = rate + lambda * distortion.

Source: arXiv 2007.03034, section III; entropy-constrained scalar quantisation of the Laplace source after
Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables" (IEEE Transactions on
Information Theory 42, 1996), written out here for Lagrangian optima.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import minimize

LAPLACE_ENTROPY = math.log2(2 * math.e)  # of scale 1, bits


@dataclass(frozen=True)
class Point:
    """What a code reaches."""

    rate: float  # bits per vector
    distortion: float  # summed squared error

    def loss(self, lmbda: float) -> float:
        """L = rate + lambda * distortion."""
        return self.rate + lmbda * self.distortion


@dataclass(frozen=True)
class DeadZoneQuantizer:
    """Values in [-t, t] become 0; beyond, cells of one width, each reconstructed at its centroid."""

    dead_zone: float  # t
    width: float  # of all other cells

    @property
    def offset(self) -> float:
        """From the inner edge of a cell to its centroid."""
        r = math.exp(-self.width)
        return (1 - (1 + self.width) * r) / (1 - r)

    def on_laplace(self) -> Point:
        """Entropy and distortion for the Laplace source of scale 1."""
        t, s = self.dead_zone, self.width
        q, r = math.exp(-t), math.exp(-s)
        index = r / (1 - r) * s / math.log(2) - math.log2(1 - r)  # entropy of the geometric index of a cell
        rate = _binary_entropy(q) + q * (1 + index)
        spread = (2 - (s * s + 2 * s + 2) * r) / (1 - r) - self.offset**2
        return Point(rate, 2 - (t * t + 2 * t + 2) * q + q * spread)


def laplace_optimum(lmbda: float) -> DeadZoneQuantizer:
    """The best scalar quantiser of the Laplace source followed by an ideal entropy coder.

    Args:
        lmbda: Weight of the distortion, > 0.
    """

    def loss(logs: tuple[float, float]) -> float:
        return DeadZoneQuantizer(*map(math.exp, logs)).on_laplace().loss(lmbda)

    start = 0.5 * math.log(6 / (lmbda * math.log(2)))  # the width at high rates
    found = minimize(
        loss, (start, start), method="Nelder-Mead", options={"xatol": 1e-11, "fatol": 1e-15, "maxiter": 4000}
    )
    t, s = map(math.exp, found.x)
    return DeadZoneQuantizer(t, s)


def shannon_lower_bound(entropy: float, dimensions: int, lmbda: float) -> float:
    """No code of any length has a smaller L per vector.

    The minimum over D of h - n/2 log2(2 pi e D / n) + lambda D lies at D = n / (2 lambda ln 2).

    Args:
        entropy: Differential entropy h of a vector in bits.
        dimensions: n.
        lmbda: Weight of the distortion, > 0.
    """
    half = dimensions / 2
    return entropy - half * math.log2(math.pi * math.e / (lmbda * math.log(2))) + half * math.log2(math.e)


def _binary_entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
