"""The file format of coded images, and its strict parser.

    PNTC              magic
    u8   version      1
    u8   flags        0; others are for later versions
    16 B id           of the codec: weights and tables that a decoder needs
    varint height     1 .. 65536
    varint width      1 .. 65536
    u8   quality      0 .. 255, for codecs of several rates; else 0
    varint words      length of the stream
    words * u32       the stream of the range coder
    u32  latents      CRC-32 of all symbols as int32
    u32  crc          CRC-32 of everything before

All numbers are little-endian; a varint has seven bits per byte, lowest first, in as few bytes as possible.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pim.errors import InputError

MAGIC, VERSION = b"PNTC", 1
LARGEST_SIDE = 1 << 16
MAX_PIXELS = 1 << 27
_HEAD = struct.Struct("<4sBB16s")
_TAIL = struct.Struct("<II")


@dataclass(frozen=True)
class Container:
    """One coded image."""

    codec: bytes  # 16 bytes
    height: int
    width: int
    quality: int
    stream: bytes  # whole words
    checksum: int  # of the symbols

    def to_bytes(self) -> bytes:
        """As it stands in a file."""
        head = _HEAD.pack(MAGIC, VERSION, 0, self.codec)
        sizes = _varint(self.height) + _varint(self.width) + bytes([self.quality]) + _varint(len(self.stream) // 4)
        body = head + sizes + self.stream + struct.pack("<I", self.checksum)
        return body + struct.pack("<I", zlib.crc32(body))


def codec_of(data: bytes) -> bytes:
    """The id of the codec that made a file.

    Raises:
        InputError: if it is no such file, of a later version, or cut short.
    """
    if data[:4] != MAGIC[: len(data[:4])] or not data:
        raise InputError("is no image coded by pim ntc: it does not begin with PNTC")
    if len(data) < _HEAD.size:
        raise InputError(_short(len(data)))
    _, version, flags, codec = _HEAD.unpack_from(data)
    if version != VERSION or flags:
        raise InputError(f"has version {version} with flags {flags}; this program reads version {VERSION}; update it")
    return bytes(codec)


def parse(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Read a file, unless its image has more than `max_pixels`; nothing is allocated that is larger than the file.

    Raises:
        InputError: if it is no such file, of a later version, cut short, damaged, or too large.
    """
    codec = codec_of(data)
    height, at = _read_varint(data, _HEAD.size)
    width, at = _read_varint(data, at)
    quality = data[at] if at < len(data) else 0
    words, at = _read_varint(data, at + 1)
    end = at + 4 * words
    if len(data) < end + _TAIL.size:
        raise InputError(_short(len(data)))
    if len(data) > end + _TAIL.size:
        raise InputError(f"is damaged: {len(data) - end - _TAIL.size} bytes follow its end")
    checksum, crc = _TAIL.unpack_from(data, end)
    if crc != zlib.crc32(data[:-4]):
        raise InputError("is damaged: its checksum is wrong; fetch or copy it again")
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise InputError(f"claims to show {width} x {height} pixels; sides of 1 to {LARGEST_SIDE} are possible")
    if height * width > max_pixels:
        raise InputError(f"shows {width} x {height} pixels, more than the limit of {max_pixels}; raise it to decode")
    return Container(codec, height, width, quality, data[at:end], checksum)


def _short(length: int) -> str:
    return f"is cut short: {length} bytes are less than its header promises; fetch or copy it again"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where the next thing stands."""
    value = 0
    for i in range(5):
        if at + i >= len(data):
            raise InputError(_short(len(data)))
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if i and not byte:
                break
            return value, at + i + 1
    raise InputError("is damaged: a length in its header is malformed")
