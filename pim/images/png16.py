"""PNG: its header, its colour chunks, and a reader that keeps all 16 bits.

Pillow drops the low byte of 16-bit colour and does not report `cICP`; hence this file. Palettes and
depths below 8 bits are left to Pillow.

Source: Portable Network Graphics, W3C Recommendation, third edition.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.images.raster import (
    ColourTags,
    Raster,
    Samples,
    Space,
    check_frame,
    check_size,
    from_array,
    orientation_of,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"IHDR", b"acTL", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf", b"tRNS"}
_LARGEST_KEPT = 1 << 24  # bytes of one of these chunks, and of the profile inside
_PIECE = 1 << 20

_SPACES: dict[int, tuple[Space, bool]] = {0: ("GRAY", False), 2: ("RGB", False), 4: ("GRAY", True), 6: ("RGB", True)}
_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Everything but the pixels."""

    width: int
    height: int
    depth: int  # bits per sample
    colour_type: int  # 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha
    interlaced: bool
    frames: int
    orientation: int
    tags: ColourTags
    transparent: bytes | None  # the tRNS chunk
    data: tuple[tuple[int, int], ...]  # offset and length of every piece of the compressed pixels
    notes: tuple[str, ...]


def scan(stream: BinaryIO, max_pixels: int) -> PngHeader:
    """Read all chunks of a PNG and check their sums, without decoding pixels.

    Args:
        stream: A seekable stream; it is read from its beginning.
        max_pixels: Largest allowed product of width and height.

    Raises:
        InputError: if the file is cut short, damaged, too large, or not for people to look at (HDR).
    """
    kept: dict[bytes, bytes] = {}
    data: list[tuple[int, int]] = []
    for kind, offset, length, content in _chunks(stream):
        if not kept and kind != b"IHDR":
            raise InputError("is a damaged PNG: it does not begin with IHDR")
        if kind == b"IDAT":
            data.append((offset, length))
        elif content is not None:
            kept.setdefault(kind, content)
            if kind == b"IHDR":
                width, height, *_ = _sized(kept, kind, ">IIBBBBB")
                check_size(width, height, max_pixels)
    if not data:
        raise InputError("is a damaged PNG: it has no pixels (no IDAT)")
    width, height, depth, colour_type, _, _, interlace = _sized(kept, b"IHDR", ">IIBBBBB")
    tags, notes = _colour_tags(kept)
    return PngHeader(
        width,
        height,
        depth,
        colour_type,
        interlaced=interlace == 1,
        frames=max(1, _sized(kept, b"acTL", ">II")[0]) if b"acTL" in kept else 1,
        orientation=orientation_of(kept.get(b"eXIf")),
        tags=tags,
        transparent=kept.get(b"tRNS"),
        data=tuple(data),
        notes=notes,
    )


def read(stream: BinaryIO, header: PngHeader, frame: int | None = None) -> Raster:
    """Decode an 8- or 16-bit PNG without palette, at full precision.

    Raises:
        InputError: if the pixels are damaged or cut short, or a frame other than the first is asked for.
    """
    if check_frame(frame, header.frames):
        raise InputError("is a 16-bit animation; only its frame 0 can be read")
    space, alpha = _SPACES[header.colour_type]
    samples = decode(stream, header)
    peak = (1 << header.depth) - 1
    if header.transparent is not None and not alpha:
        samples, alpha = _with_alpha(samples, header.transparent, peak), True
    return Raster(
        format="PNG",
        mode=_MODES[header.colour_type] + (";16" if header.depth == 16 else ""),
        bit_depth=header.depth,
        width=header.width,
        height=header.height,
        space=space,
        alpha=alpha,
        peak=peak,
        block=from_array(samples),
        orientation=header.orientation,
        frames=header.frames,
        tags=header.tags,
        notes=header.notes,
    )


