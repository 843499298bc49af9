"""Maps of values as pictures: colours of even steps, a colour bar with its scale, alone or over an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Array = np.ndarray[Any, Any]

# Equidistant stops of the public-domain colour map "inferno": lightness grows evenly from black to pale yellow.
STOPS = np.array(
    [
        (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84),
        (221, 81, 58), (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
    ]
)  # fmt: skip
SMALLEST = 256  # shortest side of a map in the picture; smaller ones are enlarged by whole pixels
STRIP = 64  # rows that are coloured at once: the colours of a large map would be its largest arrays by far
VEIL = 0.2  # share of the colour where an overlaid map is lowest
INK, PAPER = (32, 32, 32), (255, 255, 255)


def colour(levels: Array) -> Array:
    """Give levels of any shape, cut to [0, 1], colours: the shape with 3 more, sRGB in [0, 1]."""
    at = np.linspace(0, 1, len(STOPS))
    return np.stack([np.interp(levels, at, STOPS[:, channel] / 255) for channel in range(3)], axis=-1)


def draw(values: Array, low: float, high: float, caption: str, *, over: Array | None = None) -> PIL.Image.Image:
    """Draw a map (H, W), finite, as an RGB picture with a colour bar from `low` to `high`, and one line above it.

    Args:
        values: The map.
        low: The value of the darkest colour.
        high: The value of the brightest colour, above `low`.
        caption: The line.
        over: (H, W, 3), sRGB in [0, 1]: shown in gray below the colours.
    """
    pixels = np.empty((*values.shape, 3), np.uint8)
    for top in range(0, len(values), STRIP):
        rows = slice(top, top + STRIP)
        levels = np.clip((values[rows] - low) / (high - low), 0, 1)
        pixels[rows] = np.round(255 * _shown(levels, None if over is None else over[rows]))
    picture = PIL.Image.fromarray(pixels)
    return _framed(_enlarged(picture), low, high, caption)


def row(images: Mapping[str, Array], drawn: PIL.Image.Image) -> PIL.Image.Image:
    """Images of one size, and what `draw` made of a map of the same size, from left to right.

    Args:
        images: (H, W, 3) each, sRGB in [0, 1], by caption.
        drawn: An RGB picture.

    Returns:
        An RGB picture, as high as the map with its frame.
    """
    pictures = [
        _captioned(_enlarged(PIL.Image.fromarray(np.round(i * 255).astype(np.uint8))), c) for c, i in images.items()
    ]
    pictures.append(drawn)
    height = max(picture.height for picture in pictures)
    canvas = PIL.Image.new("RGB", (sum(picture.width for picture in pictures), height), PAPER)
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width
    return canvas


def _shown(levels: Array, over: Array | None) -> Array:
    """Colours (h, w, 3) of levels, over a picture if there is one."""
    pixels = colour(levels)
    if over is None:
        return pixels
    gray = (over @ np.array([0.299, 0.587, 0.114]))[..., None]
    share = (VEIL + (1 - VEIL) * np.sqrt(levels))[..., None]  # the root keeps middle values visible
    return np.asarray(share * pixels + (1 - share) * gray)


def sheet(pictures: Sequence[PIL.Image.Image]) -> PIL.Image.Image:
    """Put RGB pictures in rows, about as many as columns; each has the room of the largest."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    canvas = PIL.Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), PAPER)
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (number % columns * width, number // columns * height))
    return canvas


def ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, three to nine of them.

    >>> ticks(0, 0.47)
    [0.0, 0.1, 0.2, 0.3, 0.4]
    """
    rough = (high - low) / 8
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _enlarged(picture: PIL.Image.Image) -> PIL.Image.Image:
    factor = max(1, math.ceil(SMALLEST / min(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), 0)


def _captioned(picture: PIL.Image.Image, caption: str, right: int = 0) -> PIL.Image.Image:
    """The picture with a caption above, a margin around, and room on its right."""
    size = _letters(picture)
    font = PIL.ImageFont.load_default(size)
    width = max(size + picture.width + right, size + math.ceil(font.getlength(caption)) + size)
    canvas = PIL.Image.new("RGB", (width, 4 * size + picture.height), PAPER)
    PIL.ImageDraw.Draw(canvas).text((size, size), caption, INK, font)
    canvas.paste(picture, (size, 3 * size))
    return canvas


def _letters(picture: PIL.Image.Image) -> int:
    return max(14, round(min(picture.size) / 28))


def _framed(picture: PIL.Image.Image, low: float, high: float, caption: str) -> PIL.Image.Image:
    """The picture with a caption above and the colour bar to its right."""
    size = _letters(picture)
    font = PIL.ImageFont.load_default(size)
    labels = [(value, f"{value:.6g}") for value in ticks(low, high)]
    bar, top, bar_left = round(1.2 * size), 3 * size, 2 * size + picture.width
    label_left = bar_left + bar + size // 2
    label_width = math.ceil(max(font.getlength(text) for _, text in labels))
    canvas = _captioned(picture, caption, label_left + label_width - picture.width)
    pen = PIL.ImageDraw.Draw(canvas)
    shades = colour(np.linspace(1, 0, picture.height))[:, None].repeat(bar, axis=1)
    canvas.paste(PIL.Image.fromarray(np.round(shades * 255).astype(np.uint8)), (bar_left, top))
    for value, text in labels:
        y = top + round((picture.height - 1) * (high - value) / (high - low))
        pen.line([(bar_left + bar, y), (label_left - size // 6, y)], INK, max(1, size // 14))
        pen.text((label_left, y), text, INK, font, anchor="lm")
    return canvas
