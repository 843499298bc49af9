"""JND average precision, against golden rows, a literal copy of the rule, and measured shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pim.errors import InputError
from pim.eval.jnd import average_precision_draws, in_given_order

Array = np.ndarray[Any, Any]
Golden = Callable[[str], Mapping[str, Array]]


def average_precision(distance: Array, same: Array) -> float:
    return float(average_precision_draws(distance, same, np.ones((1, len(distance))))[0])


def by_the_rule(distance: Array, same: Array) -> float:
    """The rule step by step, one step per distinct distance."""
    recalls, precisions = [0.0], [0.0]
    for threshold in sorted(set(distance.tolist())):
        taken = same[distance <= threshold]
        recalls.append(taken.sum() / same.sum())
        precisions.append(taken.sum() / len(taken))
    recalls.append(1.0)
    precisions.append(0.0)
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    return sum((recalls[i + 1] - recalls[i]) * precisions[i + 1] for i in range(len(recalls) - 1))


def test_tied_rows_equal_the_golden_values(golden: Golden) -> None:
    stats = golden("stats")
    distance, same = stats["jnd_d"], stats["jnd_same"]
    assert average_precision(distance, same) == pytest.approx(float(stats["jnd_ap_tie_grouped"]), abs=1e-14)
    assert in_given_order(distance, same) == pytest.approx(float(stats["jnd_ap_stable"]), abs=1e-14)


def test_ties_enter_as_one_step_whatever_the_order_of_the_input() -> None:
    rng = np.random.default_rng(1)
    distance, same = rng.integers(0, 6, 40).astype(np.float64), rng.integers(0, 4, 40) / 3
    shuffled = rng.permutation(40)
    value = average_precision(distance, same)
    assert value == pytest.approx(by_the_rule(distance, same), abs=1e-14)
    assert average_precision(distance[shuffled], same[shuffled]) == pytest.approx(value, abs=1e-14)
    assert in_given_order(distance[shuffled], same[shuffled]) != pytest.approx(value, abs=1e-3)


def test_a_constant_metric_has_the_share_of_same() -> None:
    same = np.array([1.0, 0.0, 1 / 3, 1.0])
    assert average_precision(np.zeros(4), same) == pytest.approx(same.mean())


def test_a_perfect_order_of_clear_votes_scores_one() -> None:
    assert average_precision(np.arange(5.0), np.array([1.0, 1, 0, 0, 0])) == 1


def test_a_weighting_equals_repeating_the_rows() -> None:
    rng = np.random.default_rng(2)
    distance, same = rng.integers(0, 8, 30).astype(np.float64), rng.integers(0, 4, 30) / 3
    weights = rng.integers(0, 3, size=(6, 30)).astype(np.float64)
    weights[0, distance == distance.min()] = 0  # the first step is empty
    for row, value in zip(weights, average_precision_draws(distance, same, weights), strict=True):
        repeated = np.repeat(distance, row.astype(int)), np.repeat(same, row.astype(int))
        assert value == pytest.approx(by_the_rule(*repeated), abs=1e-14)


def test_nobody_saying_same_leaves_it_undefined() -> None:
    assert np.isnan(average_precision(np.arange(3.0), np.zeros(3)))


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(InputError, match="same must lie in"):
        average_precision(np.zeros(2), np.array([0.0, 2.0]))
    with pytest.raises(InputError, match="must not be NaN"):
        average_precision(np.array([np.nan]), np.ones(1))


@pytest.mark.development_data
def test_shifted_pairs_equal_the_measured_values(shared: Path) -> None:
    with np.load(shared / "data" / "shift_jnd_pim1.npz") as rows:
        distance, same, shift = rows["distance"], rows["same"], rows["shift_px"]
    assert average_precision(distance, same) == pytest.approx(0.770885, abs=1e-6)
    assert in_given_order(distance, same) == pytest.approx(average_precision(distance, same), abs=1e-12)
    assert average_precision(shift, same) == pytest.approx(0.747219, abs=1e-6)
    assert average_precision(0 * distance, same) == pytest.approx(0.403334, abs=1e-6)
    same_first = np.lexsort((-same, distance))
    assert in_given_order(distance[same_first], same[same_first]) == pytest.approx(0.784869, abs=1e-6)
    assert in_given_order(-same, same) == pytest.approx(0.887292, abs=1e-6)
