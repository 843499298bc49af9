"""Candidates over the same pictures: what each reaches, and which is closer by how much."""

from __future__ import annotations

import numpy as np
import pytest

from pim.eval.candidates import BYTES, RATE, Candidates, Grid, compare, reservations, summary

PICTURES = tuple(f"p{i:02}" for i in range(12))


def grid(*columns: list[float], lower: bool = True) -> Grid:
    """Candidates a, b, ... over as many pictures as there are values."""
    values = np.array(columns, dtype=np.float64).T
    return Grid("m", lower, PICTURES[: len(values)], tuple("abc"[: len(columns)]), values)


def test_a_summary_is_of_the_pictures_that_have_a_value() -> None:
    found = summary(grid([3.0, 1.0, np.nan, 8.0]), "a")
    assert (found.n, found.mean, found.median, found.worst, found.worst_picture) == (3, 4.0, 3.0, 8.0, "p03")
    assert (found.low, found.note) == (None, "no interval: 3 pictures, at least 5 are needed")
    assert summary(grid([3.0, 1.0], lower=False), "a").worst_picture == "p01"
    assert summary(grid([np.nan]), "a").mean is None


def test_an_interval_holds_the_mean_and_shrinks_with_the_spread() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = (summary(grid((5 + s * rng.standard_normal(12)).tolist()), "a") for s in (1.0, 0.1))
    for found in (wide, narrow):
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.mean < found.high
        assert found.note is None
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_pairs_are_compared_picture_by_picture() -> None:
    spread = np.arange(12.0)  # far more than what the two differ by
    (found,) = compare(grid((spread + 0.25).tolist(), spread.tolist()))
    assert (found.first, found.second, found.closer, found.n) == ("b", "a", 12, 12)
    assert (found.difference, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found.sentence == "m: b is closer than a on 12 of 12 pictures, mean difference .250 [.250, .250]"


def test_a_similarity_is_closer_where_it_is_higher() -> None:
    (found,) = compare(grid([0.9] * 12, [0.8] * 12, lower=False))
    assert (found.first, found.closer, found.difference) == ("a", 12, pytest.approx(0.1))


def test_a_difference_whose_interval_holds_zero_is_not_clear() -> None:
    values = [1.0, -1.1] * 6
    (found,) = compare(grid(values, [0.0] * 12))
    assert (found.first, found.closer) == ("a", 6)
    assert found.sentence.startswith("m: no clear difference, a is closer than b on 6 of 12 pictures")


def test_candidates_are_compared_in_the_order_of_their_means_with_their_rates() -> None:
    rates = grid([2.0] * 12, [1.0] * 12, [0.5] * 12)
    found = compare(grid([2.0] * 12, [3.0] * 12, [1.0] * 12), rates)
    assert [(f.first, f.second) for f in found] == [("c", "a"), ("a", "b")]
    assert found[0].sentence.startswith("m: c (.500 bpp) is closer than a (2.000 bpp) on 12 of 12 pictures")


def test_pictures_that_one_lacks_count_for_neither() -> None:
    (found,) = compare(grid([1.0] * 6 + [100.0], [2.0] * 6 + [np.nan]))
    assert (found.first, found.n, found.difference) == ("a", 6, 1.0)
    assert "rests on" not in found.sentence
    assert reservations([found, found]) == ["the interval rests on 6 pictures only"]


def test_infinite_values_give_no_interval() -> None:
    (found,) = compare(grid([np.inf, np.inf] + [40.0] * 4, [np.inf, 30.0] + [40.0] * 4, lower=False))
    assert found.sentence == "m: a is closer than b on 1 of 6 pictures; infinite for 1 of 6 pictures"
    assert summary(grid([np.inf, 1.0]), "a").note == "infinite for 1 of 2 pictures"


def test_values_are_collected_by_picture_and_candidate() -> None:
    found = Candidates(["x", "y", "x"], ["a", "b", "b"], {"m": True})
    found.add("y", "b", {BYTES: 10, RATE: 0.5, "m": 2.0, "other": 3.0})
    sizes, rates, metric = found.grids()
    assert (sizes.quantity, rates.quantity, metric.quantity) == (BYTES, RATE, "m")
    assert metric.values[1, 1] == 2.0
    assert np.isnan(metric.values).sum() == 3
    assert [entry["n"] for entry in found.as_dict()["candidates"]] == [0, 1] * 3
    assert found.as_dict()["comparisons"] == []
