"""Everything that Pillow reads right: JPEG, WebP, AVIF, GIF, BMP, TGA, QOI, PBM, and PNG at 8 bits.

The plugins are called by name. That keeps out formats that nobody needs here (some run other programs),
and it leaves Pillow's process-wide pixel limit alone: `pim.images.raster.check_size` stands in its place.
"""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    WebPImagePlugin,
)

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
    orientation_of,
)

_PLUGINS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.jpeg_factory,  # also pictures with several views (MPO)
    "PBM": PpmImagePlugin.PpmImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
_GAIN_MAPS = (b'hdrgm:Version="', b"urn:iso:std:iso:ts:21496:-1")
_GAIN_MAP_IGNORED = "the gain map (HDR) was ignored; this is the main picture"

# What the modes of Pillow are read as: the mode that a block is brought to, its space, and whether alpha follows.
_READ_AS: dict[str, tuple[str, Space, bool]] = {
    "1": ("L", "GRAY", False),
    "L": ("L", "GRAY", False),
    "LA": ("LA", "GRAY", True),
    "La": ("LA", "GRAY", True),
    "P": ("RGB", "RGB", False),
    "PA": ("RGBA", "RGB", True),
    "RGB": ("RGB", "RGB", False),
    "RGBX": ("RGB", "RGB", False),
    "RGBA": ("RGBA", "RGB", True),
    "RGBa": ("RGBA", "RGB", True),
    "YCbCr": ("RGB", "RGB", False),
    "CMYK": ("CMYK", "CMYK", False),
    "LAB": ("LAB", "LAB", False),
    "I;16": ("I;16", "GRAY", False),
    "I;16L": ("I;16", "GRAY", False),
    "I;16B": ("I;16B", "GRAY", False),
}
_RLE8, _RLE4, _DELTA = 1, 2, 2  # compressions of a BMP, and what moves on without pixels
_BMP_HEAD, _EMBEDDED = 14 + 124, b"DEBM"  # bytes of its fifth version, and what says that a profile is in the file
_ALPHA_BITS = 15  # of a byte of a TGA: how many bits its alpha has
_WEBP_HEAD = 1 << 20  # bytes, in which the first frame begins unless a profile is larger
_WARNINGS = threading.Lock()


