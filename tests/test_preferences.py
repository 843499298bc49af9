"""From judgements to choices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rated_toys import choice_plan, opinion_plan

from pim.errors import DataError, UsageError
from pim.eval.judgements import About, Judgement, Plan
from vggmetric.fitting.preferences import Ratings, joined, preferences


def normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_opinions_become_shares_by_the_formula():
    scores = {"a": [5.0, 3.0, 4.0], "b": [1.0, 2.0]}
    found = preferences(opinion_plan(scores, deviation=0.3))
    spread = 0.2 * np.std([5, 3, 4, 1, 2])
    scale = math.sqrt(2 * 0.3**2 + spread**2)
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1), (0, 2), (1, 2), (3, 4)]
    # the share is that of the second pair, which is the better one where its score is higher
    expected = [normal((second - first) / scale) for first, second in ((5, 3), (5, 4), (3, 4), (1, 2))]
    assert np.allclose(found.share, expected, rtol=1e-12)
    assert found.group == ("a", "a", "a", "b")
    assert (found.votes == 1).all()


def test_scores_of_different_references_are_not_compared():
    found = preferences(opinion_plan({"a": [5.0, 3.0], "b": [1.0, 2.0], "c": [4.0]}))
    assert {frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)} == {
        frozenset((0, 1)),
        frozenset((2, 3)),
    }


def test_a_low_score_may_be_the_better_one():
    plan = opinion_plan({"a": [5.0, 3.0]})
    turned = Plan(About("toy", "opinion", False), plan.pairs, plan.judgements)
    assert preferences(plan).share[0] < 0.5 < preferences(turned).share[0]
    assert np.isclose(preferences(plan).share[0], 1 - preferences(turned).share[0], rtol=1e-12)


def test_equal_scores_without_errors_are_undecided():
    assert preferences(opinion_plan({"a": [4.0, 4.0]})).share.tolist() == [0.5]


def test_forced_choices_keep_their_votes():
    found = preferences(choice_plan([("r", "x", "y", 0.8, 5), ("r", "y", "z", 0.0, 2)]))
    assert (found.first.tolist(), found.second.tolist()) == ([0, 1], [1, 2])
    assert found.share.tolist() == [0.8, 0.0]
    assert found.votes.tolist() == [5, 2]


def test_a_quadruple_says_which_pair_differs_more():
    chosen = preferences(choice_plan([("r", "x", "y", 0.8, 5)]))
    more = preferences(choice_plan([("r", "x", "y", 0.8, 5)], kind="quadruple"))
    assert (chosen.first[0], chosen.second[0]) == (0, 1)  # y is closer, says 0.8
    assert (more.first[0], more.second[0]) == (1, 0)  # y differs more, says 0.8: x is closer


def test_same_or_not_is_no_choice():
    plan = choice_plan([("r", "x", "y", 0.8, 5)])
    jnd = Plan(About("same", "jnd"), plan.pairs, (Judgement("k", (0,), 0.5, "r"),))
    with pytest.raises(DataError, match="kind jnd.*opinion scores, forced choices or quadruples"):
        preferences(jnd)


def test_single_pictures_of_each_reference_cannot_be_compared():
    with pytest.raises(DataError, match="no two pictures of one reference"):
        preferences(opinion_plan({"a": [5.0], "b": [1.0]}))


def test_sets_are_joined_one_after_the_other():
    one, two = opinion_plan({"a": [5.0, 3.0, 1.0]}), choice_plan([("r", "x", "y", 0.8, 5)])
    parts = [preferences(one), preferences(two)]
    found = joined(parts, [3, 2])
    assert (found.first[-1], found.second[-1]) == (3, 4)
    assert found.votes.tolist() == [1, 1, 1, 5]
    equal = joined(parts, [3, 2], equal=True)
    assert np.isclose(equal.votes[:3].sum(), equal.votes[3:].sum())


def test_pictures_of_one_reference_stand_together_whatever_their_groups_are_called():
    one = opinion_plan({"a": [5.0, 3.0], "b": [1.0, 2.0], "c": [4.0, 4.5]}, name="one")
    two = opinion_plan({"other": [5.0, 3.0], "b": [1.0, 2.0]}, name="two")
    apart = Ratings.of([one, two])
    assert apart.clusters == 4  # b is in both
    same = {"one/a.png": "hash of a", "two/other.png": "hash of a"}
    together = Ratings.of([one, two], same)
    assert together.clusters == 3
    assert together.cluster[0] == together.cluster[6]


def test_sets_of_one_name_are_refused():
    plan = opinion_plan({"a": [5.0, 3.0]})
    with pytest.raises(UsageError, match="two data sets are called toy"):
        Ratings.of([plan, plan])
