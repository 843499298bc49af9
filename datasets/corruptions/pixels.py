"""Small operations that several corruptions share."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
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
    """Magnify the centre of an image, (H, W) or (H, W, C), by `factor` >= 1, linearly; its size stays."""
    height, width = image.shape[:2]
    kept = [int(np.ceil(side / factor)) for side in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    centre = image[top : top + kept[0], left : left + kept[1]]
    zoomed = ndimage.zoom(centre, (factor, factor, 1)[: image.ndim], order=1)
    top, left = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
    return np.asarray(zoomed[top : top + height, left : left + width])


def motion_offsets(radius: int, angle: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find where the taps of a motion at an angle in degrees lie: rows and columns, (2 radius + 1,) each, in pixels."""
    width = 2 * radius + 1
    px, py = width * np.sin(np.deg2rad(angle)), width * np.cos(np.deg2rad(angle))
    taps = np.arange(width)
    # Multiplying before dividing decides ties at 30 degrees, where the published blur did so.
    rows, columns = (np.ceil(taps * p / np.hypot(px, py) - 0.5) for p in (px, py))
    return rows.astype(np.int64), columns.astype(np.int64)


def motion_blur(image: Bytes, radius: int, sigma: float, angle: float) -> Bytes:
    """Blur an image, (H, W) or (H, W, C), along a motion to one side, as ImageMagick does; the edge repeats outside.

    There are 2 radius + 1 Gaussian weights with a sigma in taps; the angle is in degrees.
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


def through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What is left of (H, W, 3) after JPEG with Pillow's defaults (4:2:0)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def hsv_from_rgb(image: Floats) -> tuple[Floats, Floats, Floats]:
    """Split a picture into hue, saturation and value, in the order of operations of the published pictures.

    Args:
        image: (H, W, 3) in [0, 1].

    Returns:
        Three of (H, W) in [0, 1]; the hue of gray is 0, as that of red.
    """
    red, green, blue = np.moveaxis(image, -1, 0)
    value = image.max(axis=-1)
    spread = value - image.min(axis=-1)
    divisor = np.where(spread == 0, 1, spread)
    # Where two channels are largest, the later one counts.
    sixth = np.where(
        value == blue,
        4 + (red - green) / divisor,
        np.where(value == green, 2 + (blue - red) / divisor, (green - blue) / divisor),
    )
    hue = np.where(spread == 0, 0, (sixth / 6) % 1)
    return hue, spread / np.where(value == 0, 1, value), value


def rgb_from_hsv(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """The picture of these hues, saturations and values, each (H, W) in [0, 1]: (H, W, 3) in [0, 1]."""
    sector = np.floor(hue * 6)
    along = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - along * saturation)
    rising = value * (1 - (1 - along) * saturation)
    places = sector.astype(np.int64) % 6
    red = np.choose(places, [value, falling, low, low, rising, value])
    green = np.choose(places, [rising, value, value, falling, low, low])
    blue = np.choose(places, [low, low, rising, value, value, falling])
    return np.stack([red, green, blue], axis=-1)
