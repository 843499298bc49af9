"""Snow, frost, fog and brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from pim.datasets.corruptions.constants import Constants
from pim.datasets.corruptions.pixels import (
    Bytes,
    Params,
    Shape,
    clipped_zoom,
    hsv_from_rgb,
    motion_blur,
    rgb_from_hsv,
    to_bytes,
    unit,
)
from pim.errors import DataError

GRAY = np.array([0.299, 0.587, 0.114])
FROST_USED = 5  # of six; the published draw never reaches the last
PLASMA_START = 100.0


def draw_snow(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`z`: standard normal flakes, (H, W); `angle` in degrees, ()."""
    return {"z": rng.standard_normal(shape), "angle": np.array(rng.uniform(-135, -45))}


def apply_snow(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Fade the picture to a bright gray and lay falling flakes over it, twice."""
    mean, deviation, zoom, threshold, radius, sigma, mix = constants
    flakes = clipped_zoom(mean + deviation * params["z"], zoom)
    flakes = np.where(flakes < threshold, 0, flakes)
    fallen = unit(motion_blur(to_bytes(flakes), int(radius), sigma, float(params["angle"])))[..., None]
    x = unit(image)
    pale = np.maximum(x, (x @ GRAY * 1.5 + 0.5)[..., None])
    return to_bytes(mix * x + (1 - mix) * pale + fallen + fallen[::-1, ::-1])


def draw_frost(shape: Shape, rng: Generator, folder: Path, scale: float) -> Params:
    """`overlay`: a random part, (H, W, 3), of one of the published frost pictures in a folder, frost1 to frost6.

    They are scaled, and enlarged further if they do not cover the picture.

    Raises:
        DataError: if the folder lacks them, or one cannot be read.
    """
    path = frost_pictures(folder)[rng.integers(FROST_USED)]
    try:
        picture = Image.open(path).convert("RGB")
    except OSError as error:
        raise DataError(f"cannot read the frost picture {path}: {error}") from error
    scale = max(scale, (shape[0] + 1) / picture.height, (shape[1] + 1) / picture.width)
    size = (round(picture.width * scale), round(picture.height * scale))
    frost = np.asarray(picture if scale == 1 else picture.resize(size, Image.Resampling.BILINEAR))
    top, left = (int(rng.integers(there - wanted)) for there, wanted in zip(frost.shape[:2], shape, strict=True))
    return {"overlay": frost[top : top + shape[0], left : left + shape[1]]}


def frost_pictures(folder: Path) -> list[Path]:
    """The frost pictures that can be drawn, in the order of their names.

    Raises:
        DataError: if there are fewer than five.
    """
    found = sorted(folder.glob("frost[1-6].*"))
    if len(found) < FROST_USED:
        raise DataError(
            f"{folder} must hold the six published frost pictures, frost1.png to frost6.jpg; it has {len(found)} of "
            "them. Without them leave the folder out: frost_synthetic needs none"
        )
    return found[:FROST_USED]


def draw_synthetic_frost(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`overlay`: a bright, bluish field of broad patches with fine ridges, (H, W, 3), instead of a photograph."""
    side = plasma_side(shape)
    broad, fine = (plasma(rng.random(side**2 - 1), side, decay)[: shape[0], : shape[1]] for decay in (2.2, 1.5))
    ridges = 1 - np.abs(2 * fine - 1)
    brightness = np.clip(0.25 + 0.35 * broad + 0.5 * ridges**4, 0, 1)
    return {"overlay": to_bytes(brightness[..., None] ** np.array([1.15, 1.0, 0.9]))}


def apply_frost(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """The weighted sum of picture and overlay."""
    weight, overlay_weight = constants
    mixed = weight * image.astype(np.float64) + overlay_weight * params["overlay"]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def draw_fog(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`fog`: its density in [0, 1], (H, W)."""
    _, decay = constants
    side = plasma_side(shape)
    return {"fog": plasma(rng.random(side**2 - 1), side, decay)[: shape[0], : shape[1]]}


def apply_fog(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Add the fog and scale back, so that the brightest value stays."""
    amount, _ = constants
    x = unit(image)
    brightest = x.max()
    return to_bytes((x + amount * params["fog"][..., None]) * brightest / (brightest + amount))


def plasma_side(shape: Shape) -> int:
    """The smallest power of two that covers the picture."""
    return 1 << (max(shape) - 1).bit_length()


def plasma(uniforms: NDArray[np.floating], side: int, decay: float) -> NDArray[np.float64]:
    """A fractal cloud by midpoint displacement (diamond and square steps) that wraps around.

    Args:
        uniforms: side^2 - 1 values in [0, 1), used up in order: for every step the centres of all
            squares, then the middles of their top edges, then those of their left edges.
        side: A power of two.
        decay: The displacement shrinks by this from step to step.

    Returns:
        (side, side), from 0 to 1.
    """
    field = np.zeros((side, side))
    wobble, step, used = PLASMA_START, side, 0

    def displaced(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal used
        u = uniforms[used : used + sums.size].reshape(sums.shape)
        used += sums.size
        return sums / 4 + wobble * wobble * (2 * u - 1)  # the amplitude enters twice, as published

    while step >= 2:
        half = step // 2
        corner, centre = field[::step, ::step], field[half::step, half::step]
        right, below = np.roll(corner, -1, axis=1), np.roll(corner, -1, axis=0)
        centre[:] = displaced(corner + right + below + np.roll(right, -1, axis=0))
        field[::step, half::step] = displaced(centre + np.roll(centre, 1, axis=0) + corner + right)
        field[half::step, ::step] = displaced(centre + np.roll(centre, 1, axis=1) + corner + below)
        step, wobble = half, wobble / decay
    field -= field.min()
    return np.asarray(field / field.max())


def apply_brightness(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Raise the V of HSV, clipped at 1; hue and saturation stay."""
    (added,) = constants
    hue, saturation, value = hsv_from_rgb(unit(image))
    return to_bytes(rgb_from_hsv(hue, saturation, np.clip(value + added, 0, 1)))
