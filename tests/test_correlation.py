"""Correlations and the logistic curve, against scipy, brute force and measured tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pim.errors import InputError, UsageError
from pim.eval.correlation import (
    KendallPairs,
    kendall,
    pearson,
    pearson_draws,
    spearman,
    spearman_draws,
    why_undefined,
)
from pim.eval.logistic import fit

Array = np.ndarray[Any, Any]
Golden = Callable[[str], Mapping[str, Array]]

TIED = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=25)


def columns(rows: list[tuple[int, int]]) -> tuple[Array, Array]:
    x, y = np.array(rows, dtype=np.float64).T
    return x, y


def brute_tau_b(x: Array, y: Array) -> float:
    agreeing = untied_x = untied_y = 0
    for i in range(len(x)):
        for j in range(i):
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            agreeing += a * b
            untied_x += a != 0
            untied_y += b != 0
    return float(agreeing / np.sqrt(untied_x * untied_y)) if untied_x and untied_y else float("nan")


def test_correlations_of_tied_rows_equal_the_golden_values(golden: Golden) -> None:
    stats = golden("stats")
    x, y = stats["corr_x"], stats["corr_y"]
    assert spearman(x, y) == pytest.approx(float(stats["corr_srcc"]), abs=1e-14)
    assert kendall(x, y) == pytest.approx(float(stats["corr_krcc_b"]), abs=1e-14)
    assert kendall(x, y) != pytest.approx(float(stats["corr_krcc_a"]), abs=1e-3)
    assert pearson(x, y) == pytest.approx(float(stats["corr_plcc"]), abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(rows=TIED)
def test_correlations_agree_with_scipy_and_brute_force_on_heavy_ties(rows: list[tuple[int, int]]) -> None:
    x, y = columns(rows)
    if why_undefined(x, y) is not None:
        assert np.isnan([spearman(x, y), kendall(x, y), pearson(x, y)]).all()
        return
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)
    assert kendall(x, y) == pytest.approx(brute_tau_b(x, y), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows=TIED, seed=st.integers(0, 1000))
def test_a_weighting_equals_repeating_the_rows(rows: list[tuple[int, int]], seed: int) -> None:
    x, y = columns(rows)
    cluster = np.arange(len(x)) % 3
    counts = np.random.default_rng(seed).integers(0, 4, size=(5, 3)).astype(np.float64)
    weights = counts[:, cluster]
    taus = KendallPairs.count(x, y, cluster).tau(counts)
    for row, ranked, linear, tau in zip(
        weights, spearman_draws(x, y, weights), pearson_draws(x, y, weights), taus, strict=True
    ):
        copies_x, copies_y = np.repeat(x, row.astype(int)), np.repeat(y, row.astype(int))
        if why_undefined(copies_x, copies_y) is not None:
            assert np.isnan([ranked, linear, tau]).all()
            continue
        assert ranked == pytest.approx(scipy.stats.spearmanr(copies_x, copies_y).statistic, abs=1e-12)
        assert linear == pytest.approx(scipy.stats.pearsonr(copies_x, copies_y).statistic, abs=1e-12)
        assert tau == pytest.approx(brute_tau_b(copies_x, copies_y), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows=TIED)
def test_rank_statistics_do_not_see_a_rising_change_of_scale(rows: list[tuple[int, int]]) -> None:
    x, y = columns(rows)
    np.testing.assert_equal(spearman(np.exp(x), y), spearman(x, y))
    np.testing.assert_equal(kendall(x**3, y), kendall(x, y))


def test_infinite_values_rank_as_the_largest() -> None:
    x, y = np.array([1.0, np.inf, 2.0, np.inf]), np.array([1.0, 4.0, 2.0, 4.0])
    assert spearman(x, y) == pytest.approx(1)
    assert kendall(x, y) == pytest.approx(1)


def test_a_constant_with_rounding_noise_in_its_mean_has_no_correlation() -> None:
    assert np.isnan(pearson(np.full(7, 0.1), np.arange(7.0)))


def test_blocks_of_draws_do_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    x, y, weights = rng.normal(size=40), rng.normal(size=40), rng.integers(0, 3, size=(11, 40)).astype(np.float64)
    whole = spearman_draws(x, y, weights), pearson_draws(x, y, weights), kendall(x, y)
    monkeypatch.setattr("pim.eval.correlation.BLOCK", 100)
    np.testing.assert_array_equal(spearman_draws(x, y, weights), whole[0])
    np.testing.assert_array_equal(pearson_draws(x, y, weights), whole[1])
    assert kendall(x, y) == whole[2]


def test_nan_empty_and_unequal_columns_are_refused() -> None:
    with pytest.raises(InputError, match="must not be NaN"):
        spearman(np.array([1.0, np.nan, 2.0]), np.arange(3.0))
    with pytest.raises(InputError, match=r"one length.*\(3,\) and \(2,\)"):
        pearson(np.arange(3.0), np.arange(2.0))
    with pytest.raises(InputError, match="no rows"):
        kendall(np.array([]), np.array([]))


def test_the_reason_of_an_undefined_correlation_is_named() -> None:
    assert why_undefined(np.arange(2.0), np.arange(2.0)) == "2 rows; a correlation needs 3"
    assert why_undefined(np.full(4, 7.0), np.arange(4.0)) == "the metric has one value, 7, on all 4 rows"
    assert why_undefined(np.arange(4.0), np.full(4, 7.0)) == "the score has one value, 7, on all 4 rows"
    assert why_undefined(np.arange(4.0), np.arange(4.0)) is None


@pytest.mark.parametrize("parameters", [4, 5])
def test_the_logistic_fit_equals_the_golden_one(golden: Golden, parameters: int) -> None:
    stats = golden("stats")
    found = fit(stats["fit_x"], stats["fit_y"], parameters)
    assert found.curve == f"logistic{parameters}"
    assert found.monotone
    assert found.rmse == pytest.approx(float(stats[f"fit{parameters}_rmse"]), abs=1e-9)
    assert pearson(found.predicted, stats["fit_y"]) == pytest.approx(float(stats[f"fit{parameters}_plcc"]), abs=1e-9)
    np.testing.assert_allclose(found.predicted, stats[f"fit{parameters}_pred"], atol=1e-5)


def least_error(x: Array, y: Array, parameters: int) -> float:
    """The lowest RMSE on a grid of centres and slopes; the other parameters are linear, so least squares finds them."""
    u = (x - x.mean()) / x.std()
    straight = [np.ones_like(u)] if parameters == 4 else [np.ones_like(u), u]
    columns = [
        np.stack([1 / (1 + np.exp(-np.clip(slope * (u - centre), -500, 500))), *straight], axis=1)
        for centre in np.linspace(-2, 3, 120)
        for slope in 1 / np.geomspace(0.01, 2, 12)
    ]
    return min(float(np.sqrt(np.mean((a @ np.linalg.lstsq(a, y, rcond=None)[0] - y) ** 2))) for a in columns)


@pytest.mark.parametrize(
    ("parameters", "seed"), [(4, 22), (4, 33), (4, 6), (4, 48), (5, 25), (5, 35), (5, 54), (5, 60)]
)
def test_no_other_start_would_have_fitted_better_and_falling_curves_fit_as_well(parameters: int, seed: int) -> None:
    """Steep steps far from the middle, which most starts miss."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(12, 40))
    x = np.sort(rng.exponential(1, count) if seed % 2 else rng.normal(size=count))
    step = (x - np.quantile(x, rng.choice([0.1, 0.3, 0.7, 0.9]))) / rng.choice([0.02, 0.05, 0.3])
    y = expit(step) + 0.1 * rng.normal(size=count) + rng.choice([0, 0.3, -0.3]) * x
    lowest = least_error(x, y, parameters)
    assert fit(x, y, parameters).rmse <= lowest * 1.001  # the steepest steps have no end
    assert fit(x, -y, parameters).rmse <= lowest * 1.001


