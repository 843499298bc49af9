"""The boxes of ISO files, and what they say of the main picture of an AVIF; Pillow decodes it, and tells only its ICC.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (items and their properties), 23000-22 (AVIF), AV1-ISOBMFF 2.3 (av1C).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pim.errors import InputError
from pim.images.raster import HDR

_FOLDERS = {b"meta": 4, b"iprp": 0, b"jp2h": 0}  # boxes that hold boxes, after so many bytes
_TRACK = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_SAMPLE_ENTRY = 78  # bytes of a picture's sample entry before its boxes


@dataclass(frozen=True, slots=True)
class MainPicture:
    """Facts of the primary item, or of the first track of a sequence; what the file does not say keeps its default."""

    depth: int = 8  # bits per sample
    cicp: tuple[int, int] | None = None  # colour primaries and transfer function
    notes: tuple[str, ...] = field(default=())


def scan_avif(content: bytes) -> MainPicture:
    """Find depth and colour tags of the main picture of an AVIF; raises InputError if it is to be cropped."""
    inside = {kind: content[start:end] for kind, start, end in walk(content, 0, len(content))}
    sequence = content[8:12] == b"avis"
    properties = _of_track(content) if sequence else _of_item(inside)
    if b"clap" in dict(properties):
        raise InputError("is an AVIF with a clean aperture (clap), which cannot be read; save it cropped")
    depth, cicp, profile = 8, None, False
    for kind, value in properties:
        if kind == b"av1C" and len(value) >= 3 and value[2] & 0x40:
            depth = 12 if value[2] & 0x20 else 10
        elif kind == b"pixi" and len(value) >= 6:
            depth = max(depth, *value[5:])
        elif kind == b"colr" and value[:4] == b"nclx" and len(value) >= 8:
            cicp = struct.unpack_from(">HH", value, 4)
        elif kind == b"colr" and value[:4] in (b"prof", b"rICC"):
            profile = True
    gain_map = b"tmap" in inside.get(b"iinf", b"")
    notes = ("the gain map (HDR) was ignored; this is the main picture",) if gain_map else ()
    if profile and (cicp is None or cicp[1] not in HDR):
        return MainPicture(depth, None, notes)  # a profile goes before code points
    return MainPicture(depth, cicp or _in_stream(content), notes)


def walk(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
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
            yield from walk(content, inside + _FOLDERS[kind], stop)
        start = stop


def _of_item(inside: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The properties of the primary item, in their order."""
    known = inside.get(b"ipco", b"")
    every = [(kind, known[start:end]) for kind, start, end in walk(known, 0, len(known))]
    try:
        primary = _number(inside[b"pitm"], 4, wide=inside[b"pitm"][0] > 0)
        return [every[index - 1] for index in _associated(inside[b"ipma"], primary) if 0 < index <= len(every)]
    except (KeyError, IndexError, struct.error):  # the decoder will say what is wrong with it
        return []


def _associated(table: bytes, item: int) -> list[int]:
    """Which properties, counted from 1, belong to an item."""
    wide_items, wide_indices = table[0] > 0, bool(table[3] & 1)
    (entries,) = struct.unpack_from(">I", table, 4)
    at = 8
    for _ in range(entries):
        found = _number(table, at, wide_items)
        at += 4 if wide_items else 2
        count, at = table[at], at + 1
        step = 2 if wide_indices else 1
        if found == item:
            mask = 0x7FFF if wide_indices else 0x7F
            return [int.from_bytes(table[i : i + step], "big") & mask for i in range(at, at + count * step, step)]
        at += count * step
    return []


def _number(table: bytes, at: int, wide: bool) -> int:
    return int(struct.unpack_from(">I" if wide else ">H", table, at)[0])


def _of_track(content: bytes) -> list[tuple[bytes, bytes]]:
    """The boxes of the first sample entry of the first track."""
    start, end = 0, len(content)
    for kind in _TRACK:
        start, end = next(((s, e) for k, s, e in walk(content, start, end) if k == kind), (0, 0))
    for _, entry, stop in walk(content, start + 8, end):
        return [(k, content[s:e]) for k, s, e in walk(content, entry + _SAMPLE_ENTRY, stop)]
    return []


def _in_stream(content: bytes) -> tuple[int, int] | None:
    """The colour tags inside the coded picture, which hold where no box says otherwise."""
    import av

    try:
        with av.open(io.BytesIO(content)) as container:
            codec = container.streams.video[0].codec_context
            return codec.color_primaries, codec.color_trc
    except (av.FFmpegError, IndexError, ValueError):
        return None
