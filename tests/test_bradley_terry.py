"""Scores from forced choices and what one more answer would tell, against closed forms, brute force and simulation."""

from __future__ import annotations

import itertools
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from pim.errors import InputError
from pim.rating.bradley_terry import PRIOR, Scores, connected, fit, information


def negative_log_posterior(theta: np.ndarray, wins: np.ndarray, prior: float) -> float:
    """As one would write it down."""
    found = float((theta**2).sum()) / (2 * prior**2)
    for i, j in itertools.permutations(range(len(theta)), 2):
        found -= wins[i, j] * log(1 / (1 + np.exp(theta[j] - theta[i])))
    return found


def test_two_candidates_have_the_log_odds_of_their_wins() -> None:
    found = fit(np.array([[0.0, 30.0], [10.0, 0.0]]), prior=1e4)
    assert found.mean[0] - found.mean[1] == pytest.approx(log(3), abs=1e-5)
    spread = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    assert spread == pytest.approx(1 / 30 + 1 / 10, rel=1e-4)  # the classic variance of log odds
    assert found.mean[0] - found.mean[1] == pytest.approx(np.log(3), abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.sampled_from([0.5, PRIOR]))
def test_the_mode_is_what_a_general_optimiser_finds(candidates: int, seed: int, prior: float) -> None:
    wins = np.random.default_rng(seed).integers(0, 6, (candidates, candidates)).astype(float)
    np.fill_diagonal(wins, 0)
    found = fit(wins, prior)
    best = minimize(negative_log_posterior, np.zeros(candidates), (wins, prior), tol=1e-12)
    assert found.mean.sum() == pytest.approx(0, abs=1e-9)
    assert found.mean == pytest.approx(best.x - best.x.mean(), abs=2e-4)


def test_a_candidate_that_always_won_has_a_finite_score_and_a_wide_interval() -> None:
    wins = np.array([[0.0, 20, 20], [0, 0, 10], [0, 10, 0]])
    found = fit(wins)
    low, high = found.intervals()
    assert 2 < found.mean[0] < 10
    assert high[0] - low[0] > 1.5 * (high[1] - low[1])
    assert (low < found.mean).all()
    assert (found.mean < high).all()


def test_nobody_answered() -> None:
    found = fit(np.zeros((4, 4)))
    assert found.mean.tolist() == [0, 0, 0, 0]
    assert np.diag(found.covariance) == pytest.approx(np.full(4, PRIOR**2 * 3 / 4))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        truth = rng.normal(0, 1.5, 5)
        truth -= truth.mean()
        wins = np.zeros((5, 5))
        for i, j in itertools.combinations(range(5), 2):
            wins[i, j] = rng.binomial(15, expit(truth[i] - truth[j]))
            wins[j, i] = 15 - wins[i, j]
        low, high = fit(wins).intervals()
        inside.append((low <= truth) & (truth <= high))
    assert 0.93 < np.mean(inside) < 0.97


def test_information_is_the_fall_of_uncertainty_by_brute_force() -> None:
    mean, covariance = np.array([0.7, -0.4, -0.3]), np.diag([0.5, 1.1, 0.2])
    covariance[0, 1] = covariance[1, 0] = 0.3
    found = information(Scores(mean, covariance), np.array([0]), np.array([1]))[0]
    gap = np.linspace(-15, 15, 200_001)
    density = norm.pdf(gap, 1.1, np.sqrt(0.5 + 1.1 - 2 * 0.3))
    density /= density.sum()

    def entropy(p: np.ndarray) -> np.ndarray:
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    chance = expit(gap)
    marginal = np.array([(density * chance).sum()])
    assert found == pytest.approx(entropy(marginal)[0] - (density * entropy(chance)).sum(), abs=1e-6)


def test_what_is_settled_tells_less_than_what_is_open() -> None:
    scores = Scores(np.array([4.0, 0, 0, -4]), np.diag([0.5, 0.5, 2.0, 0.5]))
    sure, close, closer_but_known = information(scores, np.array([0, 1, 0]), np.array([3, 2, 0]))
    assert sure < 0.02 < close
    assert closer_but_known == pytest.approx(0, abs=1e-12)
    assert close < log(2)


def test_chains_of_answers_join_candidates() -> None:
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[3, 2] = 1
    assert not connected(wins)
    wins[2, 1] = 1
    assert connected(wins)


def test_what_is_no_table_of_wins_is_refused() -> None:
    for wrong in (np.zeros((2, 3)), np.zeros(3), np.array([[0, -1], [1, 0]]), np.array([[0, np.nan], [1, 0]])):
        with pytest.raises(InputError, match="square table of counts"):
            fit(wrong)
