"""Bradley-Terry scores from forced choices, their uncertainty, and what one more answer would tell.

Candidate i is chosen over candidate j with probability 1 / (1 + exp(theta_j - theta_i)). Scores have a
wide Gaussian prior, so that a candidate which always won has a finite score; their uncertainty is the
Gaussian with the curvature of the posterior at its mode (Laplace's approximation).

Source: Bradley & Terry, Rank Analysis of Incomplete Block Designs (Biometrika 1952); information gain of a
comparison as in Lindley (1956), for preferences Houlsby et al., arXiv 1112.5745.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import entr, expit, ndtri

from pim.errors import InputError

Array = NDArray[np.float64]

PRIOR = 3.0  # standard deviation of scores before anybody answered, in log-odds
LEVEL = 0.95
STEPS = 100  # of Newton's method, which needs fewer than ten
TOLERANCE = 1e-10
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Scores:
    """Scores of k candidates for one reference, in log-odds; higher is closer to the reference."""

    mean: Array  # (k,), sums to 0
    covariance: Array  # (k, k), of scores relative to their mean

    def intervals(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Where each score lies with this probability: (k,), (k,).

        Every answer counts as independent, which flatters when few raters gave many of them.
        """
        reach = ndtri((1 + level) / 2) * np.sqrt(np.diag(self.covariance))
        return self.mean - reach, self.mean + reach


def fit(wins: Array, prior: float = PRIOR) -> Scores:
    """Find the scores that best explain how often the row was chosen over the column, (k, k).

    The prior has that standard deviation, in log-odds.

    Raises:
        InputError: if `wins` is not square, or a count is negative.
    """
    wins = np.asarray(wins, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or not (wins >= 0).all():
        raise InputError(f"wins must be a square table of counts; got shape {wins.shape}")
    asked, theta = wins + wins.T, np.zeros(len(wins))
    for _ in range(STEPS):
        step = np.linalg.solve(_curvature(asked, theta, prior), _slope(wins, asked, theta, prior))
        while _objective(wins, theta + step, prior) < _objective(wins, theta, prior) - TOLERANCE:
            step = step / 2
        theta = theta + step
        if np.abs(step).max() < TOLERANCE:
            break
    theta = theta - theta.mean()
    covariance = np.linalg.inv(_curvature(asked, theta, prior)) - prior**2 / len(wins)
    return Scores(theta, covariance.astype(np.float64))


def information(scores: Scores, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
    """Expected information gain of asking each of n pairs once more, in nats, >= 0.

    The entropy of the answer, less the part that would remain if the scores, from `fit`, were known.
    `first` are numbers of candidates, (n,), `second` what they are compared with.
    """
    variance = np.diag(scores.covariance)
    spread = np.sqrt(np.maximum(variance[first] + variance[second] - 2 * scores.covariance[first, second], 0))
    chances = expit((scores.mean[first] - scores.mean[second])[:, None] + spread[:, None] * _NODES)
    return np.maximum(_entropy(chances @ _WEIGHTS) - _entropy(chances) @ _WEIGHTS, 0)


def connected(wins: Array) -> bool:
    """Whether chains of compared pairs join all candidates; only the prior relates those that are not joined."""
    return int(connected_components(wins, directed=False, return_labels=False)) <= 1


def _objective(wins: Array, theta: Array, prior: float) -> float:
    gaps = theta[:, None] - theta
    return float(-(wins * np.logaddexp(0, -gaps)).sum() - (theta**2).sum() / (2 * prior**2))


def _slope(wins: Array, asked: Array, theta: Array, prior: float) -> Array:
    return np.asarray((wins - asked * expit(theta[:, None] - theta)).sum(axis=1) - theta / prior**2)


def _curvature(asked: Array, theta: Array, prior: float) -> Array:
    """The negative Hessian of the log posterior."""
    chance = expit(theta[:, None] - theta)
    weight = asked * chance * (1 - chance)
    return np.asarray(np.diag(weight.sum(axis=1)) - weight + np.eye(len(theta)) / prior**2)


def _entropy(chance: Array) -> Array:
    return np.asarray(entr(chance) + entr(1 - chance))