def read(stream: BinaryIO, kind: str, max_pixels: int, frame: int | None = None) -> Raster:
    """Decode one frame, counted from 0, of a file of one of the formats of this module.

    Raises:
        InputError: if the picture is too large, or of a kind whose values are not defined.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise InputError("cannot be trusted to be whole: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on; switch it off")
    stream.seek(0)
    with _quiet():
        picture = _PLUGINS[kind](stream)
        check_size(*picture.size, max_pixels)
        frames = getattr(picture, "n_frames", 1)
        number = check_frame(frame, frames)
        _check_canvas(picture, stream)
        if number:
            picture.seek(number)
            check_size(*picture.size, max_pixels)
        mode = picture.mode
    picture.load()
    check_size(*picture.size, max_pixels)
    raster = replace(of_picture(picture), format=kind, mode=mode, frame=number, frames=frames)
    if kind in ("BMP", "TGA"):
        return _with_head(raster, stream)
    if kind == "JPEG" and any(mark in content for _, content in getattr(picture, "applist", ()) for mark in _GAIN_MAPS):
        return replace(raster, notes=(_GAIN_MAP_IGNORED,))
    return _with_boxes(raster, stream) if kind == "AVIF" else raster


def _with_head(raster: Raster, stream: BinaryIO) -> Raster:
    """What Pillow passes over: the profile of a BMP, and that the fourth byte of a TGA is no alpha."""
    stream.seek(0)
    head = stream.read(_BMP_HEAD)
    if raster.format == "BMP" and len(head) == _BMP_HEAD and head[70:74] == _EMBEDDED:
        offset, size = struct.unpack_from("<II", head, 126)
        stream.seek(14 + offset)
        return replace(raster, tags=ColourTags(icc=stream.read(size)))
    if raster.format == "TGA" and raster.alpha and not head[17] & _ALPHA_BITS:
        notes = left_out(head[16] // 32)
        return replace(raster, alpha=False, block=lambda *at: raster.block(*at)[..., :-1], notes=notes)
    return raster


def _with_boxes(raster: Raster, stream: BinaryIO) -> Raster:
    """What the boxes of an AVIF say, added."""
    from pim.images.boxes import scan_avif

    stream.seek(0)
    found = scan_avif(stream.read())
    note = (f"{found.depth} bits per sample, read at {raster.bit_depth}",) if found.depth > raster.bit_depth else ()
    return replace(raster, tags=replace(raster.tags, cicp=found.cicp), notes=(*note, *found.notes))


def _check_canvas(picture: ImageFile.ImageFile, stream: BinaryIO) -> None:
    """That a file has all its pixels: animations can begin with a part of the picture, runs of a BMP leave some out."""
    width, height = picture.size
    covered = picture.size
    if isinstance(picture, GifImagePlugin.GifImageFile) and picture.tile:
        left, top, right, bottom = picture.tile[0].extents or (0, 0, width, height)
        covered = (right - left, bottom - top)
    elif isinstance(picture, WebPImagePlugin.WebPImageFile) and picture.mode == "RGB":
        position = stream.tell()
        stream.seek(0)
        head = stream.read(_WEBP_HEAD)
        stream.seek(position)
        if (at := head.find(b"ANMF")) > 0:
            across, down = (int.from_bytes(head[i : i + 3], "little") + 1 for i in (at + 14, at + 17))
            covered = (across, down)
    elif isinstance(picture, BmpImagePlugin.BmpImageFile) and picture.info["compression"] in (_RLE8, _RLE4):
        position = stream.seek(picture.tile[0].offset)
        covered = (width, _runs(stream.read(), width, picture.info["compression"] == _RLE4) // width)
        stream.seek(position)
    if covered != (width, height):
        raise InputError(
            f"is a picture of {width} x {height} that has pixels for {covered[0]} x {covered[1]} of it only; "
            "programs differ in what they show around that, save it as PNG"
        )


def _runs(content: bytes, width: int, four_bits: bool) -> int:
    """How many pixels the runs of a BMP cover."""
    covered = x = at = 0
    while at + 1 < len(content):
        count, value = content[at], content[at + 1]
        at += 2
        if count or value > _DELTA:  # a run, or so many pixels as they are, padded to an even number of bytes
            x += count or value
            size = (value + 1) // 2 if four_bits else value
            at += 0 if count else size + size % 2
        elif value == _DELTA:
            at += 2
        else:  # the end of a line or of the picture
            covered, x = covered + min(x, width), 0
            if value:
                break
    return covered + min(x, width)


def of_picture(picture: Image.Image) -> Raster:
    """A picture that Pillow has loaded, as it stands, in the frame it is at; it is only read.

    Raises:
        InputError: if its values have no defined black and white.
    """
    mode = picture.mode
    if mode not in _READ_AS:
        what = {"I": "32-bit integers", "F": "floating-point numbers"}.get(mode, f"pixels of mode {mode}")
        raise InputError(
            f"holds {what}, whose black and white are not defined; scale to [0, 1] and pass an array, "
            "or save with 8 or 16 bits"
        )
    target, space, alpha = _READ_AS[mode]
    if mode == "P":
        _check_palette(picture)
    if not alpha and picture.has_transparency_data and target in ("L", "RGB"):
        target, alpha = {"L": "LA", "RGB": "RGBA"}[target], True
    wide = target.startswith("I;16")
    depth = _tiff_depth(picture) if wide else 1 if mode == "1" else 8

    def block(rows: slice, columns: slice) -> Samples:
        part = picture.crop((columns.start, rows.start, columns.stop, rows.stop))
        samples = np.asarray(part if part.mode == target else part.convert(target))
        return samples.reshape(*samples.shape[:2], CHANNELS[space] + alpha)

    exif, icc = picture.info.get("exif"), picture.info.get("icc_profile")
    return Raster(
        format=picture.format or "PIL",
        mode=mode,
        bit_depth=depth,
        width=picture.width,
        height=picture.height,
        space=space,
        alpha=alpha,
        peak=(1 << depth) - 1 if wide else 255,
        block=block,
        orientation=orientation_of(exif if isinstance(exif, bytes) else None),
        tags=ColourTags(icc=icc if isinstance(icc, bytes) and icc else None),
    )


def _check_palette(picture: Image.Image) -> None:
    lowest, highest = picture.getextrema()
    colours = np.array(picture.getpalette("RGBA" if picture.has_transparency_data else "RGB") or [], np.uint8)
    check_palette(colours.reshape(-1, 4 if picture.has_transparency_data else 3), (int(lowest), int(highest)))  # type: ignore[arg-type]


def _tiff_depth(picture: Image.Image) -> int:
    """Bits per sample of a gray picture that Pillow holds in 16."""
    tags = getattr(picture, "tag_v2", {})
    (depth, *_) = tags.get(258, (16,))
    return depth if depth in (12, 16) else 16


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Pillow's remarks on odd metadata, which has no influence on pixels.

    The filters of `warnings` belong to the whole process, so one thread at a time changes and restores them.
    """
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
