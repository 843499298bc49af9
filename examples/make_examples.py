"""Draws examples/reference.png and examples/distorted.png, a scene and its damaged copy.

    python examples/make_examples.py

Nothing is photographed, so the pictures are free of rights. Everything is seeded: the same versions
of NumPy and Pillow draw the same pictures.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 384, 256
SEED = 20
HERE = Path(__file__).parent

Array = np.ndarray[Any, Any]


def fractal(random: np.random.Generator, roughness: float) -> Array:
    """Noise with a spectrum that falls with frequency, (HEIGHT, WIDTH), mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(random.standard_normal((HEIGHT, WIDTH))) / frequency**roughness
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
    return field / field.std()


def paint(canvas: Array, mask: Array, colour: tuple[float, float, float], shade: Array, strength: float) -> Array:
    """Cover where the mask is 1 with a colour that is modulated by a texture."""
    layer = np.asarray(colour) * (1 + strength * shade[..., None])
    return canvas * (1 - mask[..., None]) + layer * mask[..., None]


def polygons(*shapes: list[tuple[float, float]]) -> Array:
    """A soft-edged mask of polygons, (HEIGHT, WIDTH) in [0, 1]."""
    mask = Image.new("L", (WIDTH * 4, HEIGHT * 4))
    for shape in shapes:
        ImageDraw.Draw(mask).polygon([(4 * x, 4 * y) for x, y in shape], fill=255)
    return np.asarray(mask.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) / 255


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """A rectangle as a polygon."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ridge(random: np.random.Generator, height: float, amplitude: float, roughness: float) -> Array:
    """A mask of everything below a mountain line."""
    line = fractal(random, roughness)[0]
    line = height + amplitude * (line - line.mean()) / line.std()
    return np.clip(np.arange(HEIGHT)[:, None] - line[None] + 0.5, 0, 1)


def scene() -> Array:
    """The reference, (HEIGHT, WIDTH, 3) in [0, 1]."""
    random = np.random.default_rng(SEED)
    down = np.linspace(0, 1, HEIGHT)[:, None].repeat(WIDTH, 1)
    sky = np.stack([0.36 + 0.5 * down, 0.56 + 0.32 * down, 0.84 + 0.08 * down], axis=-1)
    clouds = np.clip(0.55 * fractal(random, 1.7) - 0.15, 0, 1) * np.clip(1.6 - 3 * down, 0, 1)
    picture = paint(sky, clouds, (0.97, 0.96, 0.95), fractal(random, 1.2), 0.015)
    picture = paint(picture, ridge(random, 118, 14, 1.6), (0.42, 0.49, 0.58), fractal(random, 1.3), 0.10)
    picture = paint(picture, ridge(random, 142, 8, 1.9), (0.27, 0.40, 0.26), fractal(random, 0.7), 0.24)
    meadow = np.clip((down * HEIGHT - 176) / 3, 0, 1)
    blades = 0.7 * fractal(random, 0.35) + 0.7 * np.repeat(fractal(random, 0.3)[::4], 4, axis=0)
    picture = paint(picture, meadow, (0.40, 0.50, 0.20), blades * (0.4 + down), 0.20)
    path = [(258, 190), (284, 190), (272, 256), (176, 256)]
    picture = paint(picture, polygons(path), (0.68, 0.60, 0.47), fractal(random, 0.5), 0.08)
    picture = house(picture, random)
    picture = fence(picture, random)
    return np.clip(tree(picture, random), 0, 1)


def house(picture: Array, random: np.random.Generator) -> Array:
    """A house of bricks with a tiled roof, windows and a door."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    shifted = columns + 5 * ((rows // 5) % 2)
    mortar = ((rows % 5 == 0) | (shifted % 10 == 0)).astype(float)
    bricks = 0.6 * fractal(random, 0.8) - 2.5 * mortar
    picture = paint(picture, polygons(box(222, 126, 318, 196)), (0.70, 0.40, 0.31), bricks, 0.10)
    tiles = np.sin(rows * 2 * np.pi / 4) + 0.6 * np.sin(columns * 2 * np.pi / 6) + 0.5 * fractal(random, 0.5)
    picture = paint(picture, polygons([(212, 130), (238, 90), (302, 90), (328, 130)]), (0.36, 0.23, 0.22), tiles, 0.22)
    picture = paint(picture, polygons(box(284, 78, 296, 104)), (0.55, 0.33, 0.28), bricks, 0.12)
    flat = np.zeros((HEIGHT, WIDTH))
    for left in (232, 284):
        picture = paint(picture, polygons(box(left, 142, left + 24, 168)), (0.95, 0.93, 0.88), flat, 0)
        panes = [box(left + x, y, left + x + 9, y + 10) for x in (2, 13) for y in (144, 156)]
        picture = paint(picture, polygons(*panes), (0.20, 0.28, 0.36), fractal(random, 1.5), 0.15)
    return paint(picture, polygons(box(262, 150, 280, 196)), (0.22, 0.32, 0.30), fractal(random, 0.9), 0.10)


def fence(picture: Array, random: np.random.Generator) -> Array:
    """A white fence on the left: fine regular edges."""
    boards = [[(x, 200), (x + 3, 196), (x + 6, 200), (x + 6, 228), (x, 228)] for x in range(6, 160, 11)]
    rails = [box(0, 206, 164, 209), box(0, 219, 164, 222)]
    return paint(picture, polygons(*boards, *rails), (0.90, 0.89, 0.85), fractal(random, 0.9), 0.04)


def tree(picture: Array, random: np.random.Generator) -> Array:
    """A tree with a crown of leaves."""
    picture = paint(
        picture, polygons([(70, 150), (78, 150), (82, 204), (66, 204)]), (0.32, 0.24, 0.17), fractal(random, 0.6), 0.25
    )
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = 1.15 - np.hypot((columns - 74) / 44, (rows - 112) / 50) + 0.16 * fractal(random, 1.1)
    light = 0.5 * fractal(random, 0.5) + 0.6 * (112 - rows) / 50 + 0.3 * (60 - columns) / 44
    return paint(picture, np.clip(inside * 8, 0, 1), (0.22, 0.36, 0.14), light, 0.45)


def damaged(reference: Image.Image) -> Image.Image:
    """A copy with a blurred tree, JPEG blocks on the house and a slightly greener sky on the right."""
    picture = reference.copy()
    blurred = picture.filter(ImageFilter.GaussianBlur(2.2))
    picture.paste(blurred, mask=soft(polygons(box(16, 34, 132, 172))))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=12)
    picture.paste(Image.open(stream), mask=soft(polygons(box(212, 84, 330, 204)), 1))
    values = np.asarray(picture) / 255
    greener = np.clip(values * (0.97, 1.02, 0.95), 0, 1)
    share = np.asarray(soft(polygons(box(190, -40, 420, 70)), 12))[..., None] / 255
    return to_image(values * (1 - share) + greener * share)


def soft(mask: Array, radius: float = 5) -> Image.Image:
    """A mask with a soft border."""
    return to_image(mask).filter(ImageFilter.GaussianBlur(radius))


def to_image(values: Array) -> Image.Image:
    """Values in [0, 1] as an 8-bit image."""
    return Image.fromarray(np.round(values * 255).astype(np.uint8))


def main() -> None:
    """Write both pictures beside this file."""
    reference = to_image(scene())
    reference.save(HERE / "reference.png", optimize=True)
    damaged(reference).save(HERE / "distorted.png", optimize=True)


if __name__ == "__main__":
    main()
