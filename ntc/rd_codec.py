"""A codec of ours among the codecs whose files are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ntc.coding import compress, decompress, to_8_bit
from ntc.container import VERSION
from ntc.models.codec import BEST_QUALITY, Codec
from ntc.rd import Picture, as_tensor
from ntc.store import find, load
from pim.errors import UsageError

SETTINGS = 9  # qualities that a curve consists of


@dataclass(frozen=True)
class LearnedCoder:
    """A learned codec at several qualities, or several for one rate each as one curve."""

    name: str
    codecs: Mapping[str, tuple[Codec, int | None]]  # by setting: a codec in evaluation mode, and its quality

    @classmethod
    def of(cls, name: str, codecs: Sequence[Codec]) -> LearnedCoder:
        """One codec at evenly spread qualities from 0 to 255, as they stand in files, or codecs by their lambda.

        Raises:
            UsageError: if these codecs are no curve: one for several rates beside others, or two of one lambda.
        """
        if any(codec.config.conditioned for codec in codecs):
            if len(codecs) > 1:
                raise UsageError(f"{name}: a codec for several rates is a curve by itself; give it another name")
            qualities = [round(i * BEST_QUALITY / (SETTINGS - 1)) for i in range(SETTINGS)]
            return cls(name, {str(quality): (codecs[0], quality) for quality in qualities})
        by_lambda = sorted(codecs, key=lambda codec: codec.config.lambdas)
        found = {f"{codec.config.lambdas[0]:g}": (codec, None) for codec in by_lambda}
        if len(found) < len(codecs):
            raise UsageError(f"{name}: two codecs have one lambda; give them different names")
        return cls(name, found)

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
    named: dict[str, list[Codec]] = {}
    for text in dict.fromkeys(names):
        name, _, file = text.rpartition("=")
        named.setdefault(name or Path(file).stem, []).append(load(find(file)).codec)
    return [LearnedCoder.of(name, codecs) for name, codecs in named.items()]
