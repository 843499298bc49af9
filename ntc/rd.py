"""What a codec makes of a picture: the bytes of its file, and how far the decoded picture is from the original.

Everything is measured on 8 bits per channel, before and after: that is what a file holds and a screen shows.
PSNR of floats that were never rounded is higher and no one's to see.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor

from ntc.coding import compress, decompress, to_8_bit
from ntc.container import VERSION
from ntc.models.codec import BEST_QUALITY, Codec
from ntc.store import Stored, find, load
from pim.core.metric import Metric
from pim.errors import InputError, UsageError
from pim.eval.rate_curves import LUMA, RatePoint
from pim.metrics.classics import psnr
from pim.scoring.engine import score

Picture = NDArray[np.uint8]  # (H, W, 3), sRGB

QUALITIES = tuple(map(str, (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)))
DECIBELS = tuple(map(str, range(24, 49, 3)))
LIBRARIES = ("jpg", "libjpeg_turbo", "webp", "avif", "jpg_2000")
SETTINGS = 9  # qualities that the curve of a learned codec consists of
BT_601 = (0.299, 0.587, 0.114)  # R', G', B' in Y'


class Coder(Protocol):
    """Something that makes a file of a picture at several settings, and a picture of that file."""

    @property
    def name(self) -> str:
        """The name of its curve."""

    @property
    def settings(self) -> Sequence[str]:
        """Such as qualities."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that its files depend on beside picture and setting, for JSON."""

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and the picture in it."""


@dataclass(frozen=True)
class PillowCoder:
    """A format as Pillow writes it."""

    name: str
    format: str  # as Pillow calls it
    options: Mapping[str, Any]
    settings: Sequence[str] = QUALITIES
    layers: bool = False  # JPEG 2000: a setting is the PSNR in dB that is aimed at, not a quality

    @property
    def identity(self) -> dict[str, Any]:
        """Format, options, and the libraries that code."""
        libraries = {library: features.version(library) for library in LIBRARIES}
        return {"format": self.format, "options": dict(self.options), "pillow": PIL.__version__, **libraries}

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and what Pillow makes of that file.

        Raises:
            InputError: if the format cannot hold the picture.
        """
        stream = io.BytesIO()
        wanted = {"quality_mode": "dB", "quality_layers": [int(setting)]} if self.layers else {"quality": int(setting)}
        try:
            Image.fromarray(picture).save(stream, self.format, **wanted, **self.options)
        except (OSError, ValueError) as error:
            height, width = picture.shape[:2]
            raise InputError(f"{self.name} cannot hold a picture of {width} x {height}: {error}") from error
        stream.seek(0)
        return stream.getvalue(), np.asarray(Image.open(stream).convert("RGB"))


@dataclass(frozen=True)
class LearnedCoder:
    """A learned codec at several qualities, or several for one rate each as one curve."""

    name: str
    codecs: Mapping[str, tuple[Codec, int | None]]  # by setting: a codec in evaluation mode, and its quality
    trained_with: frozenset[str] = frozenset()  # distortions, as their files name them

    @classmethod
    def of(cls, name: str, codecs: Sequence[Codec], trained_with: Iterable[str] = ()) -> LearnedCoder:
        """Make a curve of one codec at evenly spread qualities from 0 to 255, or of codecs by their lambda.

        Codecs are in evaluation mode; `trained_with` are the distortions that they were trained to keep.

        Raises:
            UsageError: if these codecs are no curve: one for several rates beside others, or two of one lambda.
        """
        if any(codec.config.conditioned for codec in codecs):
            if len(codecs) > 1:
                raise UsageError(f"{name}: a codec for several rates is a curve by itself; give it another name")
            qualities = [round(i * BEST_QUALITY / (SETTINGS - 1)) for i in range(SETTINGS)]
            settings = {str(quality): (codecs[0], quality) for quality in qualities}
            return cls(name, settings, frozenset(trained_with))
        by_lambda = sorted(codecs, key=lambda codec: codec.config.lambdas)
        found = {f"{codec.config.lambdas[0]:g}": (codec, None) for codec in by_lambda}
        if len(found) < len(codecs):
            raise UsageError(f"{name}: two codecs have one lambda; give them different names")
        return cls(name, found, frozenset(trained_with))

    def no_judges(self, metrics: Iterable[str]) -> list[str]:
        """Those metrics that are of the kind this codec was trained with, and therefore flatter it.

        >>> LearnedCoder("mine", {}, frozenset({"pim"})).no_judges(["pim", "psnr"])
        ['pim']
        """
        kinds = {distortion.partition("-")[0] for distortion in self.trained_with}
        return [metric for metric in metrics if metric.partition("-")[0] in kinds]

    @property
    def settings(self) -> Sequence[str]:
        """From few bits to many."""
        return tuple(self.codecs)

    @property
    def identity(self) -> dict[str, object]:
        """The weights that decode, those that encode, and the version of the files."""
        encoders, ids = hashlib.sha256(), []
        for codec in {id(codec): codec for codec, _ in self.codecs.values()}.values():
            ids.append((codec.id or b"").hex())
            for name, tensor in sorted(codec.state_dict().items()):
                encoders.update(name.encode() + tensor.cpu().numpy().tobytes())
        return {"codecs": ids, "weights": encoders.hexdigest(), "version": VERSION}

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and what its decoder makes of that."""
        codec, quality = self.codecs[setting]
        data = compress(codec, as_tensor(picture), quality)
        return data, to_8_bit(decompress(codec, data, picture.size))


ANCHORS = {
    coder.name: coder
    for coder in (
        PillowCoder("jpeg", "JPEG", {"subsampling": "4:2:0", "optimize": True}),
        PillowCoder("webp", "WEBP", {"method": 4}),
        PillowCoder("avif", "AVIF", {"subsampling": "4:2:0"}),
        PillowCoder("jpeg2000", "JPEG2000", {"irreversible": True, "mct": 1}, DECIBELS, layers=True),
    )
}


def as_picture(pixels: NDArray[np.float32]) -> Picture:
    """Pixels in [0, 1] rounded to 8 bits."""
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


def as_tensor(picture: Picture) -> Tensor:
    """A picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def luma_psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """PSNR in dB of the luma Y' = 0.299 R' + 0.587 G' + 0.114 B', which is not rounded; peak 1; higher is more alike.

    Takes two batches (N, 3, H, W), sRGB in [0, 1], and gives (N,).
    """
    weights = reference.new_tensor(BT_601)[:, None, None]
    return psnr(*((image * weights).sum(1, keepdim=True) for image in (reference, distorted)))


def measure(
    picture: Picture, coder: Coder, settings: Sequence[str], metrics: Sequence[Metric], device: str = "cpu"
) -> Iterator[RatePoint]:
    """Write the files of one picture at some settings, read them again, compare by metrics and psnr-y.

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


def coders(names: Sequence[str]) -> list[LearnedCoder]:
    """The codecs of these names: those that ship, or files; `NAME=FILE` puts several under one name.

    Raises:
        UsageError: if one is unknown, or those of one name are no curve.
        WeightsError: if a file cannot be used.
    """
    named: dict[str, list[Stored]] = {}
    for text in dict.fromkeys(names):
        name, _, file = text.rpartition("=")
        named.setdefault(name or Path(file).stem, []).append(load(find(file)))
    found = []
    for name, each in named.items():
        trained_with = (str(s.training.get("settings", {}).get("distortion", "mse")) for s in each)
        found.append(LearnedCoder.of(name, [s.codec for s in each], trained_with))
    return found
