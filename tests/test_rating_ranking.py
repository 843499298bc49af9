"""The ranking of folders of candidates."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from pim.rating.ranking import ranking
from pim.rating.triplets import Triplet

FOLDERS = ("jpeg", "ours", "webp")


def triplets(references: int) -> list[Triplet]:
    names = [(f"o/{i}.png", *(f"{folder}/{i}.png" for folder in FOLDERS)) for i in range(references)]
    return [Triplet(first, a, b, first) for first, *others in names for a, b in combinations(others, 2)]


def test_neighbours_in_the_ranking_are_compared_over_all_references() -> None:
    asked = triplets(8)  # jpeg-ours, jpeg-webp, ours-webp of every reference
    counts = np.array([[1, 9, 0], [2, 8, 0], [7, 3, 0]] * 8)
    first, second = ranking(asked, counts)
    assert (first.better, first.worse, first.share, first.answers, first.references) == ("ours", "webp", 0.7, 80, 8)
    assert (second.better, second.worse, second.share) == ("webp", "jpeg", 0.8)
    assert first.low == first.high == pytest.approx(0.7)  # all references say the same
    assert str(first) == "ours preferred to webp in 70 % [70, 70] of 80 answers"


def test_an_interval_is_over_references_and_a_doubtful_preference_is_called_so() -> None:
    asked = triplets(10)
    counts = np.array([[2, 8, 0], [2, 8, 0], [5, 5, 0]] * 10)
    counts[2::6] = [10, 0, 0]  # half of the references see ours far ahead, half see webp nearly as far
    counts[5::6] = [1, 9, 0]
    found = next(p for p in ranking(asked, counts) if {p.better, p.worse} == {"ours", "webp"})
    assert found.share == 0.55
    assert found.low is not None
    assert found.low < 0.35
    assert str(found).endswith("which is not certain")


def test_few_references_have_no_interval() -> None:
    first, _ = ranking(triplets(3), np.array([[1, 9, 0], [2, 8, 0], [7, 3, 0]] * 3))
    assert (first.low, first.high) == (None, None)
    assert str(first) == "ours preferred to webp in 70 % of 30 answers, which is not certain"


def test_candidates_without_a_folder_have_no_ranking() -> None:
    assert ranking([Triplet("r", "a.png", "b.png", "r")], np.array([[3, 1, 0]])) == ()
    assert ranking(triplets(5), np.zeros((15, 3), np.int64)) == ()


def test_no_difference_is_half_a_win_for_both() -> None:
    asked = triplets(8)
    first, second = ranking(asked, np.array([[0, 8, 2], [1, 7, 2], [4, 0, 6]] * 8))
    assert (first.better, first.share, first.ties, first.answers) == ("ours", 0.7, 48, 80)
    assert str(first) == "ours preferred to webp in 70 % [70, 70] of 80 answers, 48 of which saw no difference"
    even = str(replace(first, share=0.5, low=0.5, high=0.5))
    told = "ours and webp preferred equally often in 80 answers, 48 of which saw no difference"
    assert even == f"{told}, which is not certain"
    without_ties = ranking(asked, np.array([[1, 9, 0], [2, 8, 0], [7, 3, 0]] * 8))
    assert [(p.better, p.worse, p.share) for p in (first, second)] == [
        (p.better, p.worse, p.share) for p in without_ties
    ]
    only_ties = ranking(asked, np.array([[0, 0, 5]] * 24))
    assert {p.share for p in only_ties} == {0.5}
    assert all(str(p).endswith("which is not certain") for p in only_ties)
