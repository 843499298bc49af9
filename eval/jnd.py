"""Just noticeable differences: do small distances mean "people could not tell them apart"?

Source: Zhang et al., arXiv 1801.03924, section 3, and the area of the VOC challenge of 2010.
Deviation: rows of equal distance enter as one step, so that the order of the input is irrelevant;
`in_given_order` has the original rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.two_afc import check_shares

Array = NDArray[np.float64]

BLOCK = 1 << 21  # array elements handled at once


def average_precision(distance: Array, same: Array) -> float:
    """Area under precision against recall of finding the pairs that people call the same.

    Args:
        distance: (n,); negate a similarity.
        same: Share of people who answered "same", (n,), in [0, 1].

    Returns:
        In [0, 1], higher is better; a constant metric has the mean of `same`. NaN if nobody said "same".

    Raises:
        InputError: if lengths differ, a distance is NaN, or a share lies outside [0, 1].
    """
    return float(average_precision_draws(distance, same, np.ones((1, len(distance))))[0])


def average_precision_draws(distance: Array, same: Array, weights: Array) -> Array:
    """The area for every weighting (B, n) of the rows: (B,)."""
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
