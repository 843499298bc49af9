"""What a run says in sentences."""

from __future__ import annotations

import re

from pim.eval.analysis import Analysis, AnalysisOptions, MetricValues, analyse
from pim.eval.conclusions import conclude
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import About, Judgement

SIZE = 60  # rows of the toy set
PATTERN = [(7 * i) % 11 - 5 for i in range(SIZE)]


def analysis(*errors: float, references: int = 20) -> Analysis:
    """Of metrics a, b, ... that give the opinion and a pattern of that size, with the sign of the metric's place."""
    rows = [Judgement(str(i), (i,), float(i), f"r{i % references:02}") for i in range(SIZE)]
    metrics = [
        MetricValues(
            {"name": name, "lower_is_better": False},
            tuple((i + (-1) ** place * error * PATTERN[i],) for i in range(SIZE)),
        )
        for place, (name, error) in enumerate(zip("abc", errors, strict=False))
    ]
    return analyse(About("toy", "opinion", True), rows, metrics, AnalysisOptions(IntervalOptions(draws=500)))


def test_the_best_is_named_with_its_lead_over_the_next() -> None:
    found = conclude(analysis(5, 0.1))
    assert len(found) == 2
    assert re.fullmatch(r"b agrees best with people: SRCC [\d.]+ \[[\d.]+, [\d.]+\] on 60 rows\.", found[0])
    assert re.fullmatch(r"It is ahead of a, the next, by 0\.\d+ \[0\.\d+, 0\.\d+\]\.", found[1])


def test_metrics_that_cannot_be_told_from_the_best_are_named() -> None:
    best, alike = conclude(analysis(1, 1, 8))
    assert best.startswith(("a ", "b "))
    assert alike == f"Not certainly behind: {'b' if best[0] == 'a' else 'a'}."


def test_few_references_are_called_uncertain() -> None:
    assert conclude(analysis(1, references=4))[-1].startswith("With 4 references this is uncertain")
    assert not any("uncertain" in sentence for sentence in conclude(analysis(1)))


def test_one_metric_is_not_called_best() -> None:
    (found,) = conclude(analysis(1))
    assert found.startswith("a: SRCC ")


def test_without_figures_there_is_nothing_to_say() -> None:
    assert conclude(analyse(About("toy", "opinion", True), [], [])) == []
