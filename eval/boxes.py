"""Boxes in a picture, and others that look like them: the same size, brightness and texture, elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError, UsageError

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Like = Literal["alike", "flat", "texture"]

SMALLEST = 16  # side in pixels; the edge of a distortion takes 4 on each side
FEWEST, MOST = 8, 24  # control boxes of a picture
OVERLAP = 0.25  # share of a box that two controls have in common at most
BRIGHTNESS = 0.2  # relative difference of the mean that a control may have
TEXTURE = 0.25  # of the standard deviation, and of the energy of gradients
FLAT = 1.0  # levels added to both sides of these comparisons, so that flat boxes can be alike


@dataclass(frozen=True)
class Box:
    """A part of a picture."""

    x: int  # of its left side, pixels from the left
    y: int  # of its upper side, pixels from above
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Box:
        """A box from "x,y,width,height".

        Raises:
            UsageError: if it is something else.
        """
        try:
            x, y, width, height = (int(part) for part in text.split(","))
        except ValueError:
            raise UsageError(f"a box is x,y,width,height in whole pixels, such as 40,60,96,96; got {text!r}") from None
        return cls(x, y, width, height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def shared(self, other: Box) -> float:
        """The share of this box that lies in the other one."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0, across) * max(0, down) / (self.width * self.height)

    def check(self, pixels: Pixels, name: str) -> None:
        """That the box lies in a picture (H, W, 3) and is large enough.

        Raises:
            InputError: if not.
        """
        height, width = pixels.shape[:2]
        inside = 0 <= self.x <= width - self.width and 0 <= self.y <= height - self.height
        if min(self.width, self.height) < SMALLEST or not inside:
            raise InputError(
                f"{name}: the box {self.x},{self.y},{self.width},{self.height} must lie inside the {width} x {height} "
                f"pixels and have sides of at least {SMALLEST}"
            )

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


def luma(pixels: Pixels) -> Array:
    """Weighted mean of R, G and B, (H, W) in levels."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def controls(
    pixels: Pixels, box: Box, avoid: Sequence[Box] = (), loosen: float = 1.0, like: Like = "alike"
) -> list[Box]:
    """Boxes that look like one box in mean, standard deviation and gradients of luma, the most alike first.

    Or, with `like`, the 8 boxes of least gradients ("flat") or of largest ("texture"), whatever the one looks like.

    Args:
        pixels: (H, W, 3).
        box: Inside.
        avoid: Further boxes that no control may touch.
        loosen: Factor on how far a control may be from the box: 20 % in mean, 25 % in the others.
        like: Which boxes to compare with.

    Returns:
        At most 24 boxes of the same size that touch neither the box nor those to avoid, and share at most a quarter
        of their area with each other.
    """
    step = max(1, min(box.width, box.height) // 8)
    height, width = pixels.shape[:2]
    ys, xs = (np.arange(0, side - part + 1, step) for side, part in ((height, box.height), (width, box.width)))
    mean, deviation, gradient = _looks(pixels, ys, xs, box)
    own = [look[0, 0] for look in _looks(pixels, np.array([box.y]), np.array([box.x]), box)]
    off = [
        np.abs(look - target) / (target + FLAT) / limit
        for look, target, limit in zip((mean, deviation, gradient), own, (BRIGHTNESS, TEXTURE, TEXTURE), strict=True)
    ]
    worst = {"alike": np.maximum.reduce(off), "flat": gradient, "texture": -gradient}[like]
    limit, most = (loosen, MOST) if like == "alike" else (np.inf, FEWEST)
    found: list[Box] = []
    for place in np.argsort(worst, axis=None, kind="stable"):
        row, column = np.unravel_index(place, worst.shape)
        if worst[row, column] > limit or len(found) == most:
            break
        candidate = Box(int(xs[column]), int(ys[row]), box.width, box.height)
        touches = any(candidate.shared(other) > 0 for other in (box, *avoid))
        if not touches and all(candidate.shared(other) <= OVERLAP for other in found):
            found.append(candidate)
    return found


def _looks(pixels: Pixels, ys: NDArray[np.int64], xs: NDArray[np.int64], box: Box) -> tuple[Array, Array, Array]:
    """Mean, standard deviation and mean squared gradient of luma in boxes at (y, x), each (Y, X)."""
    values = luma(pixels)
    steps = np.zeros_like(values)
    steps[:, :-1] += np.diff(values, axis=1) ** 2
    steps[:-1] += np.diff(values, axis=0) ** 2
    area = box.width * box.height
    fields = (box_sums(field, ys, xs, box.height, box.width) for field in (values, values**2, steps))
    mean, square, gradient = (sums / area for sums in fields)
    return mean, np.sqrt(np.maximum(square - mean**2, 0)), gradient


def box_sums(field: Array, ys: NDArray[np.int64], xs: NDArray[np.int64], height: int, width: int) -> Array:
    """The sums of a field (H, W) over boxes of one size whose upper left corners are at (y, x), each (Y, X)."""
    total = np.pad(field.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    below, right = ys + height, xs + width
    return np.asarray(
        total[np.ix_(below, right)] - total[np.ix_(ys, right)] - total[np.ix_(below, xs)] + total[np.ix_(ys, xs)]
    )
