"""How often a metric changes its mind about a forced choice when the candidates move by a few pixels.

Reference and candidates are cropped alike, so that no border enters: columns 0..w-4 of the reference,
columns n..w-4+n of the candidates. Source: Ghildyal and Liu, Shift-tolerant Perceptual Similarity
Metric (arXiv 2207.13686).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pim.eval.analysis import MetricValues
from pim.eval.judgements import Judgement


@dataclass(frozen=True)
class Flips:
    """Share of rows whose order is another one than without the shift."""

    metric: str
    shift: int  # pixels
    categories: Mapping[str, float]
    mean: float  # over categories, unweighted
    n: int  # rows with values at both shifts


def flips(judgements: Sequence[Judgement], still: MetricValues, moved: MetricValues, shift: int) -> Flips:
    """Compare the order of the two candidates of every forced choice without a shift and with one, in pixels.

    The first subset of a choice is its category.
    """
    changed: dict[str, list[bool]] = {}
    for row, before, after in zip(judgements, still.values, moved.values, strict=True):
        if None not in before and None not in after:
            category = row.subsets[0] if row.subsets else "all"
            changed.setdefault(category, []).append(_first_is_less(before) != _first_is_less(after))
    categories = {name: float(np.mean(rows)) for name, rows in changed.items()}
    mean = float(np.mean(list(categories.values()))) if categories else float("nan")
    return Flips(still.name, shift, categories, mean, sum(map(len, changed.values())))


def _first_is_less(pair: tuple[float | None, ...]) -> bool:
    first, second = pair
    return first is not None and second is not None and first < second
