"""From judgements and values to figures: the measured tables of people, intervals, comparisons, notes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pim.eval import tables
from pim.eval.analysis import Analysis, AnalysisOptions, MetricValues, analyse, parts_of
from pim.eval.bootstrap import draw_clusters
from pim.eval.correlation import spearman
from pim.eval.estimate import IntervalOptions
from pim.eval.figures import Figure
from pim.eval.judgements import About, Judgement

QUICK = AnalysisOptions(IntervalOptions(draws=200, seed=1))


def metric(name: str, values: Sequence[Sequence[float | None]], lower_is_better: bool = True) -> MetricValues:
    description = {"name": name, "lower_is_better": lower_is_better, "value_range": ["0.0", "inf"], "trained_on": []}
    return MetricValues(description, tuple(tuple(row) for row in values))


def figure(analysis: Analysis, part: str, statistic: str, name: str) -> Figure:
    (found,) = [f for f in analysis.figures if (f.part, f.statistic, f.metric) == (part, statistic, name)]
    return found


def opinions(references: int = 8, rows: int = 6, types: Sequence[str] = ("blur", "noise")) -> list[Judgement]:
    rng = np.random.default_rng(4)
    return [
        Judgement(f"{r}/{t}/{i}", (0,), 5 - i + rng.normal(), f"r{r}", ("mild",) if i < 3 else ("strong",), t, i)
        for r in range(references)
        for t in types
        for i in range(rows)
    ]


def noisy(judgements: Sequence[Judgement], noise: float, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [[-(j.value or 0) + noise * rng.normal()] for j in judgements]


def test_parts_are_the_subsets_and_types_the_distortions() -> None:
    parts, types = parts_of(opinions())
    assert list(parts) == ["mild", "strong"]
    assert list(types) == ["blur", "noise"]
    assert parts["mild"].sum() == types["blur"].sum() == 48


def test_single_subsets_are_the_types_where_no_distortion_is_named() -> None:
    rows = [Judgement(str(i), (0, 1), 0.5, str(i), (name,)) for i, name in enumerate(["b", "a", "c", "a"])]
    parts, types = parts_of(rows, order=("c", "z", "b"))
    assert parts == {}
    assert list(types) == ["c", "b", "a"]


def test_pooled_part_type_mean_and_within_figures_are_what_they_say() -> None:
    rows = opinions()
    values = noisy(rows, 2.0)
    found = analyse(About("toy", "opinion", True), rows, [metric("m", values)], QUICK)
    x, y = np.array(values)[:, 0], np.array([j.value for j in rows])

    def expected(chosen: list[bool]) -> float:
        return float(-scipy.stats.spearmanr(x[chosen], y[chosen]).statistic)

    by_type = [expected([j.distortion == t for j in rows]) for t in ("blur", "noise")]
    within = [expected([j.group == f"r{r}" for j in rows]) for r in range(8)]
    assert figure(found, "all", "SRCC", "m").value == pytest.approx(expected([True] * len(rows)))
    assert figure(found, "strong", "SRCC", "m").value == pytest.approx(
        expected([j.subsets == ("strong",) for j in rows])
    )
    assert figure(found, "noise", "SRCC", "m").value == pytest.approx(by_type[1])
    assert figure(found, "mean of types", "SRCC", "m").value == pytest.approx(np.mean(by_type))
    assert figure(found, "within references", "SRCC", "m").value == pytest.approx(np.mean(within))
    assert figure(found, "noise", "SRCC", "m").n == 48
    assert figure(found, "all", "SRCC", "m").references == 8


def test_an_interval_is_the_quantiles_over_drawn_references() -> None:
    rows = opinions()
    values = noisy(rows, 2.0)
    found = figure(analyse(About("toy", "opinion", True), rows, [metric("m", values)], QUICK), "all", "SRCC", "m")
    x, y = np.array(values)[:, 0], np.array([j.value or 0 for j in rows])
    group = np.array([int(j.group[1:]) for j in rows])
    draws = []
    for counts in next(draw_clusters(8, 200, 1)):
        chosen = np.concatenate([np.flatnonzero(group == g) for g in range(8) for _ in range(int(counts[g]))])
        draws.append(-spearman(x[chosen], y[chosen]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=1e-12)


def test_figures_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = opinions()
    values = noisy(rows, 1.0)
    order = np.random.default_rng(0).permutation(len(rows))
    first = analyse(About("toy", "opinion", True), rows, [metric("m", values)], QUICK)
    second = analyse(
        About("toy", "opinion", True), [rows[i] for i in order], [metric("m", [values[i] for i in order])], QUICK
    )
    for a, b in zip(first.figures, second.figures, strict=True):
        assert (a.part, a.statistic) == (b.part, b.statistic)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-6)


def test_agreement_is_positive_for_distances_and_similarities_alike() -> None:
    rows = opinions()
    values = noisy(rows, 1.0)
    similarity = [[-v[0]] for v in values]
    both = [metric("distance", values), metric("similarity", similarity, lower_is_better=False)]
    for higher in (True, False):
        found = analyse(About("toy", "opinion", higher), rows, both, QUICK)
        pooled = [figure(found, "all", "SRCC", name).value for name in ("distance", "similarity")]
        assert pooled[0] == pytest.approx(pooled[1])
        assert (pooled[0] or 0) > 0.5 if higher else (pooled[0] or 0) < -0.5


def test_a_type_without_a_correlation_leaves_no_mean_of_types() -> None:
    rows = [*opinions(), Judgement("x", (0,), 3.0, "r0", ("mild",), "rare", 1)]
    found = analyse(About("toy", "opinion", True), rows, [metric("m", noisy(rows, 1.0))], QUICK)
    assert figure(found, "rare", "SRCC", "m").value is None
    assert figure(found, "rare", "SRCC", "m").note == "1 rows; a correlation needs 3"
    mean = figure(found, "mean of types", "SRCC", "m")
    assert (mean.value, mean.note) == (None, "1 of 3 are undefined")
    assert "n/a" in tables.text(found)
    assert "NaN" not in json.dumps(found.as_dict(), allow_nan=False)


def test_few_references_warn_and_fewer_give_no_interval() -> None:
    rows = opinions(references=7)
    found = figure(
        analyse(About("toy", "opinion", True), rows, [metric("m", noisy(rows, 1))], QUICK), "all", "SRCC", "m"
    )
    assert found.low is not None
    assert found.note == "the interval rests on 7 references only"
    rows = opinions(references=4)
    found = figure(
        analyse(About("toy", "opinion", True), rows, [metric("m", noisy(rows, 1))], QUICK), "all", "SRCC", "m"
    )
    assert found.value is not None
    assert found.low is None
    assert found.note == "no interval: 4 references, at least 5 are needed"


def test_rows_that_one_metric_lacks_are_left_out_for_all() -> None:
    rows = opinions()
    whole, holed = noisy(rows, 1.0), [list(v) for v in noisy(rows, 1.0)]
    holed[3] = [None]  # type: ignore[list-item]
    found = analyse(About("toy", "opinion", True), rows, [metric("a", whole), metric("b", holed)], QUICK)
    assert (found.used, found.rows) == (95, 96)
    assert figure(found, "all", "SRCC", "a").n == 95
    assert "1 of 96 rows are left out" in found.notes[0]


def test_metrics_are_compared_on_the_same_draws_with_holm() -> None:
    rows = opinions(references=12)
    chosen = [metric("good", noisy(rows, 0.5)), metric("poor", noisy(rows, 4.0, 1)), metric("same", noisy(rows, 0.5))]
    found = analyse(About("toy", "opinion", True), rows, chosen, QUICK)
    pooled = {(c.first, c.second): c for c in found.comparisons if c.part == "all"}
    assert len(found.comparisons) == 6
    assert pooled["good", "same"].value == 0
    assert pooled["good", "same"].p == 1
    against = pooled["good", "poor"]
    assert against.value == pytest.approx(
        (figure(found, "all", "SRCC", "good").value or 0) - (figure(found, "all", "SRCC", "poor").value or 0)
    )
    assert against.p == pytest.approx(2 / 201)
    assert against.p_holm == pytest.approx(6 * 2 / 201)
    told = "with 200 draws no p (Holm) can be below 0.06, more --draws let it"
    assert told in tables.comparison_foot(found.comparisons, 200)
    assert "more --draws" not in tables.comparison_foot(found.comparisons, 2000)  # 6 tests at 2000 draws: .006


def test_bca_intervals_differ_from_percentile_ones() -> None:
    rows = opinions(references=12)
    values = [metric("m", noisy(rows, 1.0))]
    plain = analyse(About("toy", "opinion", True), rows, values, QUICK)
    corrected = analyse(
        About("toy", "opinion", True), rows, values, AnalysisOptions(IntervalOptions(draws=200, seed=1, bca=True))
    )
    a, b = (figure(found, "all", "SRCC", "m") for found in (plain, corrected))
    assert a.value == b.value
    assert (a.low, a.high) != (b.low, b.high)
    assert b.low is not None
    assert b.high is not None
    assert b.low < (b.value or 0) < b.high


def test_a_metric_tuned_on_the_data_set_is_marked() -> None:
    rows = opinions()
    tuned = metric("m", noisy(rows, 1.0))
    tuned = MetricValues({**tuned.description, "trained_on": ["toy"]}, tuned.values)
    found = analyse(About("toy", "opinion", True), rows, [tuned], QUICK)
    assert found.notes[0] == "m was trained or tuned on toy: this is no blind test of it"


def test_quadruples_agree_when_the_pair_that_differs_more_is_chosen() -> None:
    rows = [Judgement(str(i), (0, 1), 1.0, f"r{i % 6}", (), "blur" if i % 2 else "noise") for i in range(24)]
    right, wrong = [[1.0, 2.0]] * 24, [[2.0, 1.0]] * 24
    found = analyse(About("raid", "quadruple"), rows, [metric("right", right), metric("wrong", wrong)], QUICK)
    assert figure(found, "all", "2AFC", "right").value == 1
    assert figure(found, "blur", "2AFC", "wrong").value == 0
    assert figure(found, "all", "2AFC", "right").references == 6


def test_clustered_choices_are_drawn_by_reference() -> None:
    rng = np.random.default_rng(3)
    lucky = rng.random(10) < 0.5  # the metric is right for all rows of a reference, or for none
    rows = [Judgement(f"{r}/{i}", (0, 1), 1.0, f"r{r}", ("cnn",)) for r in range(10) for i in range(50)]
    values = [[2.0, 1.0] if lucky[int(j.group[1:])] else [1.0, 2.0] for j in rows]
    wide = figure(analyse(About("t", "two_afc"), rows, [metric("m", values)], QUICK), "cnn", "2AFC", "m")
    alone = [Judgement(j.key, j.pairs, j.value, j.key, j.subsets) for j in rows]
    narrow = figure(analyse(About("t", "two_afc"), alone, [metric("m", values)], QUICK), "cnn", "2AFC", "m")
    assert narrow.references is None
    assert (wide.high or 0) - (wide.low or 0) > 3 * ((narrow.high or 0) - (narrow.low or 0)) > 0


def test_published_values_stand_beside_ours_and_are_marked() -> None:
    rows = opinions()
    found = analyse(About("tid2013", "opinion", True), rows, [metric("m", noisy(rows, 1.0))], QUICK)
    assert "published, not computed here" in tables.text(found)
    records = tables.records(found)
    fsim = [r for r in records if r["metric"] == "FSIMc" and r["part"] == "all" and r["statistic"] == "SRCC"]
    assert any(r["value"] == 0.851 and r["published"] and "TID2013" in r["source"] for r in fsim)
    assert not any(r["published"] for r in records if r["metric"] == "m")


@pytest.mark.development_data
def test_bapps_figures_equal_the_measured_table(shared: Path) -> None:
    table = pd.read_csv(shared / "data" / "bapps_val_lpips_scratch.csv.gz")
    keys = [f"{c}/{i}" for c, i in zip(table["category"], table["index"], strict=True)]
    rows = [
        Judgement(key, (0, 1), judge, key, (category,))
        for key, judge, category in zip(keys, table["judge"], table["category"], strict=True)
    ]
    alex, vgg = (metric(n, table[[f"d0_{n}", f"d1_{n}"]].to_numpy().tolist()) for n in ("alex", "vgg"))
    found = analyse(About("bapps-2afc", "two_afc"), rows, [alex, vgg], QUICK)
    for part, name, percent in (
        ("all", "alex", 70.0391),
        ("all", "vgg", 70.0629),
        ("row mean", "alex", 69.6574),
        ("frameinterp", "vgg", 62.2246),
        ("all", "(a person)", 73.7204),
        ("all", "(best possible)", 80.1277),
    ):
        cell = figure(found, part, "2AFC", name)
        assert 100 * (cell.value or 0) == pytest.approx(percent, abs=1e-4)
        assert (cell.low or 1) < (cell.value or 0) < (cell.high or 0)
    assert any("71 of 36344" in note for note in found.notes)
    assert any("optimistic" in note for note in found.notes)
    (comparison,) = found.comparisons
    assert (comparison.p or 0) > 0.5


@pytest.mark.development_data
def test_tid2013_intervals_are_as_wide_as_measured(shared: Path) -> None:
    table = pd.read_csv(shared / "data" / "rated_metric_scores.csv.gz", dtype={"reference": str})
    table = table[table["dataset"] == "tid2013"]
    rows = [
        Judgement(d, (0,), score, reference)
        for d, score, reference in zip(table["distorted"], table["score"], table["reference"], strict=True)
    ]
    enough = AnalysisOptions(IntervalOptions(draws=2000))
    found = analyse(About("tid2013", "opinion", True), rows, [metric("DSSIM", [[v] for v in table["DSSIM"]])], enough)
    cell = figure(found, "all", "SRCC", "DSSIM")
    assert cell.value == pytest.approx(0.8609, abs=1e-4)
    assert (cell.low, cell.high) == pytest.approx((0.839, 0.882), abs=2e-3)


@pytest.mark.development_data
def test_shifted_pairs_equal_the_measured_precision(shared: Path) -> None:
    with np.load(shared / "data" / "shift_jnd_pim1.npz") as data:
        rows = [
            Judgement(str(i), (0,), s, str(g)) for i, (s, g) in enumerate(zip(data["same"], data["image"], strict=True))
        ]
        values = [[float(d)] for d in data["distance"]]
    cell = figure(analyse(About("shift", "jnd"), rows, [metric("pim", values)], QUICK), "all", "mAP", "pim")
    assert cell.value == pytest.approx(0.770885, abs=1e-6)
    assert cell.references == 50
    assert (cell.low or 1) < cell.value < (cell.high or 0)


@pytest.mark.parametrize(("rows", "interval"), [(1, False), (4, False), (5, True)])
def test_choices_of_fewer_than_five_rows_have_no_interval(rows: int, interval: bool) -> None:
    choices = [Judgement(str(i), (0, 1), 0.8, str(i)) for i in range(rows)]
    found = analyse(About("t", "two_afc"), choices, [metric("m", [[2.0, 1.0]] * rows)], QUICK)
    value = figure(found, "all", "2AFC", "m")
    assert value.value == pytest.approx(0.8)
    assert (value.low is not None) == interval
    assert interval or "at least 5 are needed" in (value.note or "")


def test_same_or_not_with_one_row_for_each_photo_names_its_sources() -> None:
    values = [[float(i)] for i in range(6)]
    for named, references in ((True, 6), (False, None)):
        rows = [Judgement(str(i), (0,), i % 2, f"photo {i}" if named else str(i)) for i in range(6)]
        found = analyse(About("t", "jnd"), rows, [metric("m", values)], QUICK)
        assert figure(found, "all", "mAP", "m").references == references
        assert any("names no sources" in note for note in found.notes) != named


def test_pairs_that_everybody_calls_the_same_have_no_precision() -> None:
    rows = [Judgement(str(i), (0,), 1.0, f"photo {i}") for i in range(6)]
    cell = figure(
        analyse(About("t", "jnd"), rows, [metric("m", [[float(i)] for i in range(6)])], QUICK), "all", "mAP", "m"
    )
    assert (cell.value, cell.note) == (None, "everybody answered same")
