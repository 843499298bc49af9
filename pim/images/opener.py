"""One function that opens any image: `open_image`.

The result is sRGB in [0, 1], upright and opaque, with a record of every decision that was made on the
way. What cannot be decided without guessing is refused.

What cannot be noticed: bytes changed inside the body of a format without checksums, such as JPEG, decode
to other pixels without an error.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from pim.errors import InputError, UsageError, did_you_mean
from pim.images import formats, pillow8, png16, pnm16, tiff16
from pim.images.colour import conversion
from pim.images.raster import CHANNELS, Raster, as_stored, blocks, check_size

Pixels = NDArray[np.float32]

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What the user decides about opening files.

    Raises:
        UsageError: if an option cannot be right.
    """

    background: str | None = None  # colour to put under transparent pixels: a name or "#rrggbb"; None: refuse them
    frame: int | None = None  # of an animation or a file with pages, counted from 0; None: the first
    max_pixels: int = 512_000_000  # larger pictures are refused before they are decoded

    def __post_init__(self) -> None:
        if self.background is not None:
            _colour(self.background)
        if self.frame is not None and self.frame < 0:
            raise UsageError(f"frame must be 0 or more; got {self.frame}")
        if self.max_pixels < 1:
            raise UsageError(f"max_pixels must be 1 or more; got {self.max_pixels}")


@dataclass(frozen=True, slots=True)
class Decoding:
    """What was found in a file and decided about it."""

    path: str  # unprintable characters escaped
    format: str  # told by content, not by name
    width: int  # of the result
    height: int
    mode: str  # as stored
    bit_depth: int  # of the samples that were used
    orientation: int  # EXIF orientation that was applied; 1 is upright
    icc: str | None  # description of the colour profile that was followed
    alpha: str  # "none", "opaque", or "over" and the background
    frame: int  # counted from 0
    frames: int
    notes: tuple[str, ...]  # worth telling the user

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"notes": list(self.notes)}


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """Pixels and how they came about."""

    pixels: Pixels  # (H, W, 3), C-contiguous, sRGB in [0, 1]
    decoding: Decoding


def open_image(source: str | Path | Image.Image | BinaryIO, options: OpenOptions | None = None) -> OpenedImage:
    """Open an image file, a binary stream or a Pillow image.

    Args:
        source: A path; a stream, which is read to its end; or a Pillow image, of which the current
            frame is taken and which is not changed.
        options: What the user decided.

    Returns:
        sRGB in [0, 1], with what was decided.

    Raises:
        InputError: if it is no image, is damaged, too large, transparent without a background, or holds
            values whose black and white are not defined. One line that begins with the path.
    """
    options = options or OpenOptions()
    name = _name(source)
    with _named(name):
        if isinstance(source, Image.Image):
            return _render(_of_pillow(source, options), name, options)
        with _stream(source) as stream:
            return _render(_read(stream, name, options), name, options)


def _read(stream: BinaryIO, name: str, options: OpenOptions) -> Raster:
    """Find the format and the reader that keeps all bits."""
    kind = formats.identify(stream.read(formats.HEAD), name)
    if kind == "PNG":
        raster = _read_png(stream, options)
    elif kind == "PPM":
        raster = pnm16.read(stream, options.max_pixels, options.frame)
    elif kind == "TIFF":
        raster = _read_tiff(stream, options)
    else:
        raster = pillow8.read(stream, kind, options.max_pixels, options.frame)
    note = formats.mismatch(kind, name)
    return replace(raster, notes=(*raster.notes, note)) if note else raster


def _read_png(stream: BinaryIO, options: OpenOptions) -> Raster:
    header = png16.scan(stream, options.max_pixels)
    if header.depth == 16:
        return png16.read(stream, header, options.frame)
    raster = pillow8.read(stream, "PNG", options.max_pixels, options.frame)
    return replace(raster, bit_depth=header.depth, orientation=header.orientation, tags=header.tags, notes=header.notes)


def _read_tiff(stream: BinaryIO, options: OpenOptions) -> Raster:
    header = tiff16.scan(stream, options.max_pixels, options.frame)
    if header.wide:
        return tiff16.read(stream, header)
    raster = pillow8.read(stream, "TIFF", options.max_pixels, options.frame)
    if header.depth > raster.bit_depth:
        note = f"{header.depth} bits per sample, read at {raster.bit_depth}"
        return replace(raster, notes=(*raster.notes, note))
    return raster