def test_a_falling_logistic_of_large_numbers_is_found_exactly() -> None:
    x = np.linspace(100, 900, 60)
    y = 5 + 40 / (1 + np.exp((x - 400) / 60))
    assert fit(x, y).rmse < 1e-6


def test_a_fit_no_better_than_a_line_is_reported_as_the_line() -> None:
    x = np.arange(12.0)
    found = fit(x, 3 - 2 * x)
    assert found.curve == "line"
    assert found.rmse < 1e-9


def test_a_five_parameter_curve_that_turns_is_flagged() -> None:
    x = np.linspace(-3, 3, 80)
    assert not fit(x, np.tanh(3 * x) - 0.5 * x, 5).monotone


def test_a_fit_needs_more_rows_than_parameters_and_finite_values_that_differ() -> None:
    with pytest.raises(InputError, match="4 rows cannot fit 4"):
        fit(np.arange(4.0), np.arange(4.0))
    with pytest.raises(InputError, match="finite"):
        fit(np.append(np.arange(6.0), np.inf), np.arange(7.0))
    with pytest.raises(InputError, match="constant"):
        fit(np.ones(7), np.arange(7.0))
    with pytest.raises(UsageError, match="4 or 5 parameters; got 3"):
        fit(np.arange(9.0), np.arange(9.0), 3)


MEASURED = {  # SRCC, tau-b, PLCC after 4 and 5 parameters, RMSE after them
    ("tid2013", "DSSIM"): (-0.860908, -0.678464, 0.8673, 0.8703, 0.6170, 0.6106),
    ("tid2013", "Butteraugli"): (-0.760307, -0.571815, 0.7540, 0.7556, None, None),
    ("tid2013", "SSIMULACRA"): (-0.6733, -0.485133, None, None, None, None),
    ("csiq", "DSSIM"): (0.946151, None, 0.9274, 0.9324, None, None),
    ("live", "DSSIM"): (0.954930, None, 0.9400, 0.9489, None, None),
    ("kadid10k", "Butteraugli"): (-0.735086, None, None, None, None, None),
}


@pytest.mark.development_data
@pytest.mark.parametrize("table", MEASURED, ids="-".join)
def test_correlations_of_rated_sets_equal_the_measured_ones(shared: Path, table: tuple[str, str]) -> None:
    rows = pd.read_csv(shared / "data" / "rated_metric_scores.csv.gz", dtype={"reference": str})
    rows = rows[rows["dataset"] == table[0]]
    x, y = rows[table[1]].to_numpy(), rows["score"].to_numpy()
    srcc, tau, plcc4, plcc5, rmse4, rmse5 = MEASURED[table]
    assert spearman(x, y) == pytest.approx(srcc, abs=1e-5)
    if tau is not None:
        assert kendall(x, y) == pytest.approx(tau, abs=1e-6)
    for parameters, plcc, rmse in ((4, plcc4, rmse4), (5, plcc5, rmse5)):
        if plcc is None:
            continue
        found = fit(x, y, parameters)
        assert pearson(found.predicted, y) == pytest.approx(plcc, abs=2e-4)
        assert rmse is None or found.rmse == pytest.approx(rmse, abs=2e-4)
