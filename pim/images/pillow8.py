"""Everything that Pillow reads right: JPEG, WebP, AVIF, GIF, BMP, TGA, QOI, JPEG 2000, and PNG and TIFF at 8 bits.

The plugins are called by name. That keeps out formats that nobody needs here (some run other programs),
and it leaves Pillow's process-wide pixel limit alone: `pim.images.raster.check_size` stands in its place.
"""

from __future__ import annotations

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
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pim.errors import InputError
from pim.images.boxes import Boxes, scan_avif, scan_jpeg2000
from pim.images.raster import CHANNELS, ColourTags, Raster, Samples, Space, check_frame, check_size, orientation_of

_PLUGINS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.jpeg_factory,  # also pictures with several views (MPO)
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PBM": PpmImagePlugin.PpmImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
_SCANS: dict[str, Callable[[bytes], Boxes]] = {"AVIF": scan_avif, "JPEG2000": scan_jpeg2000}
_GAIN_MAP = b'hdrgm:Version="'

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
_WARNINGS = threading.Lock()


def read(stream: BinaryIO, kind: str, max_pixels: int, frame: int | None = None) -> Raster:
    """Decode one frame.

    Args:
        stream: A seekable stream.
        kind: One of the formats of this file.
        max_pixels: Largest allowed product of width and height.
        frame: Counted from 0; None is the first.

    Raises:
        InputError: if the picture is too large, or of a kind whose values are not defined.
        Exception: whatever Pillow raises for a damaged file.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise InputError("cannot be trusted to be whole: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on; switch it off")
    boxes = Boxes()
    if kind in _SCANS:
        stream.seek(0)
        boxes = _SCANS[kind](stream.read())
    stream.seek(0)
    with _quiet():
        picture = _PLUGINS[kind](stream)
        check_size(*picture.size, max_pixels)
        frames = getattr(picture, "n_frames", 1)
        number = check_frame(frame, frames)
        if number:
            picture.seek(number)
            check_size(*picture.size, max_pixels)
        mode, turned = picture.mode, _turned_by_pillow(picture)
        if kind == "TIFF":
            picture.load()  # reads yet more metadata
    picture.load()
    raster = of_picture(picture)
    if kind == "JPEG2000" and raster.peak > 255:  # OpenJPEG shifts fewer bits up to 16
        raster = replace(raster, bit_depth=boxes.depth, peak=((1 << boxes.depth) - 1) << (16 - boxes.depth))
    notes = []
    if boxes.depth > raster.bit_depth:
        notes.append(f"{boxes.depth} bits per sample, read at {raster.bit_depth}")
    if kind == "JPEG" and any(_GAIN_MAP in content for _, content in getattr(picture, "applist", ())):
        notes.append("the gain map (HDR) was ignored; this is the main picture")
    return replace(
        raster,
        format=kind,
        mode=mode,
        turned=turned,
        frame=number,
        frames=frames,
        tags=replace(raster.tags, cicp=boxes.tags.cicp, icc=raster.tags.icc or boxes.tags.icc),
        notes=tuple(notes),
    )


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


def _turned_by_pillow(picture: Image.Image) -> int:
    """The orientation that Pillow applies by itself while loading, which it does for TIFF only."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 1
    value = picture.getexif().get(0x0112, 1)
    return value if value in range(1, 9) else 1


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
