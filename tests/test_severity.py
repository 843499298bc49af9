"""Order of severities, on small grids counted by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from pim.errors import InputError
from pim.eval.analysis import AnalysisOptions, MetricValues, analyse
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import About, Judgement
from pim.eval.severity import SeverityGrid, grids, image_adjacent, image_kendall, rank_agreement


def grid(rows: list[list[float]]) -> SeverityGrid:
    distance = np.array(rows)
    images = tuple(f"p{i}" for i in range(len(distance)))
    return SeverityGrid("fog", images, tuple(range(1, distance.shape[1] + 1)), distance)


def test_order_is_measured_within_each_picture() -> None:
    distances = grid([[1, 2, 3, 4, 5], [1, 3, 2, 5, 4], [2, 2, 2, 2, 2]])
    swapped = scipy.stats.kendalltau([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]).statistic
    np.testing.assert_allclose(image_kendall(distances), [1, swapped, np.nan])
    assert image_adjacent(distances).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize(("second", "rises"), [([3, 2.5, 2], True), ([3, 2, 1], False), ([1, 2, 1], False)])
def test_a_mean_that_does_not_rise_with_each_severity_is_told(second: list[float], rises: bool) -> None:
    values = [1.0, 2.0, 3.0, *second]
    rows = [Judgement(str(i), (0,), None, f"p{i // 3}", (), "fog", 1 + i % 3) for i in range(6)]
    metric = MetricValues({"name": "m", "lower_is_better": True}, tuple((v,) for v in values))
    found = analyse(About("t", "severity"), rows, [metric], AnalysisOptions(IntervalOptions(draws=10)))
    means = [f.value for f in found.figures if f.statistic.startswith("mean ")]
    assert means == pytest.approx(np.mean([values[:3], values[3:]], axis=0))
    assert ("m: the mean over pictures does not rise with every severity of fog" in found.notes) is not rises


def test_equal_neighbours_are_not_in_order() -> None:
    assert image_adjacent(grid([[1, 1, 2]])).tolist() == [0.5]


@pytest.mark.parametrize("row", [[1, 1, 2, 3, 3], [0, 0, 0, 1, 0], [4, 4, 2, 2, 1]])
def test_tau_of_tied_distances_is_tau_b(row: list[float]) -> None:
    want = scipy.stats.kendalltau(range(len(row)), row, variant="b").statistic
    assert image_kendall(grid([row]))[0] == pytest.approx(want)


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
