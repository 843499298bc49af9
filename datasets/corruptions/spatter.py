"""Drops of water or mud on the lens.

The published corruption calls OpenCV; the four operations it needs are here in NumPy and SciPy. All
take and give 8-bit pictures of one channel, (H, W), and mirror them outside.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from pim.datasets.corruptions.constants import Constants
from pim.datasets.corruptions.pixels import Bytes, Floats, Params, Shape, blur, to_bytes, unit

WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
FARTHEST = 20  # pixels; drops have no relief further from their rim
CANNY = (50, 150)
FIXED = 1 << 16
EIGHT = np.ones((3, 3), dtype=bool)


def draw_spatter(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`z`: the standard normal layer that drops come from, (H, W)."""
    return {"z": rng.standard_normal(shape)}


def apply_spatter(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Water brightens and shines, mud covers."""
    mean, deviation, sigma, threshold, strength, mud = constants
    layer = blur(mean + deviation * params["z"], sigma)
    layer = np.where(layer < threshold, 0, layer)
    x = unit(image)
    if mud:
        cover = blur((layer > threshold).astype(np.float64), strength)
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        return to_bytes(x * (1 - cover) + cover * MUD)
    drops = to_bytes(layer)
    shine = drops * _relief(drops)
    highest = shine.max()
    light = shine / highest * strength if highest > 0 else shine
    return to_bytes(x + light[..., None] * WATER)


def _relief(drops: Bytes) -> Floats:
    """Light on drops: how the distance from their rims slopes."""
    distance = chamfer_distance(canny_edges(drops, *CANNY))
    even = equalised(_box(distance).astype(np.uint8))
    lit = np.clip(ndimage.correlate(even.astype(np.int64), RELIEF, mode="mirror"), 0, 255)
    return np.rint(_box(lit))


def _box(image: Floats | NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of 3 x 3 pixels."""
    # Sum first: nine ninths of 20 must not be truncated to 19.
    return np.asarray(ndimage.correlate(image.astype(np.float64), np.ones((3, 3)), mode="mirror") / 9)


def canny_edges(image: Bytes, low: float, high: float) -> NDArray[np.bool_]:
    """Canny's edges with 3 x 3 Sobel slopes, |dx| + |dy| as their size, and eight neighbours.

    Args:
        image: (H, W).
        low: Slopes above it continue an edge.
        high: Slopes above it begin one.

    Returns:
        (H, W), true on edges.
    """
    wide = image.astype(np.int64)
    dx, dy = (ndimage.sobel(wide, axis=axis, mode="nearest") for axis in (1, 0))
    size = np.abs(dx) + np.abs(dy)
    candidates = (size > low) & _is_ridge(size, dx, dy)
    parts, count = ndimage.label(candidates, structure=EIGHT)
    begun = np.zeros(count + 1, dtype=bool)
    begun[parts[candidates & (size > high)]] = True
    begun[0] = False
    return np.asarray(begun[parts])


def _is_ridge(size: NDArray[np.int64], dx: NDArray[np.int64], dy: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where the slope is largest across its own direction, taken to the nearest 45 degrees."""
    padded = np.pad(size, 1)

    def near(row: int, column: int) -> NDArray[np.int64]:
        return padded[1 + row : 1 + row + size.shape[0], 1 + column : 1 + column + size.shape[1]]

    tangent = np.tan(np.pi / 8)
    flat = np.abs(dy) < tangent * np.abs(dx)
    steep = np.abs(dy) > (tangent + 2) * np.abs(dx)
    across = np.where(dx * dy < 0, -1, 1)
    falling = (size > near(-1, -1)) & (size > near(1, 1))
    rising = (size > near(-1, 1)) & (size > near(1, -1))
    diagonal = np.where(across > 0, falling, rising)
    # Of two equal neighbours the left or upper one is not the ridge.
    sideways = (size > near(0, -1)) & (size >= near(0, 1))
    upright = (size > near(-1, 0)) & (size >= near(1, 0))
    return np.where(flat, sideways, np.where(steep, upright, diagonal))


def chamfer_distance(edges: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the nearest edge, at most `FARTHEST`, in steps of a 5 x 5 chamfer mask.

    Args:
        edges: (H, W), true where the distance is 0.

    Returns:
        (H, W) in pixels; a step along an axis costs 1, along a diagonal 1.4, a knight's move 2.1969,
        each rounded to 1/65536, as OpenCV counts.
    """
    near, far = range(-1, 2), (-2, -1, 1, 2)
    costs = {(a, b): round((1 if 0 in (a, b) else 1.4) * FIXED) for a in near for b in near if (a, b) != (0, 0)}
    costs |= {(a, b): round(2.1969 * FIXED) for a in far for b in far if abs(a) != abs(b)}
    height, width = edges.shape
    most = FARTHEST * FIXED
    distance = np.where(edges, 0, most)
    for _ in range(FARTHEST):  # every step adds at least 1
        around = np.pad(distance, 2, constant_values=most)
        for (row, column), cost in costs.items():
            there = around[2 + row : 2 + row + height, 2 + column : 2 + column + width]
            np.minimum(distance, there + cost, out=distance)
    return distance / FIXED


def equalised(image: Bytes) -> Bytes:
    """Histogram equalisation: values spread so that their cumulative share rises evenly."""
    counts = np.bincount(image.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    rest = image.size - counts[first]
    if rest == 0:
        return image
    counts[first] = 0
    spread = np.rint(np.cumsum(counts) * (255 / rest)).astype(np.uint8)
    return np.asarray(spread[image])
