"""A codec of ours among the codecs whose files are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ntc.coding import compress, decompress, to_8_bit
from ntc.container import VERSION
from ntc.models.codec import BEST_QUALITY, Codec
from ntc.rd import Picture, as_tensor
from ntc.store import Stored, find, load
from pim.errors import UsageError

SETTINGS = 9  # qualities that a curve consists of


@dataclass(frozen=True)
class LearnedCoder:
    """A learned codec at several qualities, or several for one rate each as one curve."""

    name: str
    codecs: Mapping[str, tuple[Codec, int | None]]  # by setting: a codec in evaluation mode, and its quality
    trained_with: frozenset[str] = frozenset()  # distortions, as their files name them

    @classmethod
    def of(cls, name: str, codecs: Sequence[Codec], trained_with: Iterable[str] = ()) -> LearnedCoder:
        """One codec at evenly spread qualities from 0 to 255, as they stand in files, or codecs by their lambda.

        Args:
            name: Of the curve.
            codecs: In evaluation mode.
            trained_with: Distortions that they were trained to keep.

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
    return [LearnedCoder.of(name, [s.codec for s in each], map(_distortion, each)) for name, each in named.items()]


def _distortion(stored: Stored) -> str:
    return str(stored.training.get("settings", {}).get("distortion", "mse"))
