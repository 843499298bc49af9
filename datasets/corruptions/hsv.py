"""Hue, saturation and value, in the order of operations that the published pictures went through."""

from __future__ import annotations

import numpy as np

from pim.datasets.corruptions.pixels import Floats


def hsv_from_rgb(image: Floats) -> tuple[Floats, Floats, Floats]:
    """Split a picture into hue, saturation and value.

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
