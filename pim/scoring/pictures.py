"""Pictures as the engine sees them: something with a name that can be opened, once or several times."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from pim.core.files import sha256_of
from pim.errors import InputError
from pim.images import opener
from pim.images.opener import Decoding, OpenedImage, OpenOptions, Pixels

ImageLike = str | os.PathLike[str] | BinaryIO | PIL.Image.Image | np.ndarray[Any, Any] | Tensor


class Picture(Hashable, Protocol):
    """Anything that can be opened as an image; equal pictures have equal pixels."""

    @property
    def name(self) -> str:
        """What messages and tables call it; two different pictures have different names."""

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open it.

        Raises:
            InputError: if it cannot be used.
        """


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture in memory."""

    pixels: Tensor  # (3, H, W), sRGB in [0, 1]
    decoding: Decoding | None  # None: it came as an array or a tensor

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[1])


@dataclass(frozen=True)
class FilePicture:
    """An image file, whole or a part of its columns, as it is or resized."""

    path: str | Path
    columns: tuple[int, int | None] | None = None  # a slice: first, and one after the last or None for the end
    shorter_side: int | None = None  # resize to this many pixels, bilinear and antialiased, before columns are taken

    @property
    def name(self) -> str:
        """The path, and what was done to the image."""
        done = "" if self.shorter_side is None else f"@{self.shorter_side}px"
        return str(self.path) + done + ("" if self.columns is None else f"[{self.columns[0]}:{self.columns[1]}]")

    def stamp(self, verify: bool) -> str:
        """Size and time of change of the file, or SHA-256 of its content."""
        try:
            if verify:
                return sha256_of(self.path)
            state = Path(self.path).stat()
        except OSError as error:
            return f"unreadable: {error.strerror}"
        return f"{state.st_size}/{state.st_mtime_ns}"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open the file and take the part.

        Raises:
            InputError: if it cannot be used, or is too narrow for the columns.
        """
        image = opener.open_image(self.path, options)
        if self.shorter_side is not None:
            image = replace(image, pixels=resized(image.pixels, self.shorter_side))
        if self.columns is not None:
            image = replace(image, pixels=self._part(image.pixels))
        return image

    def _part(self, pixels: Pixels) -> Pixels:
        part = pixels[:, slice(*(self.columns or ()))]
        if part.shape[1] == 0:
            raise InputError(f"{self.path} is {pixels.shape[1]} pixels wide; it has no columns {self.columns}")
        return np.ascontiguousarray(part)


@dataclass(frozen=True)
class StandardInput:
    """The image that is written to stdin; it can be opened once."""

    name: str = "-"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Read stdin to its end.

        Raises:
            InputError: if it is empty or no image.
        """
        content = sys.stdin.buffer.read()
        if not content:
            raise InputError("nothing came from stdin (-); an image was expected")
        return opener.open_image(io.BytesIO(content), options)


@dataclass(frozen=True, eq=False)
class Given:
    """An image that the caller holds: an array, a tensor, a Pillow image or an open file."""

    image: Any
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and other.image is self.image

    def __hash__(self) -> int:
        return id(self.image)

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open a Pillow image or a file.

        Raises:
            InputError: if it is none, or cannot be used.
        """
        return opener.open_image(self.image, options)

    def as_tensor(self) -> Tensor | None:
        """Arrays and tensors as (3, H, W), ranges unchecked; None for anything else.

        Raises:
            InputError: if it is an array or a batch of another shape.
        """
        if isinstance(self.image, np.ndarray):
            from pim.images.arrays import pixels_of

            return torch.from_numpy(pixels_of(self.image, self.name)).permute(2, 0, 1)
        if not isinstance(self.image, Tensor):
            return None
        if self.image.ndim == 4 and len(self.image) != 1:
            raise InputError(f"{self.name} holds {len(self.image)} images; one is expected, a metric takes batches")
        return self.image[0] if self.image.ndim == 4 else self.image


def as_picture(image: ImageLike, name: str) -> Picture:
    """Make a picture of an image in any form.

    Args:
        image: A path, an open binary file, a PIL image, a NumPy array (H, W, 3) or gray (H, W) (uint8, uint16, or
            floating point in [0, 1]), or a tensor (3, H, W) or (1, 3, H, W) in [0, 1].
        name: What messages call it if it has no name of its own.
    """
    if isinstance(image, str | os.PathLike):
        return FilePicture(os.fsdecode(image))
    return Given(image, name)


def load(picture: Picture, options: OpenOptions) -> Loaded:
    """Bring a picture into memory; a decoded one keeps the memory of its decoder.

    Raises:
        InputError: if it cannot be used.
    """
    if isinstance(picture, Given) and (held := picture.as_tensor()) is not None:
        return Loaded(held, None)
    image = picture.open(options)
    height, width = image.pixels.shape[:2]
    return Loaded(torch.from_numpy(image.pixels).permute(2, 0, 1), replace(image.decoding, width=width, height=height))


def resized(pixels: Pixels, shorter_side: int) -> Pixels:
    """An image (H, W, 3) scaled so that its shorter side has that many pixels; unchanged if it has."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if short == shorter_side:
        return pixels
    size = (round(height * shorter_side / short), round(width * shorter_side / short))
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    scaled = F.interpolate(batch, size, mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).contiguous().numpy()
