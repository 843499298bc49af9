"""JPEG 2000 at the depth that it has, by OpenJPEG: channel definitions, palettes and subsampled chroma are followed.

Pillow ignores channel definitions and palettes of some files, exchanges colours at odd sides, and brings colour down
to 8 bits; hence this file.

Source: ISO/IEC 15444-1, annexes A (codestream) and I (boxes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
import numpy as np

from pim.errors import InputError
from pim.images.boxes import walk
from pim.images.raster import ColourTags, Raster, Space, check_frame, check_size, from_array, left_out, unmultiplied

_CODESTREAM = b"\xff\x4f\xff\x51"
_COLOUR, _OPACITY, _PREMULTIPLIED, _UNSPECIFIED = 0, 1, 2, 65535  # channel types
_ENUMERATED, _RESTRICTED_PROFILE, _ANY_PROFILE, _CODE_POINTS = 1, 2, 3, 5  # methods of describing colours
_NO_MATRIX = (0, 2)  # code points: RGB, not stated
_SPACES = {12: "CMYK", 16: "sRGB", 17: "gray", 18: "sYCC"}  # enumerated colour spaces
_MOST_BITS = 16


@dataclass(frozen=True, slots=True)
class _Facts:
    width: int
    height: int
    depth: int  # bits per sample, those of the palette if there is one
    signed: bool
    colour_space: int | None  # as enumerated
    types: tuple[int, ...] | None  # of the channels, in the order of the file
    icc: bytes | None
    cicp: tuple[int, int] | None  # colour primaries and transfer function, code points of ITU-T H.273
    method: int  # where the file says by which method its colours are described; 0 if it does not


def read(stream: BinaryIO, max_pixels: int, frame: int | None = None) -> Raster:
    """Decode a JPEG 2000, in boxes or as a bare codestream; only frame 0 exists.

    Raises:
        InputError: if it is too large, damaged, cut short, or of a kind that cannot be read.
    """
    check_frame(frame, 1)
    stream.seek(0)
    content = stream.read()
    facts = _scan(content)
    check_size(facts.width, facts.height, max_pixels)
    if facts.depth > _MOST_BITS:
        raise InputError(f"holds {facts.depth}-bit samples; up to {_MOST_BITS} bits can be read")
    if facts.colour_space is not None and facts.colour_space not in _SPACES:
        known = ", ".join(_SPACES.values())
        raise InputError(f"has the JPEG 2000 colour space {facts.colour_space}, which cannot be read; {known} can")
    if facts.icc is not None:  # restricted profiles would be followed here too, at 8 bits, and thus twice
        content = content[: facts.method] + bytes([_ANY_PROFILE]) + content[facts.method + 1 :]
    samples, depth = imagecodecs.jpeg2k_decode(content, verbose=0), facts.depth
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.shape[:2] != (facts.height, facts.width):
        raise InputError("is a JPEG 2000 whose channels have different sizes, which cannot be read")
    if facts.signed:
        samples = (samples.astype(np.int32) + (1 << depth - 1)).astype(np.uint16)
    space, types = _meaning(facts, samples.shape[-1])
    alpha = next((kind for kind in types if kind in (_OPACITY, _PREMULTIPLIED)), None)
    colours = [i for i, kind in enumerate(types) if kind == _COLOUR]
    kept = [*colours, *(i for i, kind in enumerate(types) if kind == alpha)][: len(colours) + (alpha is not None)]
    samples, peak = samples[..., kept], (1 << depth) - 1
    if alpha == _PREMULTIPLIED:
        samples = unmultiplied(samples, peak)
    return Raster(
        format="JPEG2000",
        mode={"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}[space] + "A" * (alpha is not None) + f";{depth}" * (depth > 8),
        bit_depth=depth,
        width=facts.width,
        height=facts.height,
        space=space,
        alpha=alpha is not None,
        peak=peak,
        block=from_array(samples),
        tags=ColourTags(icc=facts.icc, cicp=facts.cicp),
        notes=left_out(len(types) - len(kept)),
    )


def _meaning(facts: _Facts, channels: int) -> tuple[Space, tuple[int, ...]]:
    """The space of the colours, and what each decoded channel is; OpenJPEG has put the colours first."""
    types = facts.types if facts.types is not None and len(facts.types) == channels else None
    if types is not None and len(types) - types.count(_COLOUR) > 1 and sorted(types) != list(types):
        raise InputError("is a JPEG 2000 with several channels beside its colours, whose order is not known")
    types = None if types is None else tuple(sorted(types))
    if types is None:  # not said: a channel more than the colours need is taken as opacity
        colours = 4 if facts.colour_space == 12 else 3 if channels >= 3 else 1
        types = (_COLOUR,) * colours + (_OPACITY,) * (channels > colours) + (_UNSPECIFIED,) * (channels - colours - 1)
    spaces: dict[int, Space] = {1: "GRAY", 3: "RGB", 4: "CMYK"}
    number = types.count(_COLOUR)
    if number not in spaces:
        raise InputError(f"is a JPEG 2000 of {number} colour channels; 1, 3 and 4 can be read")
    return spaces[number], types


def _scan(content: bytes) -> _Facts:
    """What the boxes and the header of the codestream say."""
    colour_space = types = icc = palette = cicp = None
    stream = method = 0
    for kind, start, end in walk(content, 0, len(content)):
        if kind == b"colr" and not method and end - start >= 7:  # the first is the one to follow
            method = start
            if content[start] == _ENUMERATED:
                (colour_space,) = struct.unpack_from(">I", content, start + 3)
            elif content[start] in (_RESTRICTED_PROFILE, _ANY_PROFILE):
                icc = content[start + 3 : end]
            elif content[start] == _CODE_POINTS:
                primaries, transfer, matrix = struct.unpack_from(">HHH", content, start + 3)
                if matrix not in _NO_MATRIX:
                    raise InputError(f"is a JPEG 2000 of luma and chroma by matrix {matrix}, which cannot be read")
                cicp = (primaries, transfer)
        elif kind == b"cdef" and types is None and end - start >= 2:
            (count,) = struct.unpack_from(">H", content, start)
            count = min(count, (end - start - 2) // 6)
            types = tuple(struct.unpack_from(">H", content, start + 4 + 6 * i)[0] for i in range(count))
        elif kind == b"pclr" and end - start >= 3:
            palette = content[start + 3 : start + 3 + content[start + 2]]
        elif kind == b"jp2c":
            stream = start
            break
    if content[stream : stream + 4] != _CODESTREAM or len(content) < stream + 45:
        raise InputError("is a JPEG 2000 that is cut short: it has no picture")
    right, bottom, left, top = struct.unpack_from(">4I", content, stream + 8)
    (components,) = struct.unpack_from(">H", content, stream + 40)
    sizes = content[stream + 42 : stream + 42 + 3 * components]
    bits = palette or sizes[::3]
    across, down = min(sizes[1::3]), min(sizes[2::3])
    if across < 1 or down < 1 or len(set(bits)) > 1:
        raise InputError("is a JPEG 2000 whose channels differ in depth, which cannot be read")
    width, height = -(-right // across) - -(-left // across), -(-bottom // down) - -(-top // down)
    signed = bool(bits[0] & 0x80)
    return _Facts(width, height, 1 + (bits[0] & 0x7F), signed, colour_space, types, icc, cicp, method)
