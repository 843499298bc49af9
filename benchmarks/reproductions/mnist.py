"""MNIST: 60,000 training and 10,000 test pictures of handwritten digits, in four idx files, gzipped or not.

Source: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition
(Proceedings of the IEEE 86, 1998), which also describes the idx format.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pim.errors import DataError

SIDE, CLASSES = 28, 10
STEMS = {"train": "train", "test": "t10k"}  # what the files of a part begin with
COUNTS = {"train": 60_000, "test": 10_000}
_IMAGES, _LABELS = 2051, 2049  # magic numbers: unsigned bytes in 3 dimensions and in 1


@dataclass(frozen=True)
class Digits:
    """Pictures with what they show."""

    images: NDArray[np.uint8]  # (N, 28, 28), 0 is background
    labels: NDArray[np.uint8]  # (N,), 0..9

    def __len__(self) -> int:
        return len(self.labels)


def read(folder: Path, part: Literal["train", "test"]) -> Digits:
    """One part of the data set, whole.

    Args:
        folder: Where the four files lie.
        part: Which of the two.

    Raises:
        DataError: if a file is missing or damaged, or does not hold what its name says.
    """
    stem, count = STEMS[part], COUNTS[part]
    images = _read(folder, f"{stem}-images-idx3-ubyte", _IMAGES, (count, SIDE, SIDE))
    labels = _read(folder, f"{stem}-labels-idx1-ubyte", _LABELS, (count,))
    if labels.max() >= CLASSES:
        raise DataError(f"{folder}: the labels of the {part} digits go up to {labels.max()}, expected 0 to 9")
    return Digits(images, labels)


def _read(folder: Path, name: str, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of an idx file, with or without .gz at the end of its name."""
    found = next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)
    if found is None:
        raise DataError(f"{folder} lacks {name}.gz; is this the folder of the MNIST files?")
    size = int(np.prod(shape))
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as stream:
            header = _integers(stream, 1 + len(shape))
            if header != (magic, *shape):
                raise DataError(f"{found} begins with {header}, expected {(magic, *shape)}; is it another data set?")
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {found}: {error}") from error
    if len(content) != size:
        raise DataError(f"{found} holds {len(content)} values or more, expected {size}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _integers(stream: BinaryIO | gzip.GzipFile, count: int) -> tuple[int, ...]:
    return tuple(int.from_bytes(stream.read(4), "big") for _ in range(count))
