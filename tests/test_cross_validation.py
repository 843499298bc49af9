"""Folds, the choice of a strength, and heads of simulated raters."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from rated_toys import Simulated, simulated

from pim.errors import DataError
from pim.eval.estimate import IntervalOptions
from pim.eval.figures import compare
from vggmetric.fitting import agreement
from vggmetric.fitting.arrays import Remembering, opened
from vggmetric.fitting.bench import Bench
from vggmetric.fitting.choice import Choices, Ridge, fit
from vggmetric.fitting.conclusions import conclude
from vggmetric.fitting.cross_validation import Split, clearly_better, follow, one_standard_error
from vggmetric.fitting.forms import choose, fit_forms, fits_needed
from vggmetric.fitting.layout import Layout
from vggmetric.fitting.preferences import Ratings

LAYOUT = Layout(("pixels", "relu1_1", "relu1_2", "relu2_1"), (3, 4, 4, 5))
TRUE = LAYOUT.spread(np.array([0.0, 2.0, 0.3, 1.0]))


def bench_of(ratings: Simulated, folds: int = 5) -> Bench:
    found = Ratings.of([ratings.plan])
    p = found.preferences
    split = Split.of(found.cluster[p.first], p.votes, 0, folds)
    return Bench(
        found,
        LAYOUT,
        Choices(ratings.quantities, p.first, p.second, p.share, p.votes),
        split,
        {},
        LAYOUT.uniform(),
        "toy",
    )


def split_of(cluster, votes=None, folds=5):
    cluster = np.asarray(cluster)
    return Split.of(cluster, np.ones(len(cluster)) if votes is None else np.asarray(votes), 3, folds)


def test_a_photo_is_never_divided():
    cluster = np.random.default_rng(0).integers(0, 40, 500)
    split = split_of(cluster)
    assert split.folds == 5
    for number in range(40):
        assert len(set(split.fold_of_choice[cluster == number])) == 1
    sizes = np.bincount(split.fold_of_choice)
    assert sizes.min() > 60
    assert not np.array_equal(split.fold, Split.of(cluster, np.ones(500), 4).fold)


def test_few_photos_are_held_out_one_by_one():
    assert split_of(np.repeat(np.arange(19) * 7, 3)).folds == 19
    assert split_of(np.repeat(np.arange(20), 3)).folds == 5
    assert split_of(np.repeat(np.arange(20), 3), folds=4).folds == 4


def test_two_photos_are_too_few():
    with pytest.raises(DataError, match="about 2 photos; cross-validation needs 3"):
        split_of([0, 0, 1, 1])


def test_means_and_errors_weight_photos_by_their_votes():
    split = split_of([0, 0, 1, 2, 2, 2], votes=[1, 2, 3, 1, 1, 4])
    loss = np.array([0.5, 0.8, 0.2])
    assert np.isclose(split.mean(loss), np.average(loss, weights=[3, 3, 6]))
    plain = split_of([0, 1, 2, 3])
    values = np.array([0.5, 0.8, 0.2, 0.9])
    assert np.isclose(plain.error(values), values.std(ddof=1) / 2)
    assert np.isclose(split_of([0, 0, 1, 1, 2, 2, 3, 3]).error(values), plain.error(values))


def test_the_strongest_penalty_within_one_error_of_the_best_is_taken():
    split = split_of(np.arange(4))
    best = np.array([0.30, 0.40, 0.50, 0.60])
    within = best + [0.02, -0.01, 0.02, -0.01]  # mean worse by .005, standard error .0087
    beyond = best + [0.02, 0.01, 0.02, 0.01]  # worse by .015, standard error .0029
    assert one_standard_error(np.stack([beyond, within, best]), split) == 1
    assert one_standard_error(np.stack([beyond, best, within]), split) == 1
    assert one_standard_error(np.stack([within, beyond, best]), split) == 0
    assert one_standard_error(np.stack([beyond, best, best + 1]), split) == 1
    assert not clearly_better(best, within, split)
    assert clearly_better(best, beyond, split)


def test_held_out_numbers_come_from_weights_that_did_not_see_the_fold():
    bench = bench_of(simulated(TRUE, photos=6, triplets=20, votes=4, seed=1))
    path = follow(bench.choices, bench.split, strengths=(1.0, 0.01))
    for fold in range(bench.split.folds):
        inside = bench.split.fold_of_choice == fold
        changed = bench.choices.share.copy()
        changed[inside] = 1 - changed[inside]  # other answers in the fold do not change its weights
        other = Choices(
            bench.choices.quantities, bench.choices.first, bench.choices.second, changed, bench.choices.votes
        )
        assert np.array_equal(follow(other, bench.split, strengths=(1.0, 0.01)).weights[:, fold], path.weights[:, fold])
    refitted = fit(bench.choices.rows(bench.split.fold_of_choice != 2), Ridge(0.01))
    assert np.allclose(path.weights[1, 2], refitted, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def recovered():
    """Forms fitted to 24 photos of 80 triplets, each judged by 10 simulated raters."""
    bench = bench_of(simulated(TRUE, photos=24, triplets=80, votes=10, seed=5))
    return bench, fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, "channel")


def test_a_known_head_is_found_again(recovered):
    bench, forms = recovered
    fresh = simulated(TRUE, photos=20, triplets=200, votes=1, seed=77)
    truth = fresh.quantities @ TRUE
    first, second = truth[::2] - truth[1::2], None
    for name in ("layer", "channel"):
        second = fresh.quantities @ forms[name].weights
        assert np.mean(np.sign(first) == np.sign(second[::2] - second[1::2])) > 0.99, name
    assert np.allclose(forms["layer"].weights, TRUE, atol=0.1)
    uniform = fresh.quantities @ forms["prior"].weights
    assert np.mean(np.sign(first) == np.sign(uniform[::2] - uniform[1::2])) < 0.95


def test_a_prior_that_is_right_is_kept(recovered):
    bench, by_layer = recovered
    forms = fit_forms(bench.choices, LAYOUT, TRUE, bench.split, "channel")
    assert choose(forms)[0].name == "prior"
    assert np.allclose(forms["prior"].weights, TRUE, atol=0.1)
    assert forms["prior"].loss < by_layer["prior"].loss - 0.01


def test_what_the_prior_lacks_is_learned_from_the_ratings(recovered):
    bench, _ = recovered
    prior = TRUE * LAYOUT.mask(("relu1_1",))  # without the two other layers that count
    chosen = choose(fit_forms(bench.choices, LAYOUT, prior, bench.split, "layer"))[0]
    assert chosen.name == "layer"
    assert np.allclose(chosen.weights, TRUE, atol=0.1)


def test_a_head_by_layer_is_not_given_up_for_nothing(recovered):
    bench, forms = recovered
    chosen, held_out = choose(forms)  # all channels of a layer are alike, so the channel form gains nothing
    assert chosen.name == "layer"
    assert held_out.shape == (5, LAYOUT.size)


def test_channels_that_differ_are_worth_their_weights():
    weights = TRUE * np.tile([0.0, 2.0], 8)
    bench = bench_of(simulated(weights, photos=24, triplets=40, votes=10, seed=6))
    forms = fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, "channel")
    chosen, held_out = choose(forms)
    assert chosen.name == "channel"
    assert np.array_equal(held_out, forms["channel"].path.held_out()[0])


def test_shuffled_answers_give_no_advantage():
    bench = bench_of(simulated(TRUE, photos=24, triplets=40, votes=4, seed=9, shuffled=True))
    forms = fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, "channel")
    lines = {name: bench.distances(form.path.held_out()[0]) for name, form in forms.items()}
    found = agreement.measure(bench.ratings, lines, IntervalOptions(draws=400))
    for c in compare(found.measured, list(lines), agreement.headlines(bench.ratings), "prior"):
        assert c.low <= 0 <= c.high, c
    losses = [m.figure for m in found.measured if m.figure.statistic == "NLL"]
    assert all(figure.high > np.log(2) - 0.01 for figure in losses)


def test_real_answers_give_one(recovered):
    bench, forms = recovered
    lines = {name: bench.distances(form.path.held_out()[0]) for name, form in forms.items()}
    found = agreement.measure(bench.ratings, lines, IntervalOptions(draws=400))
    changes = {
        (c.first, c.statistic): c
        for c in compare(found.measured, list(lines), agreement.headlines(bench.ratings), "prior")
    }
    assert changes["layer", "NLL"].high < 0 < changes["layer", "2AFC"].low


def test_the_number_of_fits_is_known_beforehand():
    bench = bench_of(simulated(TRUE, photos=4, triplets=8, votes=4, seed=2))
    for form in ("layer", "channel"):
        made = []
        fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, form, advance=lambda made=made: made.append(1))
        assert len(made) == fits_needed(form, bench.split.folds)


def test_fits_are_remembered_to_the_bit(tmp_path):
    bench = bench_of(simulated(TRUE, photos=4, triplets=20, votes=4, seed=2))
    with opened(tmp_path / "fits.sqlite", LAYOUT.size, np.float64) as store:
        first = fit_forms(
            bench.choices, LAYOUT, bench.prior, bench.split, "channel", solve=Remembering(store, "content")
        )
    plain = fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, "channel")
    assert np.array_equal(first["channel"].path.weights, plain["channel"].path.weights)
    with opened(tmp_path / "fits.sqlite", LAYOUT.size, np.float64) as store:
        known = Remembering(store, "content")
        weights = known(bench.choices, Ridge(0.5), scale=None, start=None)
        poisoned = Remembering(store, "content")
        assert np.array_equal(
            poisoned(bench.choices, Ridge(0.5), scale=np.full(LAYOUT.size, np.nan), start=None), weights
        )
        other = known(bench.choices, Ridge(0.6), scale=None, start=None)
        assert not np.array_equal(other, weights)
        elsewhere = np.full(LAYOUT.size, 3.0)  # another start ends in other last digits
        begun = known(bench.choices, Ridge(0.5), scale=None, start=elsewhere)
        assert np.array_equal(begun, fit(bench.choices, Ridge(0.5), start=elsewhere))
        changed = replace(bench.choices, votes=bench.choices.votes + np.arange(len(bench.choices)))
        assert not np.array_equal(known(changed, Ridge(0.5), scale=None, start=None), weights)


def test_layers_have_names_groups_and_columns():
    assert LAYOUT.groups() == {"pixels": ("pixels",), "block1": ("relu1_1", "relu1_2"), "block2": ("relu2_1",)}
    assert LAYOUT.mask(LAYOUT.named("block1")).tolist() == [False] * 3 + [True] * 8 + [False] * 5
    quantities = np.random.default_rng(0).random((6, 16)).astype(np.float32)
    pooled = LAYOUT.pooled(quantities)
    assert np.allclose(pooled[:, 2], quantities[:, 7:11].sum(axis=1), rtol=1e-6)
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    assert np.allclose(quantities @ LAYOUT.spread(weights), pooled @ weights, rtol=1e-6)
    assert LAYOUT.without(["pixels", "relu1_2"]) == Layout(("relu1_1", "relu2_1"), (4, 5))


@pytest.mark.parametrize(
    ("photos", "shuffled", "said"),
    [
        (60, False, r"beats toy on held-out photos: it gains 0\.\d+ \[0\.\d+, 0\.\d+\]"),
        (6, True, r"is not shown to beat toy on held-out photos: it gains -?0\.\d+ \[.*\]"),
    ],
)
def test_a_fit_says_whether_it_beats_its_prior(photos: int, shuffled: bool, said: str) -> None:
    bench = bench_of(simulated(TRUE, photos=photos, triplets=12, votes=8, seed=5, shuffled=shuffled))
    forms = fit_forms(bench.choices, LAYOUT, bench.prior, bench.split, "layer")
    lines = {name: bench.distances(forms[name].path.held_out()[0]) for name in ("layer", "prior")}
    found = conclude(agreement.measure(bench.ratings, lines, IntervalOptions(draws=300)), "layer", "toy")
    assert re.fullmatch(f"The fitted head {said} nats per vote\\.", found[0])
    assert f"({12 * photos} choices); toy with " in found[1]
    assert (found[2:] != []) == (photos < 10)


def test_a_prior_that_nothing_speaks_against_is_kept() -> None:
    bench = bench_of(simulated(TRUE, photos=12, triplets=4, votes=4, seed=5))
    measured = agreement.measure(bench.ratings, {"prior": bench.choices.distances(TRUE)}, IntervalOptions(draws=300))
    kept, agrees = conclude(measured, "prior", "toy")
    assert kept.startswith("Nothing in these ratings speaks against toy")
    assert re.fullmatch(r"It agrees with [\d.]+ \[[\d.]+, [\d.]+\] percent of .* \(48 choices\)\.", agrees)
