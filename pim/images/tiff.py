"""TIFF of all depths: tifffile reads the directories and imagecodecs unpacks; nothing is rounded or filled in.

Strips and tiles are put together here rather than by tifffile, because a picture with missing data must be refused,
never filled with zeros.

Source: TIFF 6.0; extra samples: section 18; YCbCr: section 21.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from pim.errors import InputError
from pim.images.raster import (
    CHANNELS,
    ColourTags,
    Raster,
    Samples,
    Space,
    check_frame,
    check_palette,
    check_size,
    left_out,
    unmultiplied,
)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else remarks on odd files reach stderr

_SPACES: dict[int, tuple[Space, str]] = {
    PHOTOMETRIC.MINISWHITE: ("GRAY", "L"),
    PHOTOMETRIC.MINISBLACK: ("GRAY", "L"),
    PHOTOMETRIC.RGB: ("RGB", "RGB"),
    PHOTOMETRIC.PALETTE: ("RGB", "P"),
    PHOTOMETRIC.SEPARATED: ("CMYK", "CMYK"),
    PHOTOMETRIC.YCBCR: ("RGB", "YCbCr"),
    PHOTOMETRIC.CIELAB: ("LAB", "LAB"),
    PHOTOMETRIC.ICCLAB: ("LAB", "LAB"),
}
_UNSIGNED, _CMYK_INKS = 1, 1
_PREMULTIPLIED, _ALPHA = 1, 2
_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG)
_JPEG_END = b"\xff\xd9"
_NUMBERS = {2: "signed integers", 3: "floating-point numbers", 5: "complex integers", 6: "complex numbers"}
_PHOTOMETRIC, _INK_SET, _RAW_PHOTO = 262, 332, 50706  # tags


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the channels of a page mean."""

    space: Space
    mode: str
    depth: int  # bits per sample
    colours: int  # channels as stored: a palette has one
    alpha: int | None  # which channel is alpha
    premultiplied: bool


def read(stream: BinaryIO, max_pixels: int, frame: int | None = None) -> Raster:
    """Decode a page of a TIFF, counted from 0.

    Raises:
        InputError: if it is too large, damaged, cut short, or of a kind that cannot be read.
    """
    stream.seek(0)
    pages = tifffile.TiffFile(stream, name="").pages
    number = check_frame(frame, len(pages))
    if frame is None:  # a small copy that the file calls one may come first
        number = next(
            (i for i, each in enumerate(pages) if isinstance(each, tifffile.TiffPage) and not each.is_reduced), 0
        )
    page = pages[number]
    if not isinstance(page, tifffile.TiffPage):
        raise InputError(f"is a damaged TIFF: page {number} cannot be read")
    check_size(page.imagewidth, page.imagelength, max_pixels)
    layout = _layout(page)
    samples = _unpacked(stream, page, number)
    orientation = page.tags.valueof(274, 1)
    notes = [*left_out(samples.shape[-1] - layout.colours - (layout.alpha is not None))]
    palette = _palette(page, samples, notes) if layout.mode.startswith("P") else None
    peak = 255 if palette is not None else (1 << layout.depth) - 1

    def block(rows: slice, columns: slice) -> Samples:
        part = samples[rows, columns]
        colours = part[..., : layout.colours]
        if palette is not None:
            colours = palette[colours[..., 0]]
        elif page.photometric == PHOTOMETRIC.MINISWHITE:
            colours = peak - colours
        elif page.photometric == PHOTOMETRIC.ICCLAB:
            colours = colours ^ np.array([0, 128, 128], np.uint8)
        if layout.alpha is None:
            return colours
        alpha = part[..., layout.alpha, None]
        if palette is not None:
            alpha = alpha * 255 // ((1 << layout.depth) - 1)
        both = np.concatenate([colours, alpha], -1)
        return unmultiplied(both, peak) if layout.premultiplied else both

    return Raster(
        format="TIFF",
        mode=layout.mode,
        bit_depth=layout.depth,
        width=page.imagewidth,
        height=page.imagelength,
        space=layout.space,
        alpha=layout.alpha is not None,
        peak=peak,
        block=block,
        orientation=orientation if orientation in range(1, 9) else 1,
        frame=number,
        frames=len(pages),
        tags=ColourTags(icc=page.iccprofile),
        notes=tuple(notes),
    )


