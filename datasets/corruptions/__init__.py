"""The corruptions of ImageNet-C: 15, 4 further ones, and a frost that needs no photographs.

>>> import numpy as np
>>> image = np.full((64, 64, 3), 128, dtype=np.uint8)
>>> corrupt(image, "brightness", 1, stem="gray")[0, 0].tolist()
[153, 153, 153]

Every corruption is two functions: `draw` makes what is random, `apply` is deterministic. The
published pictures are truncated to 8 bits and so are these.

Source: hendrycks/robustness (Apache-2.0), Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations (arXiv 1903.12261). Deviations: pictures of any size from 32 pixels;
elastic_transform scales its lengths with the shorter side; the random numbers are our own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator

from pim.datasets.corruptions import blur, digital, noise, spatter, weather
from pim.datasets.corruptions.constants import IMAGENET_C, TINY_IMAGENET_C, Constants, Table
from pim.datasets.corruptions.pixels import Bytes, Params, Shape
from pim.errors import InputError, UsageError, check_known

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32  # pixels of the shorter side

Draw = Callable[[Constants, Shape, Generator], Params]
Apply = Callable[[Bytes, Constants, Params], Bytes]


@dataclass(frozen=True)
class Recipe:
    """Which benchmark to follow, and where its frost pictures are."""

    table: str = "imagenet-c"  # or tiny-imagenet-c
    frost: Path | None = None  # folder of the published frost pictures

    @property
    def suffix(self) -> str:
        """What tells this recipe from the usual one in the name of a picture."""
        return "" if self.table == "imagenet-c" else f"-{self.table}"


@dataclass(frozen=True)
class _Benchmark:
    constants: Table
    side: int  # pictures were this large, and lengths of elastic_transform are meant for it
    frost_scale: float


_BENCHMARKS = {
    "imagenet-c": _Benchmark(IMAGENET_C, 224, 1.0),
    "tiny-imagenet-c": _Benchmark(TINY_IMAGENET_C, 64, 0.3),
}
PUBLISHED = Recipe()


def _nothing(constants: Constants, shape: Shape, rng: Generator) -> Params:
    """Nothing is random here."""
    return {}


_CORRUPTIONS: dict[str, tuple[str, Draw, Apply]] = {
    "gaussian_noise": ("noise", noise.draw_normal, noise.apply_gaussian),
    "shot_noise": ("noise", noise.draw_uniform, noise.apply_shot),
    "impulse_noise": ("noise", noise.draw_uniform, noise.apply_impulse),
    "defocus_blur": ("blur", _nothing, blur.apply_defocus),
    "glass_blur": ("blur", blur.draw_glass, blur.apply_glass),
    "motion_blur": ("blur", blur.draw_motion, blur.apply_motion),
    "zoom_blur": ("blur", _nothing, blur.apply_zoom),
    "snow": ("weather", weather.draw_snow, weather.apply_snow),
    "frost": ("weather", _nothing, weather.apply_frost),  # its draw also needs the folder; see draw
    "frost_synthetic": ("weather", weather.draw_synthetic_frost, weather.apply_frost),
    "fog": ("weather", weather.draw_fog, weather.apply_fog),
    "brightness": ("weather", _nothing, weather.apply_brightness),
    "contrast": ("digital", _nothing, digital.apply_contrast),
    "elastic_transform": ("digital", digital.draw_elastic, digital.apply_elastic),
    "pixelate": ("digital", _nothing, digital.apply_pixelate),
    "jpeg_compression": ("digital", _nothing, digital.apply_jpeg),
    "speckle_noise": ("extra", noise.draw_normal, noise.apply_speckle),
    "gaussian_blur": ("extra", _nothing, blur.apply_gaussian),
    "spatter": ("extra", spatter.draw_spatter, spatter.apply_spatter),
    "saturate": ("extra", _nothing, digital.apply_saturate),
}
GROUPS: dict[str, str] = {name: group for name, (group, _, _) in _CORRUPTIONS.items()}


def names(recipe: Recipe = PUBLISHED) -> tuple[str, ...]:
    """List the corruptions of a benchmark that can be made; without frost pictures, with a frost of our own."""
    left_out = "frost" if recipe.frost is None else "frost_synthetic"
    table = _benchmark(recipe).constants
    return tuple(name for name in _CORRUPTIONS if name != left_out and name in table)


def generator(seed: int, stem: str, corruption: str, severity: int) -> Generator:
    """Random numbers that depend on these four alone, not on order, batch or worker."""
    text = json.dumps([seed, stem, corruption, severity])
    return Generator(PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest())))


def draw(corruption: str, severity: int, shape: Shape, rng: Generator, recipe: Recipe = PUBLISHED) -> Params:
    """Draw all that is random about one corruption of a picture of this height and width.

    Raises:
        UsageError: if there is no such corruption or severity.
        InputError: if the picture is smaller than 32 pixels.
        DataError: if a frost picture cannot be read.
    """
    constants = _constants(corruption, severity, shape, recipe)
    if corruption == "frost":
        if recipe.frost is None:
            raise UsageError("frost needs a folder of the published frost pictures; frost_synthetic does without")
        return weather.draw_frost(shape, rng, recipe.frost, _benchmark(recipe).frost_scale)
    return _CORRUPTIONS[corruption][1](constants, shape, rng)


def apply(image: Bytes, corruption: str, severity: int, params: Params, recipe: Recipe = PUBLISHED) -> Bytes:
    """Corrupt a picture in a way that is not random at all.

    Args:
        image: (H, W, 3) sRGB, 8 bits.
        corruption: A key of `GROUPS`.
        severity: 1 to 5.
        params: From `draw`, for this corruption, severity and shape.
        recipe: Which benchmark to follow.

    Returns:
        (H, W, 3), 8 bits.

    Raises:
        UsageError: if there is no such corruption or severity.
        InputError: if the picture has another type or shape, or is smaller than 32 pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image must be 8-bit of shape (H, W, 3); got {image.dtype} of shape {image.shape}")
    constants = _constants(corruption, severity, image.shape[:2], recipe)
    return _CORRUPTIONS[corruption][2](image, constants, params)


def corrupt(
    image: Bytes, corruption: str, severity: int, *, stem: str, seed: int = 0, recipe: Recipe = PUBLISHED
) -> Bytes:
    """Corrupt a picture as `apply` does, with the random numbers of its name without ending, `stem`, and the seed."""
    rng = generator(seed, stem, corruption, severity)
    return apply(image, corruption, severity, draw(corruption, severity, image.shape[:2], rng, recipe), recipe)


def _benchmark(recipe: Recipe) -> _Benchmark:
    check_known("unknown table of corruptions", [recipe.table], _BENCHMARKS)
    return _BENCHMARKS[recipe.table]


def _constants(corruption: str, severity: int, shape: Shape, recipe: Recipe) -> Constants:
    benchmark = _benchmark(recipe)
    check_known("unknown corruption", [corruption], benchmark.constants)
    if severity not in SEVERITIES:
        raise UsageError(f"severity must be 1 to 5; got {severity}")
    if min(shape) < SMALLEST:
        raise InputError(f"image sides must be at least {SMALLEST} pixels; got {shape[1]} x {shape[0]}")
    constants = benchmark.constants[corruption][severity - 1]
    if corruption == "elastic_transform":
        return tuple(length * min(shape) / benchmark.side for length in constants)
    return constants
