"""Order of severities, on small grids counted by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from pim.errors import InputError
from pim.eval.severity import SeverityGrid, grids, rank_agreement, relative_to_mean, severity_order


def grid(rows: list[list[float]]) -> SeverityGrid:
    distance = np.array(rows)
    images = tuple(f"p{i}" for i in range(len(distance)))
    return SeverityGrid("fog", images, tuple(range(1, distance.shape[1] + 1)), distance)


def test_order_is_measured_within_each_picture() -> None:
    order = severity_order(grid([[1, 2, 3, 4, 5], [1, 3, 2, 5, 4], [2, 2, 2, 2, 2]]))
    swapped = scipy.stats.kendalltau([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]).statistic
    assert order.kendall == pytest.approx((1 + swapped) / 2)
    assert order.undefined == 1
    assert order.adjacent == pytest.approx((4 + 2 + 0) / 12)
    assert order.images == 3


def test_means_are_monotone_only_if_each_step_rises() -> None:
    assert severity_order(grid([[1, 2, 3], [3, 2.5, 2]])).monotone is True
    assert severity_order(grid([[1, 2, 3], [3, 2, 1]])).monotone is False
    assert severity_order(grid([[1, 2, 3], [1, 2, 1]])).means == (1, 2, 2)


def test_equal_neighbours_are_not_in_order() -> None:
    assert severity_order(grid([[1, 1, 2]])).adjacent == 0.5


@pytest.mark.parametrize("row", [[1, 1, 2, 3, 3], [0, 0, 0, 1, 0], [4, 4, 2, 2, 1]])
def test_tau_of_tied_distances_is_tau_b(row: list[float]) -> None:
    want = scipy.stats.kendalltau(range(len(row)), row, variant="b").statistic
    assert severity_order(grid([row])).kendall == pytest.approx(want)


def test_a_metric_that_never_changes_has_no_tau() -> None:
    assert severity_order(grid([[1, 1, 1]])).kendall is None


def test_rows_become_one_grid_per_corruption_without_incomplete_pictures() -> None:
    rows = [("fog", s, p, float(s)) for p in "ba" for s in (2, 1, 3)] + [("fog", 1, "c", 9.0), ("snow", 1, "a", 4.0)]
    corruption, severity, image, distance = zip(*rows, strict=True)
    fog, snow = grids(corruption, severity, image, np.array(distance))
    assert fog.images == ("a", "b")
    assert fog.severities == (1, 2, 3)
    assert fog.distance.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert (snow.corruption, snow.images, snow.severities) == ("snow", ("a",), (1,))


def test_a_severity_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="picture a has severity 1 of fog twice"):
        grids(["fog", "fog"], [1, 1], ["a", "a"], np.zeros(2))
    with pytest.raises(InputError, match="NaN"):
        grids(["fog"], [1], ["a"], np.array([np.nan]))


def test_a_grid_without_whole_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="fog: at least 1 picture with 3 severities"):
        severity_order(grid([[1, 2]]))


def test_rank_agreement_names_the_cells_that_disagree_most() -> None:
    first = {f"c{i}": float(i) for i in range(6)}
    second = {**first, "c0": 9.0, "extra": 1.0}
    found = rank_agreement(first, second, furthest=2)
    assert found.cells == 6
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(range(6), [9, 1, 2, 3, 4, 5]).statistic)
    assert found.furthest == (("c0", 5.0), ("c1", -1.0))


def test_rank_agreement_needs_three_shared_cells() -> None:
    with pytest.raises(InputError, match="they share 1"):
        rank_agreement({"a": 1.0}, {"a": 1.0, "b": 2.0})
    assert rank_agreement(dict.fromkeys("abc", 1.0), {"a": 1.0, "b": 2.0, "c": 3.0}).spearman is None


def test_cells_divided_by_their_mean_average_to_one() -> None:
    scaled = relative_to_mean({"a": 1.0, "b": 3.0})
    assert scaled == {"a": 0.5, "b": 1.5}
    with pytest.raises(InputError, match="positive mean"):
        relative_to_mean({"a": -1.0})
