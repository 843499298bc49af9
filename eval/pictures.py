"""Pictures as a run sees them: where one comes from, what was done to it, and how to tell that it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from pim.core.files import sha256_of
from pim.errors import InputError
from pim.images.opener import OpenedImage, OpenOptions, Pixels, open_image


class Picture(Hashable, Protocol):
    """Anything that can be opened as an image and tells when it is no longer the same."""

    @property
    def name(self) -> str:
        """What messages and tables call it; two different pictures have different names."""

    def stamp(self, verify: bool) -> str:
        """A text that changes when the picture does; with `verify` it depends on every byte."""

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open it.

        Raises:
            InputError: if it cannot be used.
        """


@dataclass(frozen=True)
class FilePicture:
    """An image file, whole or a part of its columns, as it is or resized."""

    path: Path
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
            state = self.path.stat()
        except OSError as error:
            return f"unreadable: {error.strerror}"
        return f"{state.st_size}/{state.st_mtime_ns}"

    def open(self, options: OpenOptions) -> OpenedImage:
        """Open the file and take the part.

        Raises:
            InputError: if it cannot be used, or is too narrow for the columns.
        """
        image = open_image(self.path, options)
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


@dataclass(frozen=True)
class PlannedPair:
    """Two pictures to compare, and the name of the comparison."""

    key: str  # unique within a run
    reference: Picture
    distorted: Picture

    def both(self) -> tuple[Picture, Picture]:
        """Reference and distorted picture."""
        return self.reference, self.distorted

    def stamp(self, verify: bool) -> str:
        """A text that changes when one of the pictures does."""
        both = json.dumps([self.reference.stamp(verify), self.distorted.stamp(verify)])
        return hashlib.sha256(both.encode()).hexdigest()[:32]


Places = Mapping[int, PlannedPair] | Sequence[PlannedPair]  # pairs by their place in the plan, all or some
