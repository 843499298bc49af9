"""Just noticeable differences: do small distances mean "people could not tell them apart"?

Source: Zhang et al., arXiv 1801.03924, section 3, and the area of the VOC challenge of 2010.
Deviation: rows of equal distance enter as one step, so that the order of the input is irrelevant;
`in_given_order` has the original rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.estimate import Estimate, estimate, mean_of, undefined
from pim.eval.figures import ALL, PRECISION, Array, Collected, Mask, Rows
from pim.eval.two_afc import check_shares

BLOCK = 1 << 21  # array elements handled at once
WORTH_TELLING = 1e-4  # difference that the order of tied rows makes


def analyse(rows: Rows, found: Collected) -> None:
    """Add the average precision of every metric, by category and over categories."""
    count = len(rows.value)
    categories = rows.types or {ALL: np.ones(count, dtype=bool)}
    missing = [name for name in rows.about.categories if name not in categories]
    if missing:
        found.notes.append(f"no mean over all categories: {', '.join(missing)} missing")
    references = len(rows.clusters.names) if rows.sourced else None
    if references is None:
        found.notes.append("the data set names no sources, so rows were drawn: these intervals are optimistic")
    for metric, distance in rows.distances().items():
        results = {name: _category(rows, mask, metric, distance[:, 0], found) for name, mask in categories.items()}
        if len(results) > 1 and not missing:
            found.add("jnd", ALL, PRECISION, metric, mean_of(list(results.values())), count, references)
        for name, result in results.items():
            found.add("jnd", name, PRECISION, metric, result, int(categories[name].sum()), references)


def _category(rows: Rows, mask: Mask, metric: str, distances: Array, found: Collected) -> Estimate:
    distance, same, member = distances[mask], rows.value[mask], rows.clusters.member[mask]
    if not same.any():
        return undefined("nobody answered same")
    if same.min() == 1:
        return undefined("everybody answered same")
    result = estimate(
        lambda counts: average_precision_draws(distance, same, counts[:, member]), rows.clusters, np.unique(member)
    )
    ordered = in_given_order(distance, same)
    if result.value is not None and abs(ordered - result.value) > WORTH_TELLING:
        found.notes.append(
            f"{metric}: rows of equal distance are one step, mAP {result.value:.4f}; "
            f"taken in the order of the files it is {ordered:.4f}"
        )
    return result


def average_precision_draws(distance: Array, same: Array, weights: Array) -> Array:
    """Area under precision against recall of finding the pairs that people call the same, under weightings of the rows.

    Args:
        distance: (n,); negate a similarity.
        same: Share of people who answered "same", (n,), in [0, 1].
        weights: (B, n), how often each row counts.

    Returns:
        (B,) in [0, 1], higher is better; a constant metric has the mean of `same`. NaN if nobody said "same".

    Raises:
        InputError: if lengths differ, a distance is NaN, or a share lies outside [0, 1].
    """
    distance, same = _checked(distance, same)
    order = np.argsort(distance, kind="stable")
    ordered = distance[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # last row of every run of equal distances
    step = max(1, BLOCK // len(distance))
    blocks = (weights[i : i + step, order] for i in range(0, len(weights), step))
    return np.concatenate([_areas(same[order], block, ends) for block in blocks])


def in_given_order(distance: Array, same: Array) -> float:
    """The area when rows of equal distance enter one by one in the order of the input, as the original code has it."""
    distance, same = _checked(distance, same)
    order = np.argsort(distance, kind="stable")
    return float(_areas(same[order], np.ones((1, len(same))), np.arange(len(same)))[0])


def _areas(same: Array, weights: Array, ends: NDArray[np.int64]) -> Array:
    """(B,) areas of rows in order of distance; steps end at the rows `ends`."""
    found = np.cumsum(weights * same, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    total = found[:, -1:]
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(found, axis=1, prepend=0)
    area = (gained * envelope).sum(axis=1)
    return np.where(total[:, 0] > 0, area / np.where(total[:, 0] > 0, total[:, 0], 1), np.nan)


def _checked(distance: Array, same: Array) -> tuple[Array, Array]:
    distance, same = np.asarray(distance, dtype=np.float64), np.asarray(same, dtype=np.float64)
    if distance.ndim != 1 or distance.shape != same.shape or len(distance) == 0:
        raise InputError(f"two columns of one length are expected; got {distance.shape} and {same.shape}")
    if np.isnan(distance).any():
        raise InputError("distances must not be NaN")
    check_shares(same, "same")
    return distance, same