def _layout(page: tifffile.TiffPage) -> _Layout:
    """What the channels mean.

    Raises:
        InputError: by name, if they mean something that has no defined look or cannot be read.
    """
    if _RAW_PHOTO in page.tags:
        raise InputError("is a raw photo (DNG), which cannot be read: develop it to PNG or TIFF first")
    if _PHOTOMETRIC not in page.tags:
        raise InputError("is a TIFF that does not say what its numbers are (PhotometricInterpretation); save it anew")
    if page.photometric not in _SPACES:
        raise InputError(f"is a TIFF of {_called(page.photometric)}, which cannot be read; save it as RGB or gray")
    for kind in _each(page.sampleformat):
        if kind != _UNSIGNED:
            raise InputError(
                f"holds {_NUMBERS.get(kind, 'samples of no stated type')}, whose black and white are not defined; "
                "scale to [0, 1] and pass an array, or save with 8 or 16 bits"
            )
    depths = set(_each(page.bitspersample))
    depth, (space, mode) = max(depths), _SPACES[page.photometric]
    if depth > 16 or len(depths) > 1 or (depth != 8 and mode in ("LAB", "YCbCr")):
        bits = ", ".join(str(bits) for bits in sorted(depths))
        raise InputError(f"holds {bits}-bit samples of {mode}, which cannot be read; save it with 8 or 16 bits")
    if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise InputError(
            f"is a TIFF packed with {_called(page.compression)} ({int(page.compression)}), which cannot be read; "
            "save it with LZW, Deflate or no compression"
        )
    if page.predictor > 2 or (page.predictor == 2 and depth not in (8, 16)):
        raise InputError(f"uses the TIFF predictor {int(page.predictor)} on {depth} bits, which cannot be read")
    if page.imagedepth != 1:
        raise InputError("is a TIFF of volumes, which cannot be read; save it slice by slice")
    if space == "CMYK" and page.tags.valueof(_INK_SET, _CMYK_INKS) != _CMYK_INKS:
        raise InputError("is separated into other inks than CMYK, which cannot be read")
    colours = 1 if mode == "P" else CHANNELS[space]
    more = page.samplesperpixel - colours
    if more < 0:
        raise InputError(f"is a damaged TIFF: {mode} has {colours} channels, this has {page.samplesperpixel}")
    # Without a word on what the channels beyond the colours are, the first of them is taken as alpha.
    meanings = [int(kind) for kind in page.extrasamples][-more:] if page.extrasamples else [_ALPHA][:more]
    alpha = next((i for i, kind in enumerate(meanings) if more and kind in (_PREMULTIPLIED, _ALPHA)), None)
    premultiplied = alpha is not None and meanings[alpha] == _PREMULTIPLIED
    mode = "1" if depth == 1 and mode == "L" and alpha is None else mode + "A" * (alpha is not None)
    mode += f";{depth}" * (depth not in (1, 8))
    return _Layout(space, mode, depth, colours, None if alpha is None else colours + alpha, premultiplied)


def _palette(page: tifffile.TiffPage, samples: Samples, notes: list[str]) -> Samples:
    """The colours of a palette, (entries, 3), 8 bits."""
    if page.colormap is None:
        raise InputError("is a damaged TIFF: it has a palette picture and no palette")
    colours: Samples = page.colormap.reshape(3, -1).T
    if colours.max() < 256:
        notes.append("its palette ends at 255: taken as 8 bits, not as the 16 of the TIFF standard")
    else:
        colours = colours >> 8
    indices = samples[..., 0]
    check_palette(colours, (int(indices.min()), int(indices.max())))
    return colours.astype(np.uint8)


def _unpacked(stream: BinaryIO, page: tifffile.TiffPage, number: int) -> Samples:
    """All channels of a page, (H, W, samples per pixel)."""
    across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    if page.is_tiled and (
        across < 1 or down < 1 or across * down > max(4 * page.imagewidth * page.imagelength, 1 << 22)
    ):
        raise InputError(f"is a damaged TIFF: it has tiles of {across} x {down}")
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _JPEG:
        for _ in _packed(stream, page):  # that all is there
            pass
        stream.seek(0)
        samples = imagecodecs.tiff_decode(stream.read(), index=number)  # libtiff knows coefficients and subsampling
        return np.asarray(samples).reshape(*shape[:2], -1)[..., :3]
    picture: Samples = np.empty(shape, np.uint8 if max(_each(page.bitspersample)) <= 8 else np.uint16)
    for index, content in enumerate(_packed(stream, page)):
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEG else {}
        try:
            segment, (plane, _, top, left, _), _ = page.decode(content, index, **tables)
        except Exception as error:  # every codec raises its own
            raise InputError("is a TIFF of which a strip or tile cannot be unpacked; save it anew") from error
        assert segment is not None  # as its content is not
        if segment.dtype.kind not in "bu" or segment.itemsize > picture.itemsize:
            raise InputError("is a TIFF of which a strip or tile has more bits than the file says; save it anew")
        place = picture[top : top + segment.shape[1], left : left + segment.shape[2]]
        place = place[..., plane : plane + 1] if page.planarconfig == 2 else place
        place[:] = segment[0, : place.shape[0], : place.shape[1]]
    return picture


def _packed(stream: BinaryIO, page: tifffile.TiffPage) -> Iterator[bytes]:
    """The strips or tiles as they lie in the file; all of them, whole."""
    size = stream.seek(0, 2)
    expected = int(np.prod(page.chunked))
    stated = _each(page.tags.valueof(325 if page.is_tiled else 279, page.databytecounts))
    if not expected == len(page.dataoffsets) == len(page.databytecounts):
        raise InputError(f"is a damaged TIFF: it has {len(page.dataoffsets)} strips or tiles, expected {expected}")
    if min(page.dataoffsets) < 1 or min(stated) < 1:
        raise InputError("is a TIFF that leaves out strips or tiles: their pixels are nowhere in the file")
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + length > size:
            raise InputError("is a TIFF that is cut short")
        stream.seek(offset)
        content = stream.read(length)
        if page.compression in _JPEG and _JPEG_END not in content[-64:]:
            raise InputError("is a TIFF that is cut short: a strip or tile of JPEG has no end")
        yield content


def _each(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _called(value: int) -> str:
    """The name that the standard or tifffile has for a number."""
    return str(getattr(value, "name", None) or f"an unknown kind, {int(value)}")
