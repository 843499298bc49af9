"""One function that opens any image as sRGB, upright and opaque, with a record of what was decided: `open_image`.

What cannot be decided without guessing is refused. What cannot be noticed: bytes changed inside the body of a format
without checksums, such as JPEG, decode to other pixels without an error.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from pim.errors import InputError, UsageError, did_you_mean
from pim.images import png
from pim.images.raster import CHANNELS, Conversion, Raster, as_stored, blocks, check_frame, check_size, scaled

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong is told once, in our words

Pixels = NDArray[np.float32]
Source = str | os.PathLike[str] | Image.Image | BinaryIO

_UNKNOWN = re.compile("unsupported|not supported|cannot handle|unknown (TGA|BMP|mode)", re.IGNORECASE)  # to Pillow
_INVISIBLE = ("all pixels are transparent: only the background is seen",)
HEAD = 1024  # bytes that tell the format of a file
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
        if self.frame is not None and not (isinstance(self.frame, Integral) and self.frame >= 0):
            raise UsageError(f"frame must be a whole number, 0 or more; got {self.frame!r}")
        if not (isinstance(self.max_pixels, Integral) and self.max_pixels >= 1):
            raise UsageError(f"max_pixels must be a whole number, 1 or more; got {self.max_pixels!r}")


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


def open_image(source: Source, options: OpenOptions | None = None) -> OpenedImage:
    """Open an image file, a binary stream or a Pillow image, of which the current frame is taken.

    Returns:
        sRGB in [0, 1], with what was decided.

    Raises:
        InputError: if it is no image, is damaged, too large, transparent without a background, or holds
            values whose black and white are not defined. One line that begins with the path.
    """
    options = OpenOptions() if options is None else options
    if not isinstance(options, OpenOptions):
        raise UsageError(f"options must be OpenOptions(...); got {type(options).__name__}")
    name = _name(source)
    with _named(name):
        if isinstance(source, Image.Image):
            with _decoding(source.format or "picture"):
                raster = _of_pillow(source, options)
            return _render(raster, name, options)
        with _stream(source) as stream:
            return _render(_read(stream, name, options), name, options)


def _read(stream: BinaryIO, name: str, options: OpenOptions) -> Raster:
    """Find the format and the reader that keeps all bits."""
    head, note = stream.read(HEAD), None
    if head.startswith(png.SIGNATURE) and name.lower().endswith(".png"):
        kind = "PNG"
    else:
        from pim.images import formats

        kind = formats.identify(head, name)
        note = formats.mismatch(kind, name)
    with _decoding(kind):
        raster = _decoded(kind, stream, options)
    return replace(raster, notes=(*raster.notes, note)) if note else raster


def _decoded(kind: str, stream: BinaryIO, options: OpenOptions) -> Raster:
    """By the one reader of a format."""
    limit, frame = options.max_pixels, options.frame
    if kind == "TIFF":
        from pim.images import tiff

        return tiff.read(stream, limit, frame)
    if kind == "PPM":
        from pim.images import pnm16

        return pnm16.read(stream, limit, frame)
    if kind == "JPEG2000":
        from pim.images import jpeg2000

        return jpeg2000.read(stream, limit, frame)
    header = png.scan(stream, limit) if kind == "PNG" else None
    if header is not None and not check_frame(frame, header.frames):
        return png.read(stream, header)
    from pim.images import pillow8

    if header is None:
        return pillow8.read(stream, kind, limit, frame)
    if header.depth == 16:
        raise InputError("is a 16-bit animation; only its frame 0 can be read")
    raster = pillow8.read(stream, "PNG", limit, frame)
    return replace(raster, bit_depth=header.depth, orientation=header.orientation, tags=header.tags, notes=header.notes)


@contextmanager
def _decoding(kind: str) -> Iterator[None]:
    """Say in words for people why a file could not be decoded; decoders raise all kinds of errors, in their own."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # of the system, not of the decoder
            raise
        if "out of memory" in str(error):
            raise MemoryError from error
        if isinstance(error, NotImplementedError) or _UNKNOWN.search(str(error)):
            reason = f"is a {kind} of an unusual kind, which cannot be read; save it anew, as PNG for instance"
        else:
            reason = f"cannot be decoded: this {kind} is damaged or cut short"
        raise InputError(reason) from error


def _of_pillow(picture: Image.Image, options: OpenOptions) -> Raster:
    from pim.images import pillow8

    check_size(*picture.size, options.max_pixels)
    try:
        picture.load()
    except (AssertionError, ValueError) as error:
        if getattr(picture, "fp", picture) is None:
            raise InputError("is a Pillow image that was closed; call its load before, or open the path") from error
        raise
    number = picture.tell() if getattr(picture, "n_frames", 1) > 1 else 0
    if options.frame is not None and options.frame != number:
        raise InputError(f"is a Pillow image at frame {number}, not {options.frame}; call its seek first")
    raster = pillow8.of_picture(picture)
    return replace(raster, format=picture.format or "Pillow", frame=number, frames=getattr(picture, "n_frames", 1))


