"""Two-alternative forced choice: how often a metric sides with people.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
(arXiv 1801.03924), section 3: BAPPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError

Array = NDArray[np.float64]

CATEGORIES = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")  # of BAPPS validation
DISTORTIONS = CATEGORIES[:2]
ALGORITHMS = CATEGORIES[2:]


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


def quadruple_scores(dp: Array, dq: Array, judge: Array) -> Array:
    """The share of people who agree with the metric on which of two pairs differs more.

    Args:
        dp: Distance inside the first pair, (n,).
        dq: Distance inside the second pair, (n,).
        judge: Share of people who said that the second pair differs more, (n,), in [0, 1].

    Returns:
        (n,) in [0, 1].

    Raises:
        InputError: as `row_scores`.
    """
    return row_scores(dq, dp, judge)


def person_scores(judge: Array) -> Array:
    """How often one person agrees with another, expected for every row: j^2 + (1 - j)^2."""
    return judge**2 + (1 - judge) ** 2


def ceiling_scores(judge: Array) -> Array:
    """The highest score that any metric can reach, for every row: max(j, 1 - j)."""
    return np.maximum(judge, 1 - judge)


def one_sided_share(first: Array, second: Array) -> float:
    """Share of rows where exactly one of two metrics agrees with the majority of people.

    Args:
        first: Row scores of one metric, (n,).
        second: Row scores of the other, (n,).
    """
    return float(np.mean((first > 0.5) != (second > 0.5)))


@dataclass(frozen=True)
class CategoryMeans:
    """Row scores averaged within categories, and the categories averaged without weights."""

    categories: dict[str, float]
    counts: dict[str, int]
    row_mean: float
    all: float | None  # mean over the expected categories; None if one is missing
    distortions: float | None  # traditional and cnn
    algorithms: float | None  # superres, deblur, color and frameinterp


def category_means(scores: Array, category: Sequence[str], expected: Sequence[str] = CATEGORIES) -> CategoryMeans:
    """Average row scores by category.

    Args:
        scores: (n,).
        category: (n,).
        expected: The categories that "all" stands for.

    Returns:
        Means in the order of `expected`, then any further categories by name.

    Raises:
        InputError: if there are no rows.
    """
    names = np.asarray(category)
    if len(scores) == 0:
        raise InputError("there are no rows to average")
    present = set(names.tolist())
    order = [*(c for c in expected if c in present), *sorted(present - set(expected))]
    means = {name: float(np.mean(scores[names == name])) for name in order}
    return CategoryMeans(
        categories=means,
        counts={name: int(np.sum(names == name)) for name in order},
        row_mean=float(np.mean(scores)),
        all=mean_of(means, expected),
        distortions=mean_of(means, DISTORTIONS),
        algorithms=mean_of(means, ALGORITHMS),
    )


def mean_of(means: dict[str, float], names: Sequence[str]) -> float | None:
    """The unweighted mean over the named categories; None if one of them is missing."""
    return float(np.mean([means[name] for name in names])) if all(name in means for name in names) else None


def check_shares(shares: Array, name: str) -> None:
    """That shares of votes lie in [0, 1].

    Raises:
        InputError: with the first one that does not.
    """
    wrong = ~((shares >= 0) & (shares <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{name} must lie in [0, 1]; row {row + 1} has {shares[row]:g}")
