"""Small operations that several corruptions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bytes = NDArray[np.uint8]  # (H, W, 3) sRGB, or (H, W)
Floats = NDArray[np.floating[Any]]
Params = Mapping[str, NDArray[Any]]  # everything random about one corruption of one picture
Shape = tuple[int, int]  # height, width


def unit(image: Bytes) -> NDArray[np.float64]:
    """0..255 as [0, 1]."""
    return image / 255.0


def to_bytes(image: Floats) -> Bytes:
    """[0, 1] as 0..255, clipped and truncated, as the published pictures were."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def blur(image: Floats, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> NDArray[np.float64]:
    """Gaussian blur of (H, W) or of each channel of (H, W, C), the kernel cut at `truncate` sigma."""
    sigmas = (sigma, sigma, 0)[: image.ndim]
    return np.asarray(ndimage.gaussian_filter(np.asarray(image, np.float64), sigmas, mode=mode, truncate=truncate))


def clipped_zoom(image: Floats, factor: float) -> Floats:
    """The centre of an image magnified by `factor` >= 1, linearly, in the size of the image.

    Args:
        image: (H, W) or (H, W, C).
        factor: Magnification.
    """
    height, width = image.shape[:2]
    kept = [int(np.ceil(side / factor)) for side in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    centre = image[top : top + kept[0], left : left + kept[1]]
    zoomed = ndimage.zoom(centre, (factor, factor, 1)[: image.ndim], order=1)
    top, left = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
    return np.asarray(zoomed[top : top + height, left : left + width])


def motion_offsets(radius: int, angle: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the taps of a motion blur lie: rows and columns, (2 radius + 1,) each.

    Args:
        radius: Of the blur, in pixels.
        angle: Of the motion, in degrees.
    """
    width = 2 * radius + 1
    px, py = width * np.sin(np.deg2rad(angle)), width * np.cos(np.deg2rad(angle))
    taps = np.arange(width)
    # Multiplying before dividing decides ties at 30 degrees, where the published blur did so.
    rows, columns = (np.ceil(taps * p / np.hypot(px, py) - 0.5) for p in (px, py))
    return rows.astype(np.int64), columns.astype(np.int64)


def motion_blur(image: Bytes, radius: int, sigma: float, angle: float) -> Bytes:
    """One-sided Gaussian motion blur as ImageMagick has it, with the edge repeated outside.

    Args:
        image: (H, W) or (H, W, C).
        radius: The blur has 2 radius + 1 taps.
        sigma: Of the Gaussian weights, in taps.
        angle: Of the motion, in degrees.
    """
    height, width = image.shape[:2]
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    total = np.zeros(image.shape, dtype=np.float64)
    for weight, row, column in zip(weights, *motion_offsets(radius, angle), strict=True):
        rows = np.clip(np.arange(height) + row, 0, height - 1)
        columns = np.clip(np.arange(width) + column, 0, width - 1)
        total += weight * image[np.ix_(rows, columns)]
    return (total + 1e-3).astype(np.uint8)  # sums over a constant area end just below a whole number
