"""The choice model: against arrays that another program made, closed forms, and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pim.errors import InputError
from vggmetric.fitting.choice import Choices, Ridge, fit, losses, mean_loss, objective, scales


def choices_of(differences, share, votes) -> Choices:
    """Choices whose second pairs are all the same pair, with quantities 0."""
    count = len(differences)
    quantities = np.concatenate([differences, np.zeros((1, differences.shape[1]), differences.dtype)])
    return Choices(quantities, np.arange(count), np.full(count, count), share, votes)


@pytest.fixture
def some() -> Choices:
    """30 choices between 12 picture pairs, uneven votes."""
    random = np.random.default_rng(3)
    first, second = random.integers(0, 12, (2, 30))
    return Choices(random.gamma(1.5, 1.0, (12, 4)), first, second, random.random(30), random.integers(1, 9, 30) * 1.0)


@pytest.mark.parametrize("strength", ["0.0001", "0.01", "0.1"])
def test_weights_and_loss_are_those_of_another_program(golden, strength):
    known = golden("vgg_fit")
    choices = choices_of(known["A"], known["h"], known["n"])
    ridge = Ridge(float(strength))
    weights = fit(choices, ridge)
    assert np.abs(weights - known[f"w_{strength}"]).max() < 1e-5
    loss, _ = objective(choices, ridge, scales(choices))(weights)
    assert abs(loss - known[f"loss_{strength}"]) < 1e-9


def test_the_start_does_not_matter(golden):
    known = golden("vgg_fit")
    choices = choices_of(known["A"], known["h"], known["n"])
    far = fit(choices, Ridge(0.01), start=np.full(6, 50.0))
    assert np.allclose(far, known["w_0.01"], rtol=1e-6, atol=1e-8)


def test_the_loss_is_the_likelihood_written_out(some):
    weights = np.array([0.3, 0.0, 1.2, 0.5])
    expected = []
    for a, b, h in zip(some.first, some.second, some.share, strict=True):
        p = 1 / (1 + np.exp(-(some.quantities[a] @ weights - some.quantities[b] @ weights)))
        expected.append(-h * np.log(p) - (1 - h) * np.log(1 - p))
    assert np.allclose(losses(some.log_odds(weights), some.share), expected, rtol=1e-12)
    assert np.isclose(mean_loss(some, weights), np.average(expected, weights=some.votes), rtol=1e-12)


def test_the_gradient_is_that_of_the_loss(some):
    centre = np.array([0.2, 0.1, 0.0, 0.4])
    evaluate = objective(some, Ridge(0.3, centre), scales(some))
    weights = np.array([0.3, 0.7, 1.2, 0.5])
    for k, step in enumerate(1e-6 * np.eye(4)):
        slope = (evaluate(weights + step)[0] - evaluate(weights - step)[0]) / 2e-6
        assert np.isclose(evaluate(weights)[1][k], slope, rtol=1e-6, atol=1e-9)


def test_no_step_inside_the_bounds_goes_down_from_the_optimum(some):
    ridge = Ridge(0.05, np.array([0.0, 0.5, 0.0, 0.1]))
    weights = fit(some, ridge)
    _, gradient = objective(some, ridge, scales(some))(weights)
    assert (weights >= 0).all()
    assert np.abs(gradient[weights > 0]).max() < 1e-6
    assert (gradient[weights == 0] > -1e-6).all()
    assert 0 < (weights > 0).sum() < 4  # both cases are met


def test_exchanging_the_candidates_changes_nothing(some):
    exchanged = Choices(some.quantities, some.second, some.first, 1 - some.share, some.votes)
    assert np.allclose(fit(some, Ridge(0.01)), fit(exchanged, Ridge(0.01)), rtol=1e-6, atol=1e-9)


def test_a_choice_of_three_votes_is_three_choices_of_one(some):
    times = some.votes.astype(int)
    repeated = replace(some.rows(np.repeat(np.arange(30), times)), votes=np.ones(times.sum()))
    one, other = (objective(c, Ridge(0.0), np.ones(4))(np.full(4, 0.2))[0] for c in (some, repeated))
    assert np.isclose(one, other, rtol=1e-12)


def test_a_strong_penalty_gives_the_centre(some):
    centre = np.array([0.2, 0.1, 0.3, 0.4])
    assert np.allclose(fit(some, Ridge(1e9, centre)), centre, rtol=1e-6)
    assert fit(some, Ridge(1e9)).max() < 1e-6


def test_the_unit_of_a_quantity_does_not_matter(some):
    unit = np.array([1.0, 1e-4, 1e3, 7.0])
    other = replace(some, quantities=some.quantities * unit)
    assert np.allclose(fit(other, Ridge(0.01)) * unit, fit(some, Ridge(0.01)), rtol=1e-5, atol=1e-9)


def test_a_quantity_that_never_differs_keeps_the_weight_of_the_centre(some):
    flat = some.quantities.copy()
    flat[:, 2] = 4.0
    weights = fit(replace(some, quantities=flat), Ridge(0.01, np.array([0.0, 0.0, 0.25, 0.0])))
    assert weights[2] == 0.25


def test_single_precision_finds_the_same_weights(some):
    single = replace(some, quantities=some.quantities.astype(np.float32))
    assert np.allclose(fit(single, Ridge(0.01)), fit(some, Ridge(0.01)), rtol=2e-3, atol=1e-4)


def test_scales_are_root_mean_squares_of_the_differences(some):
    expected = np.sqrt(((some.quantities[some.first] - some.quantities[some.second]) ** 2).mean(axis=0))
    assert np.allclose(scales(some), expected, rtol=1e-12)


def test_what_cannot_be_fitted_is_refused(some):
    with pytest.raises(InputError, match="no choices"):
        fit(some.rows(np.zeros(30, dtype=bool)), Ridge(0.1))
    with pytest.raises(InputError, match="no quantity differs"):
        fit(replace(some, quantities=np.ones((12, 4))), Ridge(0.1))
    broken = some.quantities.copy()
    broken[some.first[0], 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        fit(replace(some, quantities=broken), Ridge(0.1))
