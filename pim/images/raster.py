"""What every image reader hands over: samples as stored, and what the file says about them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError

Space = Literal["GRAY", "RGB", "CMYK", "LAB"]
CHANNELS: dict[Space, int] = {"GRAY": 1, "RGB": 3, "CMYK": 4, "LAB": 3}

HDR = {16: "PQ", 18: "HLG"}  # transfer functions of ITU-T H.273

Samples = NDArray[Any]  # unsigned integers, (H, W, C), alpha last
Convert = Callable[[Samples], NDArray[np.float32]]  # (h, w, channels of the space) -> (h, w, 3) sRGB in [0, 1]

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ColourTags:
    """How a file says that its numbers mean colours; several may be present, the order of precedence is this one."""

    cicp: tuple[int, int] | None = None  # colour primaries and transfer function, code points of ITU-T H.273
    icc: bytes | None = None
    srgb: bool = False  # the file says outright that it is sRGB
    gamma: float | None = None  # sample = light ** gamma
    chromaticities: tuple[float, ...] | None = None  # x, y of white, red, green, blue

    @property
    def plain(self) -> bool:
        """Whether nothing says that the numbers are anything but sRGB."""
        others = self.gamma is not None or self.chromaticities is not None
        return self.cicp is None and self.icc is None and (self.srgb or not others)


@dataclass(frozen=True, slots=True)
class Raster:
    """A decoded picture in the form its file has, read in blocks so that no second copy is made."""

    format: str  # "PNG", "JPEG", ...
    mode: str  # as the file stores it, in Pillow's words, or "RGB;16" and the like
    bit_depth: int  # of the samples here
    width: int
    height: int
    space: Space
    alpha: bool  # whether alpha follows the colour channels
    peak: int  # the sample that means 1.0
    block: Callable[[slice, slice], Samples]  # rows and columns -> (h, w, CHANNELS[space] + alpha)
    orientation: int = 1  # EXIF orientation still to be applied
    frame: int = 0
    frames: int = 1
    tags: ColourTags = field(default_factory=ColourTags)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to get to sRGB, and what to tell the user about it."""

    convert: Convert
    icc: str | None = None  # the description of the profile that was followed
    notes: tuple[str, ...] = ()


def scaled(peak: int) -> Convert:
    """The conversion of numbers that are sRGB: sample / peak exactly; gray is repeated."""

    def convert(samples: Samples) -> NDArray[np.float32]:
        values = samples.astype(np.float32) / np.float32(peak)
        return values if values.shape[-1] == 3 else values.repeat(3, -1)

    return convert


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise InputError if a header, before decoding, says that a picture is empty or larger than allowed."""
    if width < 1 or height < 1:
        raise InputError(f"has no pixels: its header says {width} x {height}")
    if width * height > max_pixels:
        raise InputError(
            f"is {width} x {height}, more than the limit of {max_pixels:,} pixels; raise --max-pixels if you trust it"
        )


def check_frame(frame: int | None, frames: int) -> int:
    """Give the frame to read, counted from 0; raises InputError if there is no such frame."""
    if frame is not None and frame >= frames:
        held = "1 frame, number 0" if frames == 1 else f"{frames} frames, numbered from 0 to {frames - 1}"
        raise InputError(f"holds {held}; there is no frame {frame}")
    return frame or 0


def check_palette(colours: Samples, indices: tuple[int, int]) -> None:
    """Check that a palette (entries, channels) has the smallest and the largest index, and not just one colour.

    Raises:
        InputError: if not: what is shown then is no picture, and all such pictures would be alike.
    """
    if not len(colours):
        raise InputError("has an empty palette")
    if indices[1] >= len(colours):
        raise InputError(f"has pixels of colour {indices[1]}, but its palette ends at {len(colours) - 1}")
    used = colours[indices[0] : indices[1] + 1]
    if len(used) > 1 and (used == used[0]).all():
        raise InputError("has a palette of one and the same colour for all pixels, which makes no picture")


def left_out(channels: int) -> tuple[str, ...]:
    """A note on channels that are neither colour nor alpha."""
    if not channels:
        return ()
    return ("a channel that is no colour was left out" if channels == 1 else f"{channels} channels were left out",)


def unmultiplied(samples: Samples, peak: int) -> Samples:
    """Colours divided by their alpha, which comes last, at the depth that they have."""
    alpha = samples[..., -1:].astype(np.uint32)
    colours = (samples[..., :-1].astype(np.uint32) * peak + alpha // 2) // np.maximum(alpha, 1)
    whole: NDArray[Any] = np.concatenate([np.minimum(colours, peak), alpha], -1)
    return whole.astype(samples.dtype)


def orientation_of(exif: bytes | None) -> int:
    """Read the orientation, 1 to 8, in the first directory of EXIF data; 1 if there is none or it makes no sense.

    Source: EXIF 2.32, sections 4.5 and 4.6.4.
    """
    if not exif:
        return 1
    tiff = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # the directory points outside the block
        pass
    return 1


def from_array(samples: Samples) -> Callable[[slice, slice], Samples]:
    """`Raster.block` of an array that is already in memory, (H, W, C)."""

    def block(rows: slice, columns: slice) -> Samples:
        return samples[rows, columns]

    return block


def blocks(width: int, height: int, pixels: int = 1 << 20) -> list[tuple[slice, slice]]:
    """Rows and columns of blocks of at most `pixels` pixels that cover a picture once."""
    across = min(width, pixels)
    down = max(1, pixels // across)
    return [
        (slice(top, min(top + down, height)), slice(left, min(left + across, width)))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]


def as_stored(upright: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """View an upright picture (H, W, C) in the order of a file of some EXIF orientation: (W, H, C) from 5 on."""
    turned = upright.transpose(1, 0, 2) if orientation >= 5 else upright
    rows = slice(None, None, -1 if orientation in (3, 4, 6, 7) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 7, 8) else 1)
    return turned[rows, columns]
