"""Contrast, elastic deformation, pixels, JPEG and saturation."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pim.datasets.corruptions.constants import Constants
from pim.datasets.corruptions.pixels import (
    Bytes,
    Floats,
    Params,
    Shape,
    blur,
    hsv_from_rgb,
    rgb_from_hsv,
    through_jpeg,
    to_bytes,
    unit,
)

CUT = 3  # sigmas after which the Gaussian of the elastic fields ends


def apply_contrast(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Shrink each channel towards its mean."""
    (factor,) = constants
    x = unit(image)
    mean = x.mean(axis=(0, 1))
    return to_bytes((x - mean) * factor + mean)


def apply_pixelate(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Shrink by averaging, enlarge by repetition."""
    (scale,) = constants
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def apply_jpeg(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Through JPEG with Pillow's defaults."""
    (quality,) = constants
    return through_jpeg(image, int(quality))


def apply_saturate(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Scale and shift the S of HSV; hue and value stay. The hue of a gray pixel counts as red."""
    factor, shift = constants
    hue, saturation, value = hsv_from_rgb(unit(image))
    return to_bytes(rgb_from_hsv(hue, np.clip(saturation * factor + shift, 0, 1), value))


def draw_elastic(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`corners` (3, 2), `dx` and `dy` (H, W): all uniform in [-1, 1)."""
    return {"corners": rng.uniform(-1, 1, (3, 2)), "dx": rng.uniform(-1, 1, shape), "dy": rng.uniform(-1, 1, shape)}


def apply_elastic(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Move three points and the plane with them, then let every pixel stray a little.

    Args:
        image: (H, W, 3).
        constants: Amplitude, sigma of the fields, movement of the points; in pixels of this picture.
        params: As `draw_elastic`.
    """
    amplitude, sigma, movement = constants
    height, width = image.shape[:2]
    # Single precision, as published: it decides which sums of a constant area are truncated.
    x = _moved_by_corners(unit(image).astype(np.float32), params["corners"] * movement)
    fields = [params["dx"], params["dy"]]
    if sigma > 0:
        fields = [blur(field, sigma, mode="reflect", truncate=CUT) for field in fields]
    dx, dy = (field * amplitude for field in fields)
    rows, columns = np.mgrid[:height, :width]
    return to_bytes(_sampled(x, np.stack([rows + dy, columns + dx]), "reflect"))


def _moved_by_corners(image: Floats, movement: NDArray[np.float64]) -> Floats:
    """The affine map that moves three points near the centre, (3, 2) as (x, y), linearly sampled."""
    height, width = image.shape[:2]
    centre, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    points = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    # Output pixels look up where they come from, so the moved points are mapped onto the old ones.
    back = np.linalg.solve(np.column_stack([points + movement, np.ones(3)]), points.astype(np.float64))
    rows, columns = np.mgrid[:height, :width]
    came_from = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back
    return _sampled(image, np.stack([came_from[..., 1], came_from[..., 0]]), "mirror")


def _sampled(image: Floats, places: Floats, mode: str) -> Floats:
    """Each channel of (H, W, C) at (2, H, W) rows and columns, linearly."""
    channels = [ndimage.map_coordinates(image[..., c], places, order=1, mode=mode) for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1)
