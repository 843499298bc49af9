"""What a codec makes of a picture: the bytes of its file, and how far the decoded picture is from the original.

Everything is measured on 8 bits per channel, before and after: that is what a file holds and a screen shows.
PSNR of floats that were never rounded is higher and no one's to see.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from pim.core.metric import Metric
from pim.errors import InputError
from pim.eval.rate_curves import LUMA, RatePoint
from pim.metrics.classics import psnr
from pim.scoring.engine import score

Picture = NDArray[np.uint8]  # (H, W, 3), sRGB

QUALITIES = tuple(map(str, (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)))
BT_601 = (0.299, 0.587, 0.114)  # R', G', B' in Y'


class Coder(Protocol):
    """A codec with its settings, from few bits to many."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def settings(self) -> Sequence[str]:
        """Such as qualities."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its files depend on besides picture and setting, for JSON."""

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and what a decoder makes of that file."""


@dataclass(frozen=True)
class PillowCoder:
    """JPEG or WebP as Pillow writes it."""

    name: str
    format: str  # as Pillow calls it
    options: Mapping[str, Any]
    settings: Sequence[str] = QUALITIES

    @property
    def identity(self) -> dict[str, Any]:
        """Format, options, and the libraries that code."""
        libraries = {library: features.version(library) for library in ("jpg", "libjpeg_turbo", "webp")}
        return {"format": self.format, "options": dict(self.options), "pillow": PIL.__version__, **libraries}

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and what Pillow makes of that file.

        Raises:
            InputError: if the format cannot hold the picture.
        """
        stream = io.BytesIO()
        try:
            Image.fromarray(picture).save(stream, self.format, quality=int(setting), **self.options)
        except (OSError, ValueError) as error:
            height, width = picture.shape[:2]
            raise InputError(f"{self.name} cannot hold a picture of {width} x {height}: {error}") from error
        stream.seek(0)
        return stream.getvalue(), np.asarray(Image.open(stream).convert("RGB"))


ANCHORS = {
    coder.name: coder
    for coder in (
        PillowCoder("jpeg", "JPEG", {"subsampling": "4:2:0", "optimize": True}),
        PillowCoder("webp", "WEBP", {"method": 4}),
    )
}


def as_picture(pixels: NDArray[np.float32]) -> Picture:
    """Pixels in [0, 1] rounded to 8 bits."""
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


def as_tensor(picture: Picture) -> Tensor:
    """A picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def luma_psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """PSNR in dB of the luma Y' = 0.299 R' + 0.587 G' + 0.114 B', which is not rounded; peak 1.

    Args:
        reference: (N, 3, H, W), sRGB in [0, 1].
        distorted: The same shape.

    Returns:
        (N,), higher is more alike.
    """
    weights = reference.new_tensor(BT_601)[:, None, None]
    return psnr(*((image * weights).sum(1, keepdim=True) for image in (reference, distorted)))


def measure(
    picture: Picture, coder: Coder, settings: Sequence[str], metrics: Sequence[Metric], device: str = "cpu"
) -> Iterator[RatePoint]:
    """Write the files of one picture, read them again, compare.

    Args:
        picture: The original.
        coder: The codec.
        settings: Some of its settings.
        metrics: With different names; `psnr-y` is added.
        device: Where to compare.

    Yields:
        A point for every setting.

    Raises:
        InputError: if the codec cannot code the picture.
        PimError: if a metric cannot compare it.
    """
    rates: dict[str, float] = {}

    def decoded() -> Iterator[tuple[Picture, Picture]]:
        for setting in settings:
            stream, found = coder.code(picture, setting)
            if found.shape != picture.shape:
                raise InputError(f"{coder.name} decodes a picture of shape {picture.shape} to {found.shape}")
            rates[setting] = 8 * len(stream) / (picture.shape[0] * picture.shape[1])
            yield picture, found

    for setting, found in zip(settings, score(decoded(), metrics, device=device, workers=0), strict=True):
        for error in found.errors.values():
            raise error
        luma = float(luma_psnr(*(as_tensor(image) for image in found.pair)))
        yield RatePoint(coder.name, setting, 1, rates[setting], {**found.values, LUMA: luma})
