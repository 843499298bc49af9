"""Tables in MATLAB files of level 5 (versions 5 to 7): numbers, texts, and cells of them.

SciPy reads these too, but its parser can take the whole process down when a file is damaged. This one
reads what rating tables need and checks every length before it believes it.

Source: MAT-File Format, level 5 (The MathWorks).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.datasets.dataset import ManifestError

Value = NDArray[Any] | str | list["Value"] | None

HEADER = 128
LARGEST = 64 << 20  # bytes, also after decompression
DEEPEST = 4  # cells inside cells

_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR, _NUMBERS = 1, 4, range(6, 16)


class _Damaged(ValueError):
    """The file contradicts itself."""


def read_mat(path: Path) -> dict[str, Value]:
    """The variables of a MATLAB file.

    Args:
        path: The file.

    Returns:
        By name: numbers as arrays of their shape, texts, lists for cells in column order, None for
        anything else.

    Raises:
        ManifestError: if it cannot be read, is damaged or of another version.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise _Damaged(f"it has more than {LARGEST >> 20} MiB")
        content = path.read_bytes()
        if len(content) < HEADER or content[126:128] not in (b"IM", b"MI"):
            raise _Damaged("it does not begin as one of level 5")
        order = "<" if content[126:128] == b"IM" else ">"
        return dict(_variables(memoryview(content)[HEADER:], order))
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
    except (_Damaged, struct.error, zlib.error, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read as a MATLAB file: {error}") from error


@dataclass(frozen=True)
class _Element:
    kind: int
    data: memoryview


def _variables(content: memoryview, order: str) -> Iterator[tuple[str, Value]]:
    for element in _elements(content, order):
        if element.kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(element.data, LARGEST)
            if not inflater.eof:
                raise _Damaged(f"a variable is cut off, or has more than {LARGEST >> 20} MiB")
            yield from _variables(memoryview(plain), order)
        elif element.kind == _MATRIX:
            yield _matrix(element.data, order, depth=0)


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """The elements that follow each other, each a type, a length, data, and padding to 8 bytes."""
    at = 0
    while at < len(content):
        (first,) = struct.unpack_from(f"{order}I", content, at)
        if first >> 16:  # up to four bytes fit into the tag itself
            kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
            if size > 4:
                raise _Damaged(f"a short element claims {size} bytes")
        else:
            kind = first
            (size,) = struct.unpack_from(f"{order}I", content, at + 4)
            start, end = at + 8, at + 8 + size
            end += 0 if kind == _COMPRESSED else -size % 8
        if start + size > len(content):
            raise _Damaged(f"an element claims {size} bytes, {max(len(content) - start, 0)} are left")
        yield _Element(kind, content[start : start + size])
        at = end


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Value]:
    """Name and value of one variable or cell."""
    if depth > DEEPEST:
        raise _Damaged(f"cells lie more than {DEEPEST} deep in each other")
    if not len(data):
        return "", np.zeros((0, 0))
    parts = list(_elements(data, order))
    if len(parts) < 3:
        raise _Damaged("a variable has no flags, size and name")
    flags, sizes, name = parts[:3]
    kind = struct.unpack_from(f"{order}I", flags.data)[0] & 0xFF
    called = bytes(name.data).decode("latin-1")
    shape = tuple(int(side) for side in np.frombuffer(_whole(sizes.data, 4), f"{order}i4"))
    if kind == _CELL:
        return called, [_matrix(part.data, order, depth + 1)[1] for part in parts[3:]]
    if kind == _CHAR and len(parts) > 3:
        return called, _text(parts[3], order)
    if kind in _NUMBERS and len(parts) > 3:
        return called, _numbers(parts[3], shape, order)
    return called, "" if kind == _CHAR else None


def _numbers(element: _Element, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if element.kind not in _DTYPES:
        raise _Damaged(f"numbers have the unknown type {element.kind}")
    dtype = np.dtype(f"{order}{_DTYPES[element.kind]}")
    values = np.frombuffer(_whole(element.data, dtype.itemsize), dtype)
    count = 1
    for side in shape:
        count *= side
    if min(shape, default=0) < 0 or count != len(values):
        raise _Damaged(f"{len(values)} numbers do not make a table of {' x '.join(map(str, shape))}")
    return values.reshape(shape, order="F")


def _text(element: _Element, order: str) -> str:
    if element.kind not in _ENCODINGS:
        raise _Damaged(f"a text has the unknown type {element.kind}")
    encoding = _ENCODINGS[element.kind]
    ending = {"<": "-le", ">": "-be"}[order] if encoding in ("utf-16", "utf-32") else ""
    return bytes(element.data).decode(encoding + ending)


def _whole(data: memoryview, size: int) -> memoryview:
    """The data, if it is made of items of this size.

    Raises:
        _Damaged: if not.
    """
    if len(data) % size:
        raise _Damaged(f"{len(data)} bytes are no items of {size}")
    return data
