"""PGM and PPM with any largest value up to 65535; Pillow brings colour down to 8 bits.

Source: netpbm manual, pgm(5) and ppm(5).
"""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np

from pim.errors import InputError
from pim.images.raster import Raster, Samples, check_frame, check_size, from_array

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P[2356]" + (_GAP + rb"(\d{1,9})") * 3 + rb"\s")
_LARGEST_HEADER = 1 << 16  # bytes, comments included


def read(stream: BinaryIO, max_pixels: int, frame: int | None = None) -> Raster:
    """Decode the first picture of a PGM or PPM, plain or binary; only frame 0 exists.

    Raises:
        InputError: if it is too large, damaged, cut short, or of a kind that cannot be read.
    """
    check_frame(frame, 1)
    stream.seek(0)
    head = stream.read(_LARGEST_HEADER)
    match = _HEADER.match(head)
    if match is None:
        raise InputError("is a damaged PGM or PPM: width, height and largest value expected after its first two bytes")
    width, height, peak = (int(number) for number in match.groups())
    check_size(width, height, max_pixels)
    if not 1 <= peak <= 65535:
        raise InputError(f"is a damaged PGM or PPM: its largest value is {peak}, expected 1 to 65535")
    gray = head[:2] in (b"P2", b"P5")
    shape = (height, width, 1 if gray else 3)
    stream.seek(match.end())
    samples = _binary(stream, shape, peak, match[0]) if head[:2] in (b"P5", b"P6") else _plain(stream, shape)
    if samples.max() > peak:
        raise InputError(f"is a damaged PGM or PPM: it has a sample of {samples.max()}, above its largest value {peak}")
    depth = peak.bit_length()
    return Raster(
        format="PPM",
        mode=("L" if gray else "RGB") + ("" if depth <= 8 else f";{depth}"),
        bit_depth=depth,
        width=width,
        height=height,
        space="GRAY" if gray else "RGB",
        alpha=False,
        peak=peak,
        block=from_array(samples),
    )


def _binary(stream: BinaryIO, shape: tuple[int, int, int], peak: int, header: bytes) -> Samples:
    dtype = np.dtype("u1" if peak < 256 else ">u2")
    size = shape[0] * shape[1] * shape[2] * dtype.itemsize
    content = stream.read(size + 2)
    if header.endswith(b"\r") and len(content) == size + 1:  # the header's lines end as on Windows
        content = content.removeprefix(b"\n")
    content = content[:size]
    if len(content) < size:
        raise InputError("is a PGM or PPM that is cut short")
    return np.frombuffer(content, dtype).reshape(shape)


def _plain(stream: BinaryIO, shape: tuple[int, int, int]) -> Samples:
    words = re.sub(rb"#[^\r\n]*", b" ", stream.read()).split()
    count = shape[0] * shape[1] * shape[2]
    if len(words) < count:
        raise InputError("is a PGM or PPM that is cut short")
    numbers = words[:count]
    if not all(word.isdigit() and len(word) <= 9 for word in numbers):
        raise InputError("is a damaged PGM or PPM: its samples are not all numbers")
    return np.array([int(word) for word in numbers], np.uint32).reshape(shape)
