"""Agreement of raters against published values and brute force, and who is pointed out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pim.errors import InputError, UsageError
from pim.rating.agreement import Share, alpha_interval, at_least, at_most, krippendorff_alpha, person_agreement
from pim.rating.report import report
from pim.rating.store import Answered, Content
from pim.rating.triplets import Triplet

# The example of Krippendorff (2011), four observers and twelve units, 0 for a missing value.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
    [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
]


def counted(codes: list[list[int]], values: int) -> np.ndarray:
    return np.array([[sum(row[u] == v for row in codes) for v in range(1, values + 1)] for u in range(len(codes[0]))])


def test_alpha_has_the_published_value() -> None:
    assert krippendorff_alpha(counted(PUBLISHED, 5)) == pytest.approx(0.743, abs=5e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_alpha_is_observed_over_expected_disagreement_by_pairs(seed: int) -> None:
    votes = np.random.default_rng(seed).integers(0, 4, (7, 2))
    units = [[0] * int(a) + [1] * int(b) for a, b in votes if a + b > 1]
    values = list(itertools.chain(*units))
    if len(set(values)) < 2:
        assert krippendorff_alpha(votes) is None
        return
    observed = sum(sum(x != y for x, y in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    expected = sum(x != y for x, y in itertools.permutations(values, 2)) / (len(values) - 1)
    assert krippendorff_alpha(votes) == pytest.approx(1 - observed / expected)


def test_alpha_is_one_for_agreement_near_zero_for_chance_and_undefined_without_pairs() -> None:
    assert krippendorff_alpha(np.array([[3, 0], [0, 3], [2, 0]])) == 1
    coin = np.random.default_rng(0).binomial(3, 0.5, 4000)
    assert krippendorff_alpha(np.stack([coin, 3 - coin], axis=1)) == pytest.approx(0, abs=0.03)
    assert krippendorff_alpha(np.array([[1, 0], [0, 1], [0, 0]])) is None
    assert krippendorff_alpha(np.array([[3, 0], [2, 0]])) is None
    with pytest.raises(InputError, match="table"):
        krippendorff_alpha(np.array([1, 2]))


def test_the_interval_of_alpha_draws_groups() -> None:
    votes = np.array([[3, 0], [0, 3]] * 10 + [[2, 1], [1, 2]] * 10)
    alone = alpha_interval(votes, [str(i) for i in range(40)])
    together = alpha_interval(votes, [str(i // 8) for i in range(40)])
    assert alone is not None
    assert together is not None
    alpha = krippendorff_alpha(votes)
    assert alpha is not None
    assert alone[0] < alpha < alone[1]
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
    assert alpha_interval(votes, ["a", "b", "c", "d"] * 10) is None
    assert alpha_interval(votes, [str(i) for i in range(40)]) == alone


def test_two_raters_agree_as_often_as_their_pairs_do() -> None:
    assert person_agreement(np.array([[3, 1], [0, 2], [1, 0]])) == pytest.approx((0.5 + 1) / 2)
    assert person_agreement(np.array([[1, 0]])) is None


def test_shares_of_nothing_say_nothing() -> None:
    assert (Share(0, 0).value, Share(0, 0).interval()) == (None, None)
    low, high = Share(8, 10).interval() or (0, 0)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson
    assert at_most(Share(0, 0), 0.5) == at_least(Share(0, 0), 0.5) == 1
    assert at_most(Share(1, 3), 0.5) == pytest.approx(0.5)
    assert at_least(Share(3, 3), 0.5) == pytest.approx(0.125)


TRIPLETS = tuple(Triplet(f"r{i}", f"a{i}", f"b{i}", f"r{i}") for i in range(60))
SCREEN = {"whole": 1.0, "zoom": 1.0}


def answers_of(name: str, seed: int, careless: float = 0.0, **always: object) -> list[Answered]:
    """A rater who prefers b in every second triplet, and a coin's choice in some share of the cases."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(60):
        second = bool(place % 2) if rng.random() >= careless else bool(rng.integers(2))
        found.append(Answered(name, place, "main", place, second, bool(rng.integers(2)), 2000, 1, SCREEN))
    for place in range(10):
        second = bool(place % 2) if rng.random() >= careless else bool(rng.integers(2))
        found.append(Answered(name, 60 + place, "repeat", place, second, bool(rng.integers(2)), 2000, 1, SCREEN))
        wrong = rng.random() < careless / 2
        found.append(Answered(name, 70 + place, "catch", None, bool(wrong), False, 2000, 1, SCREEN))
    found = [replace(answer, right=bool(i % 2)) for i, answer in enumerate(found)]
    return [replace(answer, **always) for answer in found]  # type: ignore[arg-type]


