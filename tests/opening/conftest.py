"""Image files made byte by byte, by other means than the readers under test."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

Chunk = tuple[bytes, bytes]


def _of_chunks(*chunks: Chunk) -> bytes:
    """A PNG of any chunks, with their lengths and checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _paeth(a: int, b: int, c: int) -> int:
    distances = [abs(a + b - c - candidate) for candidate in (a, b, c)]
    return (a, b, c)[distances.index(min(distances))]


def _filtered(lines: Sequence[bytes], pixel: int, filters: Sequence[int]) -> bytes:
    """Each line with its filter, by the definition and byte by byte."""
    out, above = bytearray(), bytes(len(lines[0]))
    for y, line in enumerate(lines):
        kind = filters[y % len(filters)]
        out.append(kind)
        for x, value in enumerate(line):
            a = line[x - pixel] if x >= pixel else 0
            c = above[x - pixel] if x >= pixel else 0
            b = above[x]
            out.append((value - (0, a, b, (a + b) // 2, _paeth(a, b, c))[kind]) % 256)
        above = line
    return bytes(out)


def _png(
    samples: np.ndarray,
    *,
    before: Iterable[Chunk] = (),
    after: Iterable[Chunk] = (),
    filters: Sequence[int] = (4, 3, 2, 1, 0),
    interlaced: bool = False,
) -> bytes:
    """A PNG of (H, W, C) samples, uint8 or uint16; C is 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA."""
    height, width, channels = samples.shape
    stored = samples.astype(samples.dtype.newbyteorder(">"))
    steps = [(0, 0, 1, 1)]
    if interlaced:
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    body = b""
    for y, x, dy, dx in steps:
        part = stored[y::dy, x::dx]
        if part.size:
            body += _filtered([line.tobytes() for line in part], channels * samples.itemsize, filters)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    packed = zlib.compress(body)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, kind, 0, 0, interlaced)),
        *before,
        (b"IDAT", packed[:20]),
        (b"IDAT", packed[20:]),
        *after,
        (b"IEND", b""),
    ]
    return _of_chunks(*chunks)


def _profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2.4 display class (output class for CMYK)."""
    text = b"made by hand\x00"
    every = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\x00",
        b"wtpt": _xyz(0.9642, 1, 0.8249),
        **tags,
    }
    table, body, offset = struct.pack(">I", len(every)), b"", 132 + 12 * len(every)
    for name, content in every.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    size = offset + len(body)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"none", 0x02400000, kind, space, pcs, b"acsp")
    head += bytes(68 - len(head)) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return head + bytes(128 - len(head)) + table + body


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))


def _matrix_profile(gamma: float | Sequence[float], columns: Sequence[Sequence[float]]) -> bytes:
    """An RGB profile: a gamma or the numbers of a parametric curve, and XYZ under D50 of red, green and blue."""
    if isinstance(gamma, float):
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    else:
        kind = {1: 0, 3: 1, 4: 2, 5: 3, 7: 4}[len(gamma)]
        numbers = [round(number * 65536) for number in gamma]
        curve = b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *numbers)
    tags = {name + b"XYZ": _xyz(*xyz) for name, xyz in zip((b"r", b"g", b"b"), columns, strict=True)}
    return _profile(b"RGB ", tags | {name + b"TRC": curve for name in (b"r", b"g", b"b")})


def _table_profile(space: bytes, channels: int, corner: Callable[[tuple[int, ...]], Sequence[int]]) -> bytes:
    """A profile with a table from the corners of the device cube to 8-bit Lab."""
    ramp = bytes(range(256))
    corners = np.ndindex(*(2,) * channels)
    lut = b"mft1" + bytes(4) + bytes([channels, 3, 2, 0])
    lut += struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    lut += ramp * channels + bytes(v for index in corners for v in corner(index)) + ramp * 3
    return _profile(space, {b"A2B0": lut, b"A2B1": lut}, pcs=b"Lab ")


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """`png(samples, before=[(b"gAMA", ...)], interlaced=True)`: a PNG file written by the definition."""
    return _png


@pytest.fixture(scope="session")
def png_of_chunks() -> Callable[..., bytes]:
    """`png_of_chunks((b"IHDR", ...), (b"IEND", b""))`: whatever these make."""
    return _of_chunks


@pytest.fixture(scope="session")
def profile_of() -> Callable[..., bytes]:
    """`profile_of(b"RGB ", {b"cicp": ...})`: an ICC profile with these tags."""
    return _profile


@pytest.fixture(scope="session")
def matrix_profile() -> Callable[..., bytes]:
    """`matrix_profile(2.2, [red, green, blue])`: an ICC profile of a curve and a matrix."""
    return _matrix_profile


@pytest.fixture(scope="session")
def gray_profile() -> Callable[[float], bytes]:
    """`gray_profile(1.8)`: an ICC profile of one curve."""
    return lambda gamma: _profile(
        b"GRAY", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)}
    )


@pytest.fixture(scope="session")
def table_profile() -> Callable[..., bytes]:
    """`table_profile(b"CMYK", 4, corner)`: an ICC profile of a table; `corner` gives 8-bit Lab of a corner."""
    return _table_profile
