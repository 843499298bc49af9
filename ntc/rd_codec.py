"""A codec of ours among the codecs whose files are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
    """A learned codec at several qualities, or at its only one."""

    name: str
    codec: Codec  # in evaluation mode

    @property
    def settings(self) -> Sequence[str]:
        """Qualities as they stand in files, 0 to 255, evenly spread; "0" alone for codecs of one rate."""
        if not self.codec.config.conditioned:
            return ("0",)
        return tuple(str(round(i * BEST_QUALITY / (SETTINGS - 1))) for i in range(SETTINGS))

    @property
    def identity(self) -> dict[str, object]:
        """The weights that decode, those that encode, and the version of the files."""
        encoder = hashlib.sha256()
        for name, tensor in sorted(self.codec.state_dict().items()):
            encoder.update(name.encode() + tensor.cpu().numpy().tobytes())
        return {"codec": (self.codec.id or b"").hex(), "weights": encoder.hexdigest(), "version": VERSION}

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """The file of a picture, and what its decoder makes of that."""
        quality = int(setting) if self.codec.config.conditioned else None
        data = compress(self.codec, as_tensor(picture), quality)
        return data, to_8_bit(decompress(self.codec, data))


def coders(names: Sequence[str]) -> list[LearnedCoder]:
    """The codecs of these names: those that ship, or files.

    Raises:
        UsageError: if one is unknown, or two are called the same.
        WeightsError: if a file cannot be used.
    """
    made = [LearnedCoder(Path(name).stem, load(find(name)).codec) for name in dict.fromkeys(names)]
    called = [coder.name for coder in made]
    if repeated := sorted({name for name in called if called.count(name) > 1}):
        raise UsageError(f"two codecs are called {repeated[0]!r}; rename one file")
    return made
