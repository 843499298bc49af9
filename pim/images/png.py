"""PNG at all depths: header and colour chunks are read here, pixels by libpng.

Pillow drops the low byte of 16-bit colour, fills missing rows with black and does not report `cICP`.

Source: Portable Network Graphics, W3C Recommendation, third edition.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
import numpy as np

from pim.errors import InputError
from pim.images.raster import (
    ColourTags,
    Raster,
    Samples,
    check_palette,
    check_size,
    from_array,
    orientation_of,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = {b"IHDR", b"acTL", b"fcTL", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf", b"PLTE", b"tRNS"}
_LARGEST_KEPT = 1 << 24  # bytes of one of these chunks, and of the profile inside
_PIECE = 1 << 20

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
_SAMPLES = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGB_ALPHA: 4}
_MODES = {_GRAY: "L", _RGB: "RGB", _PALETTE: "P", _GRAY_ALPHA: "LA", _RGB_ALPHA: "RGBA"}
_DEPTHS = {
    _GRAY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GRAY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Everything but the pixels."""

    width: int
    height: int
    depth: int  # bits per sample
    colour_type: int
    interlaced: bool
    frames: int
    orientation: int
    tags: ColourTags
    palette: bytes  # the PLTE chunk, and
    transparent: bytes  # the tRNS chunk; empty where there is none
    data: tuple[tuple[int, int], ...]  # offset and length of every piece of the compressed pixels
    notes: tuple[str, ...]


def scan(stream: BinaryIO, max_pixels: int) -> PngHeader:
    """Read all chunks of a PNG and check their sums, without decoding pixels.

    Raises:
        InputError: if the file is cut short, damaged, too large, or not for people to look at (HDR).
    """
    kept: dict[bytes, bytes] = {}
    beside = False
    data: list[tuple[int, int]] = []
    for kind, offset, length, content in _chunks(stream):
        if not kept and kind != b"IHDR":
            raise InputError("is a damaged PNG: it does not begin with IHDR")
        if kind == b"IDAT":
            beside = beside if data else b"fcTL" not in kept  # the picture is not the first frame of the animation
            data.append((offset, length))
        elif content is not None:
            kept.setdefault(kind, content)
            if kind == b"IHDR":
                width, height, *_ = _sized(kept, kind, ">IIBBBBB")
                check_size(width, height, max_pixels)
    if not data:
        raise InputError("is a damaged PNG: it has no pixels (no IDAT)")
    width, height, depth, colour_type, packing, filters, interlace = _sized(kept, b"IHDR", ">IIBBBBB")
    if depth not in _DEPTHS.get(colour_type, ()) or packing or filters or interlace > 1:
        raise InputError(
            f"is a PNG of colour type {colour_type} at {depth} bits, packing {packing}, filters {filters}, "
            f"interlacing {interlace}, which the PNG standard does not have"
        )
    tags, notes = _colour_tags(kept)
    frames = _sized(kept, b"acTL", ">II")[0] + beside if b"acTL" in kept else 1
    return PngHeader(
        width,
        height,
        depth,
        colour_type,
        interlaced=interlace == 1,
        frames=max(1, frames),
        orientation=orientation_of(kept.get(b"eXIf")),
        tags=tags,
        palette=kept.get(b"PLTE", b""),
        transparent=kept.get(b"tRNS", b""),
        data=tuple(data),
        notes=notes,
    )


def read(stream: BinaryIO, header: PngHeader) -> Raster:
    """Decode the first frame of a PNG at full precision.

    Raises:
        InputError: if the pixels are damaged or cut short, or lack a palette.
    """
    try:
        samples = imagecodecs.png_decode(_clean(stream, header))
    except (imagecodecs.PngError, zlib.error) as error:
        raise InputError("is a damaged PNG: its pixels cannot be unpacked") from error
    samples = samples.reshape(header.height, header.width, -1)
    palette = _palette(header, samples) if header.colour_type == _PALETTE else None
    channels = samples.shape[-1] if palette is None else palette.shape[-1]  # alpha also where tRNS names one colour

    def through_palette(rows: slice, columns: slice) -> Samples:
        assert palette is not None
        colours: Samples = palette[samples[rows, columns, 0]]
        return colours

    mode = "1" if (header.colour_type, header.depth) == (_GRAY, 1) else _MODES[header.colour_type]
    return Raster(
        format="PNG",
        mode=mode + ";16" * (header.depth == 16),
        bit_depth=header.depth,
        width=header.width,
        height=header.height,
        space="GRAY" if channels < 3 else "RGB",
        alpha=channels in (2, 4),
        peak=65535 if header.depth == 16 else 255,
        block=from_array(samples) if palette is None else through_palette,
        orientation=header.orientation,
        frames=header.frames,
        tags=header.tags,
        notes=header.notes,
    )


def _palette(header: PngHeader, indices: Samples) -> Samples:
    """The colours of the palette, (256, 3 or 4); brings gray as libpng made it back to the indices that it was."""
    colours = np.frombuffer(header.palette[: len(header.palette) // 3 * 3], np.uint8).reshape(-1, 3)
    if header.transparent:
        opacity = np.full((len(colours), 1), 255, np.uint8)
        stated = np.frombuffer(header.transparent, np.uint8)[: len(colours), None]
        opacity[: len(stated)] = stated
        colours = np.concatenate([colours, opacity], 1)
    step = 255 // ((1 << header.depth) - 1)
    check_palette(colours, (int(indices.min()) // step, int(indices.max()) // step))
    whole: Samples = colours[np.minimum(np.arange(256) // step, len(colours) - 1)]
    return whole


def _clean(stream: BinaryIO, header: PngHeader) -> bytes:
    """The same pixels in a PNG without anything that libpng could print a warning about; indices as gray."""
    bits = header.depth * _SAMPLES[header.colour_type]
    size = sum(height * (1 + (width * bits + 7) // 8) for width, height in _passes(header))
    inflater, content = zlib.decompressobj(), bytearray()
    for offset, length in header.data:
        stream.seek(offset)
        content += inflater.decompress(stream.read(length), size + 1 - len(content))
        if len(content) > size:
            break  # more than the picture needs, which every reader passes over
    if len(content) < size:
        raise InputError("is a damaged PNG: its pixels are cut short")
    colour_type = _GRAY if header.colour_type == _PALETTE else header.colour_type
    fields = (header.width, header.height, header.depth, colour_type, 0, 0, header.interlaced)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *fields))]
    if header.colour_type in (_GRAY, _RGB) and len(header.transparent) == 2 * _SAMPLES[colour_type]:
        chunks.append((b"tRNS", header.transparent))
    chunks += [(b"IDAT", zlib.compress(memoryview(content)[:size], 0)), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in chunks
    )


def _passes(header: PngHeader) -> list[tuple[int, int]]:
    """Width and height of each pass; empty passes are left out."""
    if not header.interlaced:
        return [(header.width, header.height)]
    sizes = [(-(-(header.width - x) // dx), -(-(header.height - y) // dy)) for x, y, dx, dy in _ADAM7]
    return [(width, height) for width, height in sizes if width > 0 and height > 0]


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
