"""Does a metric follow the severity of a corruption? For ImageNet-C and its like.

Nobody rated these pictures: nothing here is agreement with people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.correlation import average_ranks, spearman

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeverityGrid:
    """Distances of one metric for one corruption: a row per picture, a column per severity."""

    corruption: str
    images: tuple[str, ...]
    severities: tuple[int, ...]  # ascending
    distance: Array  # (images, severities)


@dataclass(frozen=True)
class SeverityOrder:
    """How well distances follow severity within one corruption."""

    corruption: str
    images: int
    means: tuple[float, ...]  # over images, by severity
    kendall: float | None  # tau-b of severity and distance, mean over the pictures that have one
    undefined: int  # pictures whose distances are all equal
    adjacent: float  # share of neighbouring severities in strictly rising order
    monotone: bool  # whether the means rise strictly


def grids(
    corruption: Sequence[str], severity: Sequence[int], image: Sequence[str], distance: Array
) -> list[SeverityGrid]:
    """Rows as one grid per corruption; pictures that lack a severity are left out of that corruption.

    Args:
        corruption: (n,).
        severity: (n,), 1 is mildest.
        image: (n,), the picture.
        distance: (n,), higher is further from the clean picture; negate a similarity.

    Returns:
        Corruptions in the order of their first row.

    Raises:
        InputError: if a picture has one severity of a corruption twice, or a distance is NaN.
    """
    if np.isnan(distance).any():
        raise InputError("distances must not be NaN")
    table: dict[str, dict[str, dict[int, float]]] = {}
    for name, level, picture, value in zip(corruption, severity, image, distance, strict=True):
        cells = table.setdefault(name, {}).setdefault(picture, {})
        if level in cells:
            raise InputError(f"picture {picture} has severity {level} of {name} twice")
        cells[level] = float(value)
    return [_grid(name, pictures) for name, pictures in table.items()]


def _grid(corruption: str, pictures: Mapping[str, Mapping[int, float]]) -> SeverityGrid:
    severities = sorted({level for cells in pictures.values() for level in cells})
    whole = sorted(picture for picture, cells in pictures.items() if len(cells) == len(severities))
    distance = [[pictures[picture][level] for level in severities] for picture in whole]
    shaped = np.array(distance, dtype=np.float64).reshape(len(whole), len(severities))
    return SeverityGrid(corruption, tuple(whole), tuple(severities), shaped)


def severity_order(grid: SeverityGrid) -> SeverityOrder:
    """How well one metric follows the severity of one corruption.

    Raises:
        InputError: if there is no picture with all severities, or fewer than 3 severities.
    """
    if len(grid.images) == 0 or len(grid.severities) < 3:
        found = f"{len(grid.images)} whole pictures, severities {list(grid.severities)}"
        raise InputError(f"{grid.corruption}: at least 1 picture with 3 severities is expected; got {found}")
    taus = image_kendall(grid)
    defined = taus[~np.isnan(taus)]
    means = grid.distance.mean(axis=0)
    return SeverityOrder(
        corruption=grid.corruption,
        images=len(grid.images),
        means=tuple(float(m) for m in means),
        kendall=float(defined.mean()) if len(defined) else None,
        undefined=len(taus) - len(defined),
        adjacent=float(image_adjacent(grid).mean()),
        monotone=bool((np.diff(means) > 0).all()),
    )


def image_kendall(grid: SeverityGrid) -> Array:
    """Tau-b of severity and distance for every picture, (images,); NaN where all distances are equal."""
    milder, stronger = np.triu_indices(len(grid.severities), 1)
    before, after = grid.distance[:, milder], grid.distance[:, stronger]
    rising, differing = (after > before).sum(axis=1), (after != before).sum(axis=1)
    scale = np.sqrt(differing * len(milder))
    agreeing = 2 * rising - differing
    return np.where(differing > 0, agreeing / np.where(differing > 0, scale, 1), np.nan)


def image_adjacent(grid: SeverityGrid) -> Array:
    """Share of neighbouring severities in strictly rising order for every picture, (images,)."""
    return np.asarray((grid.distance[:, 1:] > grid.distance[:, :-1]).mean(axis=1))


@dataclass(frozen=True)
class RankAgreement:
    """How far two metrics rank the same cells alike."""

    spearman: float | None  # None if a metric is constant over the cells
    cells: int
    furthest: tuple[tuple[str, float], ...]  # cells with the largest difference of rank: second minus first


def rank_agreement(first: Mapping[str, float], second: Mapping[str, float], furthest: int = 5) -> RankAgreement:
    """Compare the cell means of two metrics over the cells both have.

    Args:
        first: Mean distance by cell, such as "fog 3".
        second: The same of another metric.
        furthest: How many of the cells that disagree most to name.

    Raises:
        InputError: if they share fewer than 3 cells.
    """
    cells = [cell for cell in first if cell in second]
    if len(cells) < 3:
        raise InputError(f"two metrics can be compared over 3 cells or more; they share {len(cells)}")
    a, b = (np.array([values[cell] for cell in cells]) for values in (first, second))
    rho = spearman(a, b)
    shift = average_ranks(b) - average_ranks(a)
    order = np.argsort(-np.abs(shift), kind="stable")[:furthest]
    named = tuple((cells[i], float(shift[i])) for i in order)
    return RankAgreement(None if np.isnan(rho) else rho, len(cells), named)


def relative_to_mean(means: Mapping[str, float]) -> dict[str, float]:
    """Cell means divided by their own mean, so that metrics share one axis.

    Raises:
        InputError: if their mean is not positive.
    """
    scale = float(np.mean(list(means.values()))) if means else 0.0
    if scale <= 0:
        raise InputError("cell means must have a positive mean to share an axis")
    return {cell: value / scale for cell, value in means.items()}
