"""Bootstrap intervals and paired tests, against golden draws and by their properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats

from pim.errors import InputError, UsageError
from pim.eval.bootstrap import (
    bca_constants,
    bca_interval,
    clusters_warning,
    counts_of,
    draw_clusters,
    holm,
    paired_p,
    percentile_interval,
    row_mean_draws,
)
from pim.eval.correlation import spearman, spearman_draws

Array = np.ndarray[Any, Any]
Golden = Callable[[str], Mapping[str, Array]]


def oriented(stats: Mapping[str, Array], metric: str, counts: Array) -> Array:
    x, human, cluster = stats[f"boot_metric_{metric}"], stats["boot_human"], stats["boot_cluster"]
    sign = np.sign(spearman(x, human))
    return np.asarray(sign * spearman_draws(x, human, counts[:, cluster]))


def test_given_draws_give_the_golden_intervals(golden: Golden) -> None:
    stats = golden("stats")
    values = oriented(stats, "a", counts_of(stats["boot_draws"]))
    np.testing.assert_allclose(values, stats["boot_a"], atol=1e-13)
    left_out = oriented(stats, "a", 1 - np.eye(12))
    np.testing.assert_allclose(left_out, stats["boot_jackknife_a"], atol=1e-13)
    estimate = float(stats["boot_abs_srcc_a"])
    assert bca_constants(values, estimate, left_out) == pytest.approx(
        (float(stats["boot_bca_z0"]), float(stats["boot_bca_accel"])), abs=1e-10
    )
    plain, corrected = percentile_interval(values), bca_interval(values, estimate, left_out)
    np.testing.assert_allclose((plain.low, plain.high), stats["boot_percentile_a"], atol=1e-12)
    np.testing.assert_allclose((corrected.low, corrected.high), stats["boot_bca_a"], atol=1e-9)


def test_draws_equal_to_the_estimate_count_half_below_it() -> None:
    bias, acceleration = bca_constants(np.array([1.0, 2.0, 2.0, 2.0, 3.0]), 2.0, np.array([1.0, 2.0, 3.0]))
    assert (bias, acceleration) == pytest.approx((0, 0), abs=1e-15)  # one below, three equal, one above: 1/2
    bias, _ = bca_constants(np.array([1.0, 2.0, 3.0, 4.0]), 2.0, np.array([1.0, 2.0, 3.0]))
    assert bias == pytest.approx(scipy.stats.norm.ppf(1.5 / 4))


def test_given_draws_give_the_golden_paired_difference(golden: Golden) -> None:
    stats = golden("stats")
    counts = counts_of(stats["boot_draws"])
    differences = oriented(stats, "a", counts) - oriented(stats, "b", counts)
    interval = percentile_interval(differences)
    np.testing.assert_allclose((interval.low, interval.high), stats["boot_delta_percentile"], atol=1e-12)
    assert paired_p(differences) == pytest.approx(float(stats["boot_delta_p"]), abs=1e-15)


def test_draws_take_as_many_clusters_as_there_are_and_depend_on_the_seed_alone() -> None:
    (counts,) = draw_clusters(7, draws=50, seed=3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(counts, np.concatenate(list(draw_clusters(7, draws=50, seed=3, at_once=8))))
    assert (counts != next(draw_clusters(7, draws=50, seed=4))).any()


def test_counts_of_drawn_numbers_are_counted_by_row() -> None:
    assert counts_of(np.array([[0, 2, 2], [1, 1, 1]])).tolist() == [[1, 0, 2], [0, 3, 0]]


def test_row_means_spread_like_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=400)
    draws = row_mean_draws(values, draws=1500, seed=1)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.02)
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.08)


def test_columns_of_one_table_see_the_same_draws() -> None:
    values = np.random.default_rng(0).normal(size=(60, 1))
    both = row_mean_draws(np.hstack([values, values + 1]), draws=20)
    np.testing.assert_allclose(both[:, 1] - both[:, 0], 1, atol=1e-12)


def test_p_is_one_without_a_difference_and_smallest_when_every_draw_agrees() -> None:
    assert paired_p(np.zeros(99)) == 1
    assert paired_p(np.ones(99)) == pytest.approx(0.02)
    assert paired_p(-np.ones(99)) == pytest.approx(0.02)
    assert paired_p(np.append(np.ones(98), -1)) == pytest.approx(0.04)


def test_holm_equals_the_golden_values_and_keeps_order(golden: Golden) -> None:
    stats = golden("stats")
    p = stats["holm_p"]
    np.testing.assert_allclose(holm(list(p)), stats["holm_adjusted"], atol=1e-15)
    np.testing.assert_allclose(holm(list(p[::-1])), stats["holm_adjusted"][::-1], atol=1e-15)
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_few_references_warn_and_fewer_give_no_interval() -> None:
    assert clusters_warning(10) is None
    assert clusters_warning(9) == "the interval rests on 9 references only"
    assert clusters_warning(4) == "no interval: 4 references, at least 5 are needed"


def test_undefined_draws_must_be_left_out_by_the_caller() -> None:
    with pytest.raises(InputError, match="undefined draws"):
        percentile_interval(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="undefined draws"):
        paired_p(np.array([]))
    with pytest.raises(InputError, match="one side"):
        bca_interval(np.ones(10), 2.0, np.arange(5.0))
    with pytest.raises(UsageError, match="positive"):
        next(draw_clusters(0))
