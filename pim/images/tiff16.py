"""TIFF at more than 8 bits: tifffile reads the directories, libtiff unpacks, nothing is rounded.

Pillow brings 16-bit colour down to 8 bits. Strips and tiles are put together here rather than by
tifffile because a picture with missing data must be refused, never filled with zeros, and because
LZW would need a further package.

Source: TIFF 6.0; predictor: section 14; extra samples: section 18.
"""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from pim.errors import InputError
from pim.images.raster import ColourTags, Raster, check_frame, check_size, from_array

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else remarks on odd files reach stderr

_WHITE_IS_0, _BLACK_IS_0, _RGB = 0, 1, 2
_UNSIGNED = 1
_NO_COMPRESSION, _SEPARATE_PLANES, _HORIZONTAL = 1, 2, 2
_PREMULTIPLIED, _ALPHA = 1, 2
_MOST_SAMPLES = 8  # per pixel
_KINDS = {2: "signed integers", 3: "floating-point numbers", 4: "of an undefined type", 5: "complex", 6: "complex"}


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """What decides how a page is read."""

    page: tifffile.TiffPage
    width: int
    height: int
    frame: int
    frames: int
    depth: int  # bits per sample, the largest of all channels
    wide: bool  # 16-bit gray or RGB, which `read` takes; anything else is for Pillow


def scan(stream: BinaryIO, max_pixels: int, frame: int | None = None) -> TiffHeader:
    """Read the directories of a TIFF.

    Args:
        stream: A seekable stream.
        max_pixels: Largest allowed product of width and height.
        frame: Page, counted from 0.

    Raises:
        InputError: if the page is too large, or holds something else than a picture of integers.
    """
    stream.seek(0)
    pages = tifffile.TiffFile(stream, name="").pages
    number = check_frame(frame, len(pages))
    page = pages[number]
    if not isinstance(page, tifffile.TiffPage):
        raise InputError(f"is a damaged TIFF: page {number} cannot be read")
    check_size(page.imagewidth, page.imagelength, max_pixels)
    depths = page.bitspersample if isinstance(page.bitspersample, tuple) else (page.bitspersample,)
    kinds = page.sampleformat if isinstance(page.sampleformat, tuple) else (page.sampleformat,)
    for kind in kinds:
        if kind != _UNSIGNED:
            raise InputError(
                f"holds {_KINDS.get(kind, 'samples of an unknown type')}, whose black and white are not defined; "
                "scale to [0, 1] and pass an array, or save with 8 or 16 bits"
            )
    if max(depths) > 16:
        raise InputError(f"holds {max(depths)}-bit samples; 8 and 16 bits can be read")
    wide = set(depths) == {16} and page.photometric in (_WHITE_IS_0, _BLACK_IS_0, _RGB)
    return TiffHeader(page, page.imagewidth, page.imagelength, number, len(pages), max(depths), wide)


def read(stream: BinaryIO, header: TiffHeader) -> Raster:
    """Decode a 16-bit gray or RGB page at full precision.

    Raises:
        InputError: if it is damaged, cut short, or uses a feature that cannot be read.
    """
    page = header.page
    gray = page.photometric != _RGB
    colours = 1 if gray else 3
    if not colours <= page.samplesperpixel <= _MOST_SAMPLES:
        raise InputError(f"has {page.samplesperpixel} samples per pixel; {colours} to {_MOST_SAMPLES} expected")
    if page.imagedepth != 1 or page.fillorder != 1:
        raise InputError("is a TIFF of volumes or of reversed bits, which cannot be read")
    samples = _assemble(stream, page)
    if page.photometric == _WHITE_IS_0:
        samples[..., 0] = 65535 - samples[..., 0]
    extra = int(page.extrasamples[0]) if page.extrasamples else 0
    alpha = extra in (_PREMULTIPLIED, _ALPHA) and page.samplesperpixel > colours
    samples = samples[..., : colours + alpha]
    if alpha and extra == _PREMULTIPLIED:
        samples = _unmultiplied(samples)
    orientation = page.tags.valueof(274, 1)
    return Raster(
        format="TIFF",
        mode=("L" if gray else "RGB") + ("A" if alpha else "") + ";16",
        bit_depth=16,
        width=header.width,
        height=header.height,
        space="GRAY" if gray else "RGB",
        alpha=alpha,
        peak=65535,
        block=from_array(samples),
        orientation=orientation if orientation in range(1, 9) else 1,
        frame=header.frame,
        frames=header.frames,
        tags=ColourTags(icc=page.iccprofile),
    )


def _assemble(stream: BinaryIO, page: tifffile.TiffPage) -> NDArray[np.uint16]:
    """All strips or tiles of a page, (H, W, samples per pixel)."""
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    planes = samples if page.planarconfig == _SEPARATE_PLANES else 1
    depth = samples // planes
    if page.is_tiled:
        across, down = page.tilewidth, page.tilelength
    else:
        across, down = width, min(page.rowsperstrip, height)
    if across < 1 or down < 1 or across * down > max(4 * width * height, 1 << 22):
        raise InputError(f"is a damaged TIFF: it has tiles of {across} x {down}")
    places = [
        (plane, top, left)
        for plane in range(planes)
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]
    if not len(places) == len(page.dataoffsets) == len(page.databytecounts):
        raise InputError(f"is a damaged TIFF: it has {len(page.dataoffsets)} strips or tiles, expected {len(places)}")
    picture = np.empty((height, width, samples), np.uint16)
    for (plane, top, left), offset, length in zip(places, page.dataoffsets, page.databytecounts, strict=True):
        rows = down if page.is_tiled else min(down, height - top)
        stream.seek(offset)
        content = _unpacked(stream.read(length), rows, across * depth * 2, int(page.compression))
        segment = np.frombuffer(content, page.parent.byteorder + "u2").reshape(rows, across, depth).astype(np.uint16)
        if page.predictor == _HORIZONTAL:
            segment = segment.cumsum(axis=1, dtype=np.uint16)
        elif page.predictor > _HORIZONTAL:
            raise InputError(f"uses the TIFF predictor {int(page.predictor)}, which cannot be read for integers")
        place = picture[top : top + down, left : left + across, plane * depth : (plane + 1) * depth]
        place[:] = segment[: place.shape[0], : place.shape[1]]
    return picture


def _unpacked(packed: bytes, rows: int, row: int, compression: int) -> bytes:
    """A strip or tile of `rows` rows of `row` bytes, with any compression that libtiff knows.

    libtiff is reached through Pillow: the strip becomes a gray 8-bit TIFF of its own, as wide as a row
    has bytes.
    """
    if compression == _NO_COMPRESSION:
        if len(packed) < rows * row:
            raise InputError("is a TIFF that is cut short")
        return packed[: rows * row]
    tags = {256: row, 257: rows, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(packed)}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
    start = 8 + len(packed)
    alone = struct.pack("<2sHI", b"II", 42, start) + packed + directory + bytes(4)
    try:
        return TiffImagePlugin.TiffImageFile(io.BytesIO(alone)).tobytes()
    except KeyError as error:
        raise InputError(f"uses the TIFF compression {compression}, which cannot be read") from error
    except OSError as error:
        raise InputError("is a damaged TIFF: a strip or tile cannot be unpacked") from error


def _unmultiplied(samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Colours divided by their alpha, which comes last."""
    alpha = samples[..., -1:].astype(np.uint32)
    colours = (samples[..., :-1].astype(np.uint32) * 65535 + alpha // 2) // np.maximum(alpha, 1)
    whole: NDArray[Any] = np.concatenate([np.minimum(colours, 65535), alpha], -1)
    return whole.astype(np.uint16)