def study(*answers: list[Answered]) -> Content:
    given = tuple(itertools.chain(*answers))
    names = dict.fromkeys(answer.rater for answer in given)
    return Content(TRIPLETS, {}, given, dict.fromkeys(names, 80), {"Ann": 2}, {"choose": "all"})


def test_careful_raters_are_not_pointed_out() -> None:
    found = report(study(answers_of("Ann", 1, 0.1), answers_of("Ben", 2, 0.1), answers_of("Cleo", 3, 0.2)))
    assert [rater.reasons for rater in found.raters] == [(), (), ()]
    assert [rater.withdrawn for rater in found.raters] == [2, 0, 0]
    assert (found.answers, found.triplets, found.judged, found.shared) == (180, 60, 60, 60)
    assert found.catch.n == found.repeats.n == 30


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (answers_of("Zoe", 10, 1.0), ("catch trials wrong", "repeats as before", "answers with the majority")),
        (answers_of("Zoe", 5, 0.1, right=False), ("answers for the left side",)),
        (answers_of("Zoe", 6, 0.1, milliseconds=300), ("half of the answers within 0.30 seconds",)),
        (answers_of("Zoe", 7, 0.1, screen={"whole": 0.0, "zoom": 1.0}), ("did not fit the window",)),
    ],
)
def test_who_does_not_look_is_pointed_out_and_nobody_else(who: list[Answered], said: tuple[str, ...]) -> None:
    found = report(study(answers_of("Ann", 1, 0.1), answers_of("Ben", 2, 0.1), answers_of("Cleo", 3, 0.1), who))
    assert all(any(text in reason for reason in found.raters[-1].reasons) for text in said), found.raters[-1].reasons
    assert len(found.raters[-1].reasons) == len(said)
    assert [rater.reasons for rater in found.raters[:-1]] == [(), (), ()]
    assert found.excluded == ()


def test_who_is_left_out_counts_nowhere_but_is_listed() -> None:
    careful = (answers_of("Ann", 1, 0.1), answers_of("Ben", 2, 0.1))
    whole, without = report(study(*careful)), report(study(*careful, answers_of("Zoe", 4, 1.0)), ["zoe"])
    assert without.excluded == ("Zoe",)
    assert [rater.excluded for rater in without.raters] == [False, False, True]
    assert without.raters[-1].reasons
    assert (without.answers, without.alpha, without.scores, without.repeats) == (
        *(whole.answers, whole.alpha, whole.scores, whole.repeats),
    )
    assert [rater.others for rater in without.raters[:2]] == [rater.others for rater in whole.raters]
    with pytest.raises(UsageError, match="no rater 'Zo'; did you mean 'Zoe'"):
        report(study(*careful, answers_of("Zoe", 4)), ["Zo"])


def test_the_majority_of_the_others_is_without_oneself() -> None:
    against = [replace(answer, rater="Con", second=not answer.second) for answer in answers_of("Con", 1)]
    found = report(study(answers_of("Pro", 1), against))
    assert [rater.others for rater in found.raters] == [Share(0, 60), Share(0, 60)]
    assert found.alpha is not None
    assert found.alpha < 0


def test_scores_follow_the_answers() -> None:
    found = report(study(answers_of("Ann", 1), answers_of("Ben", 2)))
    assert [(s.candidate, s.n) for s in found.scores[:2]] == [("a0", 2), ("b0", 2)]
    assert found.scores[0].score == -found.scores[1].score > 0
    assert found.scores[0].low < found.scores[0].score < found.scores[0].high
    by_name = {score.candidate: score.score for score in found.scores}
    assert by_name["b1"] > by_name["a1"]


def test_a_study_without_answers_can_be_reported() -> None:
    found = report(Content(TRIPLETS, {"r0": Path("r0")}, (), {"Ann": 70}, {}, {}))
    assert (found.answers, found.alpha, found.person, found.scores) == (0, None, None, ())
    assert found.raters[0].seconds is None
