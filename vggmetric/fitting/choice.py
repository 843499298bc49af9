"""How people choose between two pictures, as a convex model of the weights of a metric.

A picture pair k has quantities q[k] >= 0, one per layer or channel, and the distance D = q . w with w >= 0.
The larger the distance of the first candidate, the likelier the second is chosen:

    P(second) = sigma(D_first - D_second)

Source: Bradley and Terry 1952, with linear distances. The penalised likelihood is convex on a convex set, so
the weights do not depend on a seed, an order or a machine. There is no bias: exchanging the candidates has
to give 1 - P. The logistic scale is inside w, whose unit is log-odds per unit of q.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from pim.errors import InputError

Array = NDArray[np.float64]
Quantities = NDArray[np.floating[Any]]  # float32 where there are many
Whole = NDArray[np.int64]

BLOCK = 1 << 22  # elements of differences that are held at once
MOST_STEPS = 2000


@dataclass(frozen=True)
class Choices:
    """Which of two picture pairs has the smaller difference, and how many said so.

    The rows share one table of quantities: a picture in many choices stands there once.
    """

    quantities: Quantities  # (M, P), of every picture pair
    first: Whole  # (N,) row of the first pair
    second: Whole  # (N,)
    share: Array  # (N,) of the votes that call the second pair less different, in [0, 1]
    votes: Array  # (N,) > 0

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, chosen: NDArray[np.bool_] | Whole) -> Choices:
        """Some of the choices; the quantities are not copied."""
        first, second = self.first[chosen], self.second[chosen]
        return Choices(self.quantities, first, second, self.share[chosen], self.votes[chosen])

    def pooled(self, basis: Array) -> Choices:
        """The same choices by weighted sums of the quantities, with weights (P, Q)."""
        found = self.quantities @ basis.astype(self.quantities.dtype)
        return replace(self, quantities=np.asarray(found, dtype=np.float64))

    def distances(self, weights: Array) -> Array:
        """D of every picture pair, (M,), for weights (P,)."""
        found = self.quantities @ weights.astype(self.quantities.dtype)
        return np.asarray(found, dtype=np.float64)

    def log_odds(self, weights: Array) -> Array:
        """Of the second pair being called less different, (N,), for weights (P,)."""
        distance = self.distances(weights)
        return distance[self.first] - distance[self.second]


@dataclass(frozen=True)
class Ridge:
    """The penalty strength / 2 sum_k (scale_k (w_k - centre_k))^2, with scale the RMS of the differences."""

    strength: float
    centre: Array | None = None  # (P,) >= 0; None: zero

    def centre_of(self, scale: Array) -> Array:
        """What the penalty draws the weights to, (P,)."""
        return np.zeros_like(scale) if self.centre is None else self.centre


def losses(log_odds: Array, share: Array) -> Array:
    """Negative log-likelihood per vote of choices, in nats, (N,); log 2 is guessing. Both arguments (N,)."""
    return np.asarray(np.logaddexp(0, log_odds) - share * log_odds)


def mean_loss(choices: Choices, weights: Array) -> float:
    """The mean over votes of `losses`."""
    return float(np.average(losses(choices.log_odds(weights), choices.share), weights=choices.votes))


def scales(choices: Choices) -> Array:
    """Root mean square over the choices of the differences of every quantity, (P,)."""
    total = np.zeros(choices.quantities.shape[1])
    step = max(1, BLOCK // max(1, len(total)))
    for start in range(0, len(choices), step):
        rows = slice(start, start + step)
        difference = choices.quantities[choices.first[rows]] - choices.quantities[choices.second[rows]]
        total += np.einsum("np,np->p", difference, difference, dtype=np.float64)
    return np.asarray(np.sqrt(total / max(1, len(choices))))


def objective(choices: Choices, ridge: Ridge, scale: Array) -> Callable[[Array], tuple[float, Array]]:
    """Penalised loss and its gradient as a function of the weights (P,); `scale` is that of `scales`, (P,)."""
    total = float(choices.votes.sum())
    pairs = len(choices.quantities)
    centre = ridge.centre_of(scale)

    def evaluate(weights: Array) -> tuple[float, Array]:
        odds = choices.log_odds(weights)
        loss = float(choices.votes @ losses(odds, choices.share)) / total
        residual = choices.votes * (expit(odds) - choices.share) / total
        # Choices by pictures: gather what every picture gets from its choices, then go to quantities once.
        at_pairs = np.bincount(choices.first, residual, pairs) - np.bincount(choices.second, residual, pairs)
        gradient = np.asarray(at_pairs.astype(choices.quantities.dtype) @ choices.quantities, dtype=np.float64)
        away = scale**2 * (weights - centre)
        return loss + ridge.strength / 2 * float(away @ (weights - centre)), gradient + ridge.strength * away

    return evaluate


def fit(choices: Choices, ridge: Ridge, *, scale: Array | None = None, start: Array | None = None) -> Array:
    """Find the non-negative weights of least penalised loss, (P,) float64.

    A quantity that never differs gets the weight of the centre. The strength of the penalty has to be positive unless
    there is a single quantity. `scale` is that of `scales`, where it is known; `start`, (P,), such as the weights of a
    neighbouring strength, does not change the result.

    Raises:
        InputError: if there is nothing to fit: no choice, no quantity that differs, or values that are not finite.
    """
    if len(choices) == 0:
        raise InputError("there are no choices to fit to")
    scale = scales(choices) if scale is None else scale
    if not np.isfinite(scale).all():
        raise InputError("quantities must be finite; some picture pairs have values that are not")
    varies = scale > 0
    if not varies.any():
        raise InputError("no quantity differs between the pictures that people chose from")
    centre = ridge.centre_of(scale)
    unit = np.where(varies, scale, 1.0)
    evaluate = objective(choices, ridge, scale)

    def in_units(scaled: Array) -> tuple[float, Array]:
        loss, gradient = evaluate(np.where(varies, scaled / unit, centre))
        return loss, np.where(varies, gradient / unit, 0.0)

    begin = np.full(len(scale), 1 / len(scale)) if start is None else start * unit
    options = {"maxcor": 20, "ftol": 1e-12, "gtol": 1e-9, "maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS}
    found = minimize(in_units, begin, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(scale), options=options)
    return np.where(varies, found.x / unit, centre)