def _render(raster: Raster, name: str, options: OpenOptions) -> OpenedImage:
    """Bring a raster to sRGB, block by block, straight to where the pixels belong."""
    check_size(raster.width, raster.height, options.max_pixels)
    turned = raster.orientation >= 5
    width, height = (raster.height, raster.width) if turned else (raster.width, raster.height)
    try:
        pixels = np.empty((height, width, 3), np.float32)
    except MemoryError as error:
        raise InputError(f"is {width} x {height}, which takes {width * height * 12e-9:.2g} GB of memory") from error
    stored = as_stored(pixels, raster.orientation)
    to_srgb = _to_srgb(raster)
    colours = CHANNELS[raster.space]
    transparent, seen = False, not raster.alpha
    for rows, columns in blocks(raster.width, raster.height):
        samples = raster.block(rows, columns)
        values = to_srgb.convert(samples[..., :colours])
        if raster.alpha and (alpha := samples[..., colours:]).min() < raster.peak:
            values = _over(options.background, values, alpha.astype(np.float32) / np.float32(raster.peak))
            transparent = True
            seen = seen or bool(alpha.max())
        else:
            seen = True
        stored[rows, columns] = values
    decoding = Decoding(
        path=name,
        format=raster.format,
        width=width,
        height=height,
        mode=raster.mode,
        bit_depth=raster.bit_depth,
        orientation=raster.orientation,
        icc=None if to_srgb.icc is None else _one_line(to_srgb.icc),
        alpha="none" if not raster.alpha else f"over {options.background}" if transparent else "opaque",
        frame=raster.frame,
        frames=raster.frames,
        notes=tuple(map(_one_line, (*raster.notes, *to_srgb.notes, *_frame_note(raster, options), *_INVISIBLE[seen:]))),
    )
    return OpenedImage(pixels, decoding)


def _to_srgb(raster: Raster) -> Conversion:
    if raster.space in ("GRAY", "RGB") and raster.tags.plain:
        return Conversion(scaled(raster.peak))
    from pim.images.colour import conversion

    return conversion(raster.space, raster.peak, raster.tags)


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
def _stream(source: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """A seekable stream at its beginning, which readers cannot close for the caller."""
    if not isinstance(source, str | os.PathLike):
        yield io.BytesIO(_content(source))
        return
    path = os.fsdecode(source)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise InputError("is a folder; a file was expected")
    if not stat.S_ISREG(mode):
        raise InputError("is a pipe or device; a file was expected")
    with Path(path).open("rb") as stream:
        yield stream


def _content(source: BinaryIO) -> bytes:
    """All that is left in a stream."""
    if not callable(getattr(source, "read", None)):
        hint = ": pim.distance takes NumPy arrays and tensors" if hasattr(source, "shape") else ""
        hint = ": wrap it in io.BytesIO" if isinstance(source, bytes | bytearray | memoryview) else hint
        raise InputError("is no image: a path, an open binary file or a Pillow image was expected" + hint)
    try:
        content = source.read()
    except (TypeError, ValueError) as error:  # closed, write-only, undecodable, or no file at all
        raise InputError("cannot be read: open the file for reading, in binary mode ('rb')") from error
    if isinstance(content, bytes | bytearray | memoryview):
        if not content and _position(source):
            raise InputError("is open at its end: call its seek(0) to read it again")
        return bytes(content)
    raise InputError("is open as text; open the file in binary mode ('rb')")


def _position(stream: BinaryIO) -> int:
    """Where a stream is; 0 if it does not tell."""
    with suppress(AttributeError, OSError, ValueError):
        return stream.tell()
    return 0


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Make one line that begins with the name out of whatever goes wrong."""
    try:
        yield
    except InputError as error:
        raise InputError(_one_line(f"{name} {error}")) from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{name} cannot be read: no permission") from error
    except MemoryError as error:
        raise InputError(f"{name} is too large for the memory that is left; open, a pixel takes 12 bytes") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or 'the system refuses'}") from error
    except ValueError as error:
        raise InputError(f"{name} is no path: it has a null byte") from error


def _name(source: object) -> str:
    """What messages call a source."""
    if isinstance(source, Image.Image):
        return _one_line(str(getattr(source, "filename", "") or "<Pillow image>"))
    if isinstance(source, str | os.PathLike):
        return _one_line(os.fsdecode(source)) or "''"
    if hasattr(source, "read"):
        return _one_line(str(getattr(source, "name", "<stream>")))
    return f"<{type(source).__name__}>"


def _one_line(text: str) -> str:
    """Text with everything unprintable escaped: line breaks, control characters, bytes that are not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _colour(text: str) -> tuple[int, int, int]:
    """A colour name or #rrggbb as 8-bit sRGB."""
    if not isinstance(text, str):
        raise UsageError(f"background must be a colour name or #rrggbb; got {text!r}")
    named = ImageColor.colormap.get(text.strip().lower(), text)
    value = named if isinstance(named, str) else "#{:02x}{:02x}{:02x}".format(*named)
    if not _HEX.fullmatch(value):
        known = did_you_mean(text, ["white", "black", "gray", "red", "green", "blue"])
        raise UsageError(f"background must be a colour name or #rrggbb; got {text!r}: {known}")
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
