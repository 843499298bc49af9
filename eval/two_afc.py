"""Forced choices (2AFC) and quadruples: how often a metric sides with people, and what people reach themselves.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
(arXiv 1801.03924), section 3: BAPPS.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pim.errors import InputError
from pim.eval.bootstrap import TOO_FEW_CLUSTERS, clusters_warning, row_mean_draws
from pim.eval.estimate import Estimate, estimate, from_draws, mean_of, row_mean
from pim.eval.figures import AGREED, ALL, ROWS, Array, Collected, Mask, Rows

PERSON, CEILING = "(a person)", "(best possible)"
GROUPS = {  # means that BAPPS is also reported by
    "traditional and cnn": ("traditional", "cnn"),
    "algorithms": ("superres", "deblur", "color", "frameinterp"),
}
FEW_PEOPLE = 5  # votes of a row below which the human lines flatter


def analyse(rows: Rows, found: Collected) -> None:
    """Add the score of every metric, and the human lines, by category and over categories."""
    judge = rows.value
    # That q differs more is that p is the closer one.
    first, second = (1, 0) if rows.about.kind == "quadruple" else (0, 1)
    scores = {name: row_scores(d[:, first], d[:, second], judge) for name, d in rows.distances().items()}
    lines = {**scores, PERSON: person_scores(judge), CEILING: ceiling_scores(judge)}
    categories = rows.types or {ALL: np.ones(len(judge), dtype=bool)}
    by_category = {name: _category(rows, place, mask, lines) for place, (name, mask) in enumerate(categories.items())}
    if rows.types:
        _means(rows, by_category, scores, found)
    for name, estimates in by_category.items():
        count, references = int(categories[name].sum()), _references(rows, categories[name])
        for line, result in estimates.items():
            found.add(rows.about.kind, name, AGREED, line, result, count, references)
    _notes(rows, scores, found)


def _references(rows: Rows, mask: Mask) -> int | None:
    return len(np.unique(rows.clusters.member[mask])) if rows.sourced else None


def _category(rows: Rows, place: int, mask: Mask, lines: Mapping[str, Array]) -> dict[str, Estimate]:
    """The mean of every line over the rows of one category."""
    if rows.sourced:
        member = rows.clusters.member[mask]
        used = np.unique(member)
        return {name: estimate(row_mean(values[mask], member), rows.clusters, used) for name, values in lines.items()}
    columns = np.stack([values[mask] for values in lines.values()], axis=1)
    means = columns.mean(axis=0).tolist()
    if len(columns) < TOO_FEW_CLUSTERS:
        return {name: Estimate(means[i], None, clusters_warning(len(columns), "rows")) for i, name in enumerate(lines)}
    options = rows.clusters.options
    draws = row_mean_draws(columns, options.draws, [options.seed, place])
    return {name: from_draws(means[i], draws[:, i]) for i, name in enumerate(lines)}


def _means(
    rows: Rows, by_category: Mapping[str, Mapping[str, Estimate]], scores: Mapping[str, Array], found: Collected
) -> None:
    kind, references = rows.about.kind, _references(rows, np.ones(len(rows.value), dtype=bool))
    counts = {name: int(rows.types[name].sum()) for name in by_category}
    for part, names in {ALL: rows.about.categories or tuple(by_category), **GROUPS}.items():
        if missing := [name for name in names if name not in by_category]:
            if part == ALL:
                found.notes.append(f"no mean over all categories: {', '.join(missing)} missing")
            continue
        for line in next(iter(by_category.values())):
            result = mean_of([by_category[name][line] for name in names])
            found.add(kind, part, AGREED, line, result, sum(counts[name] for name in names), references)
    for line in scores if len(by_category) > 1 else ():
        everything = mean_of([estimates[line] for estimates in by_category.values()], list(counts.values()))
        found.add(kind, ROWS, AGREED, line, everything, len(rows.value), references)


def _notes(rows: Rows, scores: Mapping[str, Array], found: Collected) -> None:
    if not rows.sourced:
        found.notes.append(
            "the data set does not say which rows share a source picture, so rows were drawn within each category: "
            "these intervals are optimistic"
        )
    people = min((j.people for j in rows.judgements if j.people is not None), default=FEW_PEOPLE)
    if people < FEW_PEOPLE:
        found.notes.append(f"rows of {people} votes flatter the human lines, which contain the votes they predict")
    names, undecided = list(scores), rows.value == 0.5
    for i, first in enumerate(names):
        ties = int(np.sum((scores[first] == 0.5) & ~undecided))
        if ties:
            found.notes.append(f"{first} ties in {ties} of {len(undecided)} rows; each counts one half")
        for second in names[i + 1 :]:
            share = one_sided_share(scores[first], scores[second])
            found.notes.append(f"in {share:.1%} of rows exactly one of {first} and {second} is with the majority")


def row_scores(d0: Array, d1: Array, judge: Array) -> Array:
    """The share of people who agree with the metric, for every row.

    Args:
        d0: Distance of the first candidate, (n,); negate a similarity.
        d1: Distance of the second candidate, (n,).
        judge: Share of people who found the second one closer, (n,), in [0, 1].

    Returns:
        (n,) in [0, 1]: 1 - judge where the first is closer, judge where the second is, 0.5 where they tie.

    Raises:
        InputError: if lengths differ, a distance is NaN, or a judgement lies outside [0, 1].
    """
    d0, d1, judge = (np.asarray(column, dtype=np.float64) for column in (d0, d1, judge))
    if d0.ndim != 1 or not d0.shape == d1.shape == judge.shape:
        raise InputError(f"three columns of one length are expected; got {d0.shape}, {d1.shape} and {judge.shape}")
    if np.isnan(d0).any() or np.isnan(d1).any():
        raise InputError("distances must not be NaN")
    check_shares(judge, "judge")
    return np.where(d0 < d1, 1 - judge, np.where(d1 < d0, judge, 0.5))


def person_scores(judge: Array) -> Array:
    """How often one person agrees with another, expected for every row: j^2 + (1 - j)^2."""
    return judge**2 + (1 - judge) ** 2


def ceiling_scores(judge: Array) -> Array:
    """The highest score that any metric can reach, for every row: max(j, 1 - j)."""
    return np.maximum(judge, 1 - judge)


def one_sided_share(first: Array, second: Array) -> float:
    """Share of rows where exactly one of two metrics, by their row scores (n,), agrees with the majority of people."""
    return float(np.mean((first > 0.5) != (second > 0.5)))


def check_shares(shares: Array, name: str) -> None:
    """Check that shares of votes lie in [0, 1].

    Raises:
        InputError: with the first one that does not.
    """
    wrong = ~((shares >= 0) & (shares <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{name} must lie in [0, 1]; row {row + 1} has {shares[row]:g}")
