"""The same distortion in one box of a picture or another, with exactly the same squared error after rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pim.datasets.corruptions.pixels import through_jpeg
from pim.eval.boxes import Box

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Errors = NDArray[np.int64]  # in levels

NOISE, QUALITY, SIGMA = 12.0, 15, 1.5  # levels; of JPEG; of the blur in pixels
EDGE = 4  # pixels over which a distortion fades in
LARGEST_GAIN = 4.0  # times the residual; beyond, it would be another distortion
REST = 1e-3  # share of the energy that single levels may make up for
HALVINGS = 50


def _noise(pixels: Pixels, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, NOISE, pixels.shape)


def _jpeg(pixels: Pixels, seed: int) -> Array:
    return through_jpeg(pixels, QUALITY).astype(np.float64) - pixels


def _blur(pixels: Pixels, seed: int) -> Array:
    return np.asarray(gaussian_filter(pixels.astype(np.float64), (SIGMA, SIGMA, 0)) - pixels)


DISTORTIONS: dict[str, Callable[[Pixels, int], Array]] = {"noise": _noise, "jpeg": _jpeg, "blur": _blur}


def residual(pixels: Pixels, distortion: str, seed: int) -> Array:
    """What a distortion adds to the whole picture, (H, W, 3) in levels; the seed matters to noise only."""
    return DISTORTIONS[distortion](pixels, seed)


def window(box: Box) -> Array:
    """How much of a distortion is seen in a box, (h, w, 1): 1 inside, a raised cosine down to 0 at its sides."""
    sides = []
    for length in (box.height, box.width):
        from_side = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        sides.append(0.5 - 0.5 * np.cos(np.pi * np.minimum(from_side / EDGE, 1)))
    return np.asarray(np.multiply.outer(*sides)[..., None])


def energy(pixels: Pixels, change: Array, box: Box, gain: float = 1.0) -> int:
    """Sum of squared errors, in squared levels, of a change seen through a box, after clipping and rounding."""
    return _energy(_errors(pixels, change, box, gain))


def matched(pixels: Pixels, change: Array, box: Box, target: int, seed: int) -> Pixels | None:
    """The picture with a change inside a box, scaled so that the squared error is what it shall be, exactly.

    The gain is found by bisection; the rest, at most a thousandth, is made up for by moving few samples by one
    level.

    Args:
        pixels: (H, W, 3).
        change: (H, W, 3), in levels.
        box: Where.
        target: Sum of squared errors, above 0.
        seed: Of the choice among equal samples.

    Returns:
        (H, W, 3), or None where the gain would pass 4 or the rest cannot be made up for.
    """
    if energy(pixels, change, box, LARGEST_GAIN) < target:
        return None
    low, high = 0.0, LARGEST_GAIN  # energy grows with the gain, in steps
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if energy(pixels, change, box, middle) <= target else (low, middle)
    errors = _errors(pixels, change, box, low)
    rest = target - _energy(errors)
    if rest > REST * target or not _make_up(errors, pixels[box.slices], window(box) > 0.5, rest, seed):
        return None
    found = pixels.copy()
    found[box.slices] = pixels[box.slices] + errors
    return found


def _make_up(errors: Errors, part: Pixels, inside: NDArray[np.bool_], rest: int, seed: int) -> bool:
    """Add an exact energy by moving samples one level further, few samples first; whether that can be done."""
    order = np.random.default_rng(seed).permutation(errors.size)
    away = np.where(errors == 0, np.where(part < 128, 1, -1), np.sign(errors))
    moved = part + errors + away
    free = (inside & (moved >= 0) & (moved <= 255)).flat[order]
    cost = (2 * np.abs(errors) + 1).flat[order]  # of a step from e to e + 1
    while rest > 0:
        able = free & (cost <= rest)
        if not able.any():
            return False
        place = int(np.argmax(np.where(able, cost, 0)))
        errors.flat[order[place]] += away.flat[order[place]]
        rest -= int(cost[place])
        free[place] = False
    return True


def _errors(pixels: Pixels, change: Array, box: Box, gain: float) -> Errors:
    part = pixels[box.slices].astype(np.float64)
    seen = np.rint(np.clip(part + gain * window(box) * change[box.slices], 0, 255))
    return (seen - part).astype(np.int64)


def _energy(errors: Errors) -> int:
    return int(np.sum(errors**2))