def decode(stream: BinaryIO, header: PngHeader) -> Samples:
    """The samples of an 8- or 16-bit PNG without palette, (H, W, C) as stored, uint8 or uint16.

    Raises:
        InputError: if they are damaged or cut short.
    """
    if header.depth not in (8, 16) or header.colour_type not in _SAMPLES:
        raise InputError(f"is a damaged PNG: colour type {header.colour_type} at {header.depth} bits does not exist")
    channels = _SAMPLES[header.colour_type]
    pixel = channels * header.depth // 8
    passes = _passes(header)
    content = _inflate(stream, header.data, sum(height * (1 + width * pixel) for _, width, height in passes))
    dtype = np.dtype(">u2" if header.depth == 16 else "u1")
    samples = np.empty((header.height, header.width, channels), dtype.newbyteorder("="))
    start = 0
    for (rows, columns), width, height in passes:
        stop = start + height * (1 + width * pixel)
        lines = np.frombuffer(content, np.uint8)[start:stop].reshape(height, 1 + width * pixel)
        samples[rows, columns] = unfilter(lines, pixel).view(dtype)
        start = stop
    return samples


def unfilter(lines: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """Undo the filters of one pass.

    A pixel depends on its left, upper and upper left neighbours, so all pixels of one diagonal are
    free of each other and are done at once.

    Args:
        lines: (H, 1 + W * pixel): the filter of each line, then its bytes.
        pixel: Bytes per pixel.

    Returns:
        (H, W, pixel).

    Raises:
        InputError: if a line names a filter that does not exist.
    """
    height, width = len(lines), (lines.shape[1] - 1) // pixel
    filters = lines[:, :1]
    if filters.max() > 4:
        raise InputError(f"is a damaged PNG: there is no filter {filters.max()}")
    is_sub, is_up, is_average, is_paeth = (filters == kind for kind in (1, 2, 3, 4))
    padded = np.zeros((height + 1, width + 1, pixel), np.uint8)  # zeros above and to the left
    padded[1:, 1:] = lines[:, 1:].reshape(height, width, pixel)
    flat = padded.reshape(-1, pixel)
    for step in range(height + width - 1):
        top, bottom = max(0, step - width + 1), min(height, step + 1)
        rows = slice(top, bottom)
        first = (top + 1) * (width + 1) + (step - top + 1)  # going one down and one left adds `width`
        stop = first + (bottom - top - 1) * width + 1
        left = flat[first - 1 : stop - 1 : width].astype(np.int16)
        up = flat[first - width - 1 : stop - width - 1 : width].astype(np.int16)
        corner = flat[first - width - 2 : stop - width - 2 : width].astype(np.int16)
        guess = np.where(is_paeth[rows], _paeth(left, up, corner), 0)
        guess = np.where(is_average[rows], (left + up) >> 1, guess)
        guess = np.where(is_up[rows], up, guess)
        guess = np.where(is_sub[rows], left, guess)
        flat[first:stop:width] += guess.astype(np.uint8)
    return np.ascontiguousarray(padded[1:, 1:])


def _paeth(left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Whichever of the three is nearest to left + up - corner; ties in this order."""
    to_left, to_up = abs(up - corner), abs(left - corner)
    to_corner = abs(left + up - 2 * corner)
    nearer: NDArray[np.int16] = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearer)


def _passes(header: PngHeader) -> list[tuple[tuple[slice, slice], int, int]]:
    """Where the pixels of each pass go, and its width and height; empty passes are left out."""
    if not header.interlaced:
        return [((slice(None), slice(None)), header.width, header.height)]
    sizes = [
        ((slice(y, None, dy), slice(x, None, dx)), -(-(header.width - x) // dx), -(-(header.height - y) // dy))
        for x, y, dx, dy in _ADAM7
    ]
    return [(place, width, height) for place, width, height in sizes if width > 0 and height > 0]


def _inflate(stream: BinaryIO, pieces: tuple[tuple[int, int], ...], size: int) -> bytes:
    """Exactly `size` bytes of decompressed data; never more is made."""
    inflater = zlib.decompressobj()
    content = bytearray()
    for offset, length in pieces:
        stream.seek(offset)
        content += inflater.decompress(stream.read(length), size + 1 - len(content))
        if len(content) > size:
            raise InputError("is a damaged PNG: it has more pixels than its header says")
    if len(content) < size or not inflater.eof:
        raise InputError("is a damaged PNG: its pixels are cut short")
    return bytes(content)


def _with_alpha(samples: Samples, transparent: bytes, peak: int) -> Samples:
    """Append alpha: 0 where a pixel has the one transparent colour, else opaque."""
    channels = samples.shape[-1]
    if len(transparent) != 2 * channels:
        raise InputError(f"is a damaged PNG: tRNS has {len(transparent)} bytes, expected {2 * channels}")
    colour = struct.unpack(f">{channels}H", transparent)
    hidden = (samples == np.array(colour, np.uint16)).all(-1, keepdims=True)
    return np.concatenate([samples, np.where(hidden, 0, peak).astype(samples.dtype)], -1)


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int, bytes | None]]:
    """Kind, offset and length of every chunk, and the content of those that are kept; sums are checked."""
    end = stream.seek(0, os.SEEK_END)
    position = stream.seek(0) + len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8 or position + 12 + (length := int.from_bytes(head[:4], "big")) > end:
            raise InputError("is a PNG that is cut short")
        kind = head[4:]
        keep = kind in _KEPT
        if keep and length > _LARGEST_KEPT:
            raise InputError(f"is a damaged PNG: {_name(kind)} of {length} bytes")
        checksum, content = zlib.crc32(kind), b""
        for done in range(0, length, _PIECE):
            piece = stream.read(min(_PIECE, length - done))
            checksum = zlib.crc32(piece, checksum)
            if keep:
                content += piece
        if stream.read(4) != checksum.to_bytes(4, "big"):
            raise InputError(f"is a damaged PNG: wrong checksum of {_name(kind)}")
        yield kind, position + 8, length, content if keep else None
        position += 12 + length


def _name(kind: bytes) -> str:
    return f"chunk {kind.decode('ascii', 'backslashreplace')}"


def _sized(kept: dict[bytes, bytes], kind: bytes, layout: str) -> tuple[int, ...]:
    if len(kept[kind]) != struct.calcsize(layout):
        raise InputError(f"is a damaged PNG: {_name(kind)} has {len(kept[kind])} bytes")
    return struct.unpack(layout, kept[kind])


def _colour_tags(kept: dict[bytes, bytes]) -> tuple[ColourTags, tuple[str, ...]]:
    """The chunks that say what the numbers mean, and notes on those that had to be ignored."""
    cicp = None
    if b"cICP" in kept:
        primaries, transfer, matrix, full = _sized(kept, b"cICP", ">BBBB")
        if matrix != 0 or full != 1:
            raise InputError(f"has cICP {primaries}/{transfer}/{matrix}/{full}: only full-range RGB can be read")
        cicp = (primaries, transfer)
    icc = _profile(kept[b"iCCP"]) if b"iCCP" in kept else None
    broken = icc is None and b"iCCP" in kept
    gamma = _sized(kept, b"gAMA", ">I")[0] / 100_000 if b"gAMA" in kept else None
    corners = _sized(kept, b"cHRM", ">8I") if b"cHRM" in kept else None
    tags = ColourTags(
        cicp=cicp,
        icc=icc,
        srgb=b"sRGB" in kept,
        gamma=gamma,
        chromaticities=tuple(value / 100_000 for value in corners) if corners else None,
    )
    return tags, ("the colour profile (iCCP) is broken and was ignored",) if broken else ()


def _profile(chunk: bytes) -> bytes | None:
    """The profile inside an iCCP chunk, or None if it cannot be unpacked."""
    _, _, rest = chunk.partition(b"\x00")
    if rest[:1] != b"\x00":
        return None
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(rest[1:], _LARGEST_KEPT)
    except zlib.error:
        return None
    return profile if inflater.eof else None
