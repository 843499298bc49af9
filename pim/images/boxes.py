"""What Pillow does not say about AVIF and JPEG 2000 files: bit depth and colour tags.

Source: ISO/IEC 14496-12 (boxes), 23000-22 and 23008-12 (AVIF, HEIF), AV1-ISOBMFF 2.3 (av1C),
15444-1 annexes A and I (JPEG 2000).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pim.images.raster import ColourTags

_FOLDERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}  # boxes that hold boxes, after so many bytes
_CODESTREAM = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Boxes:
    """Facts found in the boxes of a file."""

    depth: int = 8  # bits per sample, the largest of all channels
    tags: ColourTags = ColourTags()


def scan_avif(content: bytes) -> Boxes:
    """Bit depth and colour tags of an AVIF; what cannot be found keeps its default."""
    depth, cicp = 8, None
    for kind, start, end in _walk(content, 0, len(content)):
        if kind == b"av1C" and end - start >= 3 and content[start + 2] & 0x40:
            depth = 12 if content[start + 2] & 0x20 else 10
        elif kind == b"colr" and content[start : start + 4] == b"nclx" and end - start >= 8:
            cicp = struct.unpack_from(">HH", content, start + 4)
    return Boxes(depth, ColourTags(cicp=cicp))


def scan_jpeg2000(content: bytes) -> Boxes:
    """Bit depth and colour profile of a JPEG 2000; what cannot be found keeps its default."""
    icc, stream = None, 0
    for kind, start, end in _walk(content, 0, len(content)):
        if kind == b"colr" and content[start : start + 1] == b"\x02":  # a restricted ICC profile
            icc = content[start + 3 : end]
        elif kind == b"jp2c":
            stream = start
    depth = 8
    if content[stream : stream + 4] == _CODESTREAM and len(content) >= stream + 42:
        (components,) = struct.unpack_from(">H", content, stream + 40)
        depth = max((1 + (bits & 0x7F) for bits in content[stream + 42 : stream + 42 + 3 * components : 3]), default=8)
    return Boxes(depth, ColourTags(icc=icc))


def _walk(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of every box, folders opened; stops where it makes no sense."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        inside = start + 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", content, inside)
            inside += 8
        stop = end if size == 0 else start + size
        if not inside <= stop <= end:
            return
        yield kind, inside, stop
        if kind in _FOLDERS:
            yield from _walk(content, inside + _FOLDERS[kind], stop)
        start = stop