def _of_pillow(picture: Image.Image, options: OpenOptions) -> Raster:
    check_size(*picture.size, options.max_pixels)
    number = picture.tell() if getattr(picture, "n_frames", 1) > 1 else 0
    if options.frame is not None and options.frame != number:
        raise InputError(f"is a Pillow image at frame {number}, not {options.frame}; call its seek first")
    picture.load()
    raster = pillow8.of_picture(picture)
    return replace(raster, format=picture.format or "Pillow", frame=number, frames=getattr(picture, "n_frames", 1))


def _render(raster: Raster, name: str, options: OpenOptions) -> OpenedImage:
    """Bring a raster to sRGB, block by block, straight to where the pixels belong."""
    check_size(raster.width, raster.height, options.max_pixels)
    turned = raster.orientation >= 5
    width, height = (raster.height, raster.width) if turned else (raster.width, raster.height)
    pixels = np.empty((height, width, 3), np.float32)
    stored = as_stored(pixels, raster.orientation)
    to_srgb = conversion(raster.space, raster.peak, raster.tags)
    colours = CHANNELS[raster.space]
    transparent = False
    for rows, columns in blocks(raster.width, raster.height):
        samples = raster.block(rows, columns)
        values = to_srgb.convert(samples[..., :colours])
        if raster.alpha and (alpha := samples[..., colours:]).min() < raster.peak:
            values = _over(options.background, values, alpha.astype(np.float32) / np.float32(raster.peak))
            transparent = True
        stored[rows, columns] = values
    decoding = Decoding(
        path=name,
        format=raster.format,
        width=width,
        height=height,
        mode=raster.mode,
        bit_depth=raster.bit_depth,
        orientation=max(raster.orientation, raster.turned),
        icc=None if to_srgb.icc is None else _one_line(to_srgb.icc),
        alpha="none" if not raster.alpha else f"over {options.background}" if transparent else "opaque",
        frame=raster.frame,
        frames=raster.frames,
        notes=tuple(map(_one_line, (*raster.notes, *to_srgb.notes, *_frame_note(raster, options)))),
    )
    return OpenedImage(pixels, decoding)


def _over(background: str | None, colours: Pixels, opacity: Pixels) -> Pixels:
    """Colours over the background, blended in sRGB as browsers do; refused if there is none."""
    if background is None:
        raise InputError(
            "has transparent pixels, whose look depends on what is behind them; choose a background, "
            "such as --background white"
        )
    return opacity * colours + (1 - opacity) * (np.array(_colour(background), np.float32) / np.float32(255))


def _frame_note(raster: Raster, options: OpenOptions) -> tuple[str, ...]:
    if raster.frames == 1 or options.frame is not None:
        return ()
    return (f"holds {raster.frames} frames; frame {raster.frame} was taken, --frame selects another",)


@contextmanager
def _stream(source: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """A seekable stream at its beginning, which readers cannot close for the caller."""
    if not isinstance(source, str | Path):
        yield io.BytesIO(source.read())
        return
    mode = Path(source).stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError("is a folder; a file was expected")
    if not stat.S_ISREG(mode):
        raise InputError("is a pipe or device; a file was expected")
    with Path(source).open("rb") as stream:
        yield stream


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Make one line that begins with the name out of whatever goes wrong; decoders raise all kinds of errors."""
    try:
        yield
    except InputError as error:
        raise InputError(_one_line(f"{name} {error}")) from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{name} cannot be read: no permission") from error
    except MemoryError as error:
        raise InputError(f"{name} is too large for the memory of this machine") from error
    except Exception as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(_one_line(f"{name} cannot be decoded, it is damaged or cut short: {what}")) from error


def _name(source: str | Path | Image.Image | BinaryIO) -> str:
    """What messages call a source."""
    if isinstance(source, Image.Image):
        return _one_line(str(getattr(source, "filename", "") or "<Pillow image>"))
    if isinstance(source, str | Path):
        return _one_line(str(source)) or "''"
    return _one_line(str(getattr(source, "name", "<stream>")))


def _one_line(text: str) -> str:
    """Text with everything unprintable escaped: line breaks, control characters, bytes that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _colour(text: str) -> tuple[int, int, int]:
    """A colour name or #rrggbb as 8-bit sRGB."""
    named = ImageColor.colormap.get(text.strip().lower(), text)
    value = named if isinstance(named, str) else "#{:02x}{:02x}{:02x}".format(*named)
    if not _HEX.fullmatch(value):
        known = did_you_mean(text, ["white", "black", "gray", "red", "green", "blue"])
        raise UsageError(f"background must be a colour name or #rrggbb; got {text!r}: {known}")
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
