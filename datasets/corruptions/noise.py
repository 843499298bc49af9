"""Gaussian, shot, impulse and speckle noise.

`draw_*` draws what is random without knowing the picture, so that draws can be stored and repeated;
`apply_*` is a plain function of picture, constants and draws. All modules of this package do so.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import special

from pim.datasets.corruptions.constants import Constants
from pim.datasets.corruptions.pixels import Bytes, Floats, Params, Shape, to_bytes, unit


def draw_normal(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`z`: standard normal values for every sample, (H, W, 3)."""
    return {"z": rng.standard_normal((*shape, 3))}


def draw_uniform(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """`u`: uniform values in [0, 1) for every sample, (H, W, 3)."""
    return {"u": rng.random((*shape, 3))}


def apply_gaussian(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Add normal noise of one deviation."""
    (deviation,) = constants
    return to_bytes(unit(image) + deviation * params["z"])


def apply_speckle(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Add normal noise in proportion to the value."""
    (deviation,) = constants
    x = unit(image)
    return to_bytes(x + x * deviation * params["z"])


def apply_shot(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Replace every value by a Poisson count of photons, `constants` of them at white."""
    (photons,) = constants
    counts = np.empty(image.shape)
    for value in np.unique(image):
        here = image == value
        counts[here] = _poisson(params["u"][here], value / 255 * photons)
    return to_bytes(counts / photons)


def apply_impulse(image: Bytes, constants: Constants, params: Params) -> Bytes:
    """Set a share of samples to black or white, half of them each."""
    (share,) = constants
    u = params["u"]
    return np.where(u < share / 2, 0, np.where(u < share, 255, image)).astype(np.uint8)


def _poisson(u: Floats, mean: float) -> Floats:
    """Poisson counts with this mean, by inversion of uniform values."""
    most = int(mean + 12 * np.sqrt(mean) + 24)  # beyond lies less than the resolution of u
    return np.searchsorted(special.pdtr(np.arange(most), mean), u, side="right").astype(np.float64)
