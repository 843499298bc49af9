"""Pictures that are made from a file by stated steps: cropped as ImageNet-C was, corrupted on the fly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pim.core.files import sha256_of
from pim.datasets.corruptions import PUBLISHED, Recipe, corrupt
from pim.datasets.corruptions.pixels import through_jpeg
from pim.datasets.corruptions.weather import frost_pictures
from pim.errors import DataError, InputError
from pim.images.opener import OpenedImage, OpenOptions, open_image

SHORTER_SIDE = 256  # of ImageNet-C before the crop
CROP = 224


@dataclass(frozen=True, slots=True)
class CorruptionStep:
    """Which corruption to apply, and the seed of its random numbers."""

    name: str
    severity: int
    seed: int
    recipe: Recipe = PUBLISHED


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """A file; optionally cropped to 224 x 224 like ImageNet-C, corrupted, and compressed; in this order.

    The random numbers of a corruption depend on its seed and the name of the file alone.
    """

    path: Path
    crop: bool = False  # shorter side to 256, bilinear, then the centre 224 x 224
    corruption: CorruptionStep | None = None
    jpeg_quality: int | None = None

    @property
    def name(self) -> str:
        """The path, and what is done to the picture."""
        done = ["224px"] if self.crop else []
        if self.corruption is not None:
            c = self.corruption
            done.append(f"{c.name}-{c.severity}-seed{c.seed}{c.recipe.suffix}")
        if self.jpeg_quality is not None:
            done.append(f"jpeg{self.jpeg_quality}")
        return f"{self.path}" + (f"[{','.join(done)}]" if done else "")

    def stamp(self, verify: bool) -> str:
        """A text that changes when the picture does; with `verify` from the content of the file, else its state."""
        try:
            states = [sha256_of(path) if verify else _state(path) for path in (self.path, *self._overlays())]
        except (OSError, DataError) as error:
            return f"unreadable: {error}"
        return hashlib.sha256(
            "\n".join([*states, replace(self, path=Path(self.path.name)).name]).encode("utf-8", "surrogateescape")
        ).hexdigest()

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open the file and take the steps.

        Raises:
            InputError: if it cannot be used.
        """
        opened = open_image(self.path, options)
        pixels = np.rint(opened.pixels * 255).astype(np.uint8)
        if self.crop:
            pixels = imagenet_crop(pixels)
        if self.corruption is not None:
            c = self.corruption
            try:
                pixels = corrupt(pixels, c.name, c.severity, stem=self.path.stem, seed=c.seed, recipe=c.recipe)
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from error
        if self.jpeg_quality is not None:
            pixels = through_jpeg(pixels, self.jpeg_quality)
        return replace(opened, pixels=pixels.astype(np.float32) / np.float32(255))

    def _overlays(self) -> list[Path]:
        """Further files that the picture is made of."""
        step = self.corruption
        if step is None or step.name != "frost" or step.recipe.frost is None:
            return []
        return frost_pictures(step.recipe.frost)


def _state(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size}/{state.st_mtime_ns}"


def imagenet_crop(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The usual ImageNet preparation: shorter side to 256, bilinear and antialiased, centre 224 x 224.

    Args:
        pixels: (H, W, 3).

    Returns:
        (224, 224, 3).
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    size = (width * SHORTER_SIDE // short, height * SHORTER_SIDE // short)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - CROP) / 2) for side in size)
    return np.asarray(image.crop((left, top, left + CROP, top + CROP)))
