"""Gaussian, defocus, glass, motion and zoom blur."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from pim.datasets.corruptions.constants import Constants
from pim.datasets.corruptions.pixels import Bytes, Params, Shape, clipped_zoom, motion_blur, to_bytes, unit
from pim.datasets.corruptions.pixels import blur as gaussian

SMALL_DISK = 8  # disks up to this radius share one grid


def apply_gaussian(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Gaussian blur of each channel with the edge repeated outside."""
    (sigma,) = constants
    return to_bytes(gaussian(unit(image), sigma))


def apply_defocus(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Correlate each channel with a soft-edged disk, mirrored outside."""
    kernel = disk(*constants)
    return to_bytes(ndimage.correlate(unit(image), kernel[..., None], mode="mirror"))


def disk(radius: float, softness: float) -> NDArray[np.float64]:
    """Make a disk whose values sum to 1, its rim smoothed by a short Gaussian whose sigma is `softness`, in pixels.

    It is (17, 17) up to radius 8, else (2 radius + 1, 2 radius + 1).
    """
    reach = max(SMALL_DISK, int(radius))
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    taps = 3 if radius <= SMALL_DISK else 5
    row = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * softness**2))
    smooth = np.outer(row, row) / row.sum() ** 2
    return np.asarray(ndimage.correlate(inside / inside.sum(), smooth, mode="mirror"))


def draw_glass(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`offsets`: (dx, dy) for each visited pixel, in the order of the visits, (visits, 2)."""
    _, reach, rounds = constants
    visits = len(_visited(shape, int(reach))) * int(rounds)
    return {"offsets": rng.integers(-int(reach), int(reach), size=(visits, 2), dtype=np.int8)}


def apply_glass(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Blur, let every pixel in turn become one near it, blur again.

    The published program means to swap two pixels but copies one onto the other; so does this, since
    the published pictures were made that way. Each copy may read the result of an earlier one, so
    they are done one by one, on positions instead of pixels.
    """
    sigma, reach, rounds = constants
    height, width = image.shape[:2]
    soft = to_bytes(gaussian(unit(image), sigma))
    targets = np.tile(_visited((height, width), int(reach)), int(rounds))
    sources = targets + params["offsets"].astype(np.int64) @ np.array([1, width])
    shown = list(range(height * width))  # which pixel of `soft` every position shows
    for target, source in zip(targets.tolist(), sources.tolist(), strict=True):
        shown[target] = shown[source]
    moved = soft.reshape(-1, 3)[shown].reshape(image.shape)
    return to_bytes(gaussian(unit(moved), sigma))


def _visited(shape: Shape, reach: int) -> NDArray[np.int64]:
    """Flat positions of the pixels visited in one round, bottom right first."""
    rows, columns = (np.arange(side - reach, reach, -1) for side in shape)
    return np.asarray((rows[:, None] * shape[1] + columns).ravel())


def draw_motion(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`angle` in degrees, (), within 45 of horizontal."""
    return {"angle": np.array(rng.uniform(-45, 45))}


def apply_motion(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Blur along a line, to one side."""
    radius, sigma = constants
    return motion_blur(image, int(radius), sigma, float(params["angle"]))


def apply_zoom(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """The mean of the picture and of ever larger magnifications of its centre."""
    end, step = constants
    factors = np.arange(1, end, step)
    x = unit(image).astype(np.float32)
    total = np.zeros_like(x)
    for factor in factors:
        total += clipped_zoom(x, float(factor))
    return to_bytes((x + total) / (len(factors) + 1))
