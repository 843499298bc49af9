"""Packed crops of frame pairs: the whole of what training reads; needs nothing but NumPy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pim.core.files import written_whole
from pim.errors import DataError, UsageError

ARRAYS = ("pairs", "source", "frame", "gap", "held_out")  # of `Crops`; all but the last have a row for every crop


@dataclass(frozen=True, slots=True)
class CropSettings:
    """How crops are taken from a source."""

    size: int = 64  # side of a crop, pixels
    per_source: int = 160  # crops wanted from each source
    largest_gap: int = 2  # frames between the two of a pair: 1 .. largest_gap, equally likely
    largest_reduction: float = 4.0  # a window of size * factor is reduced to size; factor log-uniform from 1
    cut: float = 0.25  # mean absolute luma difference (of 1) above which a pair lies across a cut
    still: float = 0.0008  # and below which it shows nothing moving
    flat: float = 0.01  # deviation of luma below which a crop shows nothing
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.size < 16 or self.per_source < 1 or self.largest_gap < 1 or self.largest_reduction < 1:
            raise UsageError(
                "crops need size >= 16, per_source >= 1, largest_gap >= 1 and largest_reduction >= 1; got "
                f"{self.size}, {self.per_source}, {self.largest_gap} and {self.largest_reduction}"
            )


@dataclass(frozen=True)
class Crops:
    """Crops of frame pairs with where they come from."""

    pairs: NDArray[np.uint8]  # (N, 2, 3, size, size), sRGB
    source: NDArray[np.int32]  # (N,), index into names
    frame: NDArray[np.int32]  # (N,), t
    gap: NDArray[np.int32]  # (N,), k
    names: tuple[str, ...]  # of the sources
    held_out: NDArray[np.bool_]  # per source: only for validation
    settings: CropSettings

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, held_out: bool) -> Crops:
        """Only the crops of sources that are held out, or only the others."""
        keep = self.held_out[self.source] == held_out
        return replace(self, **{name: getattr(self, name)[keep] for name in ARRAYS[:-1]})

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels and origin; resumed training insists on the same crops."""
        digest = hashlib.sha256(json.dumps([asdict(self.settings), self.names], sort_keys=True).encode())
        for name in ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        return digest.hexdigest()


def save_crops(path: str | Path, crops: Crops) -> None:
    """Write all crops to one file, for a machine without videos or decoder.

    Raises:
        PimError: if it cannot be written.
    """
    with written_whole(path) as stream:
        settings = np.array(json.dumps(asdict(crops.settings)))
        arrays = {name: getattr(crops, name) for name in ARRAYS}
        np.savez(stream, names=np.array(crops.names), settings=settings, **arrays)


def load_crops(path: str | Path) -> Crops:
    """Read a file of `save_crops`.

    Raises:
        DataError: if it cannot be read or is not such a file.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as z:
            settings = CropSettings(**json.loads(str(z["settings"])))
            names = tuple(str(name) for name in z["names"])
            crops = Crops(names=names, settings=settings, **{name: z[name] for name in ARRAYS})
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is not a file of packed crops ({error}); `pim train --pack FILE` makes one") from error
    if crops.pairs.dtype != np.uint8 or crops.pairs.ndim != 5 or crops.pairs.shape[1:3] != (2, 3):
        raise DataError(f"{path}: pairs must be uint8 (N, 2, 3, size, size); got {crops.pairs.shape}")
    return crops
