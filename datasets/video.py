"""The frames of video files, by the rules by which pictures are opened.

Sources: ITU-T H.273 (code points of matrix, range, primaries, transfer); FFmpeg, libavutil/display.h (display matrix).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pim.errors import DataError, InputError
from pim.images.colour import conversion
from pim.images.raster import ColourTags

Pixels = NDArray[np.uint8]  # (H, W, 3), sRGB
Tell = Callable[[str], None]

_UNSPECIFIED = 2
_MATRICES: dict[int, Any] = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: 9, 10: 9}
_SD_PRIMARIES = (4, 5, 6, 7)  # so near to those of BT.709 that players take them for these
_SD_TRANSFERS = (4, 5, 7)  # gammas that stand in files, while everybody codes and shows them as BT.709
_SD_HEIGHT = 576
_LARGEST_ASPECT = 8  # of a pixel; more is damage


class Frame(NamedTuple):
    """A frame of a clip, or the place of one that cannot be used."""

    pixels: Pixels | None
    follows: bool = True  # directly after the one before


def video_frames(path: Path, tell: Tell) -> Iterator[Frame]:
    """The frames of a video file as they are to be shown.

    The best video stream is taken. Matrix, range, primaries and transfer are followed to sRGB; pixels are made square,
    turned frames upright, and of interlaced ones a field is taken. Damaged frames, and those that are predicted from
    them, are left out. `tell` is called with a line about what was left out or changed.

    Raises:
        InputError: if it cannot be read at all, is HDR, or is transparent.
    """
    av = _av()
    given = lost = 0
    reason, torn = "", False
    with _opened(path) as container:
        stream = _best_stream(container, path)
        try:
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.FFmpegError as error:
                    reason, torn = f"is damaged: {_words(error)}", True
                    lost += 1
                    yield Frame(None)
                    continue
                for frame in decoded:
                    torn = frame.is_corrupt or (torn and not frame.key_frame)
                    try:
                        pixels = None if torn else _rendered(frame, stream)
                    except InputError as error:
                        reason, pixels = str(error), None
                    if pixels is not None and not given:
                        for note in _notes(frame, stream):
                            tell(f"{path}: {note}")
                    given, lost = given + (pixels is not None), lost + (pixels is None)
                    yield Frame(pixels)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = reason or f"is cut off or damaged: {_words(error)}"
            if given:
                tell(f"{path} is cut off or damaged: {_words(error)}; the frames before that are used")
    if not given:
        raise InputError(f"{path} {reason or 'has no frames'}")
    if lost:
        tell(f"{path}: {lost} frames are left out; the file {reason or 'is damaged'}")


def count_frames(path: Path) -> int:
    """How many frames a video file has, or says to have: nothing is decoded.

    Raises:
        InputError: if it cannot be read.
    """
    av = _av()
    count = 0
    with _opened(path) as container:
        try:
            # The count in the header can be missing or wrong; packets are counted without decoding.
            for packet in container.demux(_best_stream(container, path)):
                count += bool(packet.size)
        except (av.FFmpegError, OSError, ValueError) as error:
            if not count:
                raise InputError(f"{path} cannot be read as a video: {_words(error)}") from error
    return count


def _opened(path: Path) -> Any:
    """An open container of PyAV."""
    av = _av()
    try:
        return av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a video: {_words(error)}") from error


def _best_stream(container: Any, path: Path) -> Any:
    """The stream that players show: not a cover picture, and rather a large one than a preview."""
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no video stream")
    return stream


def _av() -> ModuleType:
    """PyAV, which is needed only where videos are."""
    try:
        import av
    except ImportError as error:
        raise DataError(
            "reading videos needs PyAV: pip install 'pim-metric[video]'; packed crops need no decoder"
        ) from error
    return av


def _rendered(frame: Any, stream: Any) -> Pixels:
    """One frame, upright, with square pixels, in sRGB."""
    pixels = _rgb(frame)
    to_srgb = conversion("RGB", 255, _tags(frame))
    if to_srgb.notes:
        pixels = (to_srgb.convert(pixels) * 255 + 0.5).astype(np.uint8)
    width = round(pixels.shape[1] * _aspect(stream))
    if frame.interlaced_frame:
        pixels, width = pixels[::2], width // 2
    if width != pixels.shape[1]:
        pixels = np.asarray(Image.fromarray(pixels).resize((width, len(pixels)), Image.Resampling.LANCZOS))
    return _upright(pixels, frame, stream)


def _rgb(frame: Any) -> Pixels:
    form = frame.format
    if "f16" in form.name or "f32" in form.name:
        raise InputError("holds floating-point samples, whose black and white are not defined")
    coding = {"src_colorspace": _matrix(frame)} if form.name.startswith(("yuv", "nv", "p0", "p2", "p4", "uyvy")) else {}
    if any(component.is_alpha for component in form.components):
        array = frame.reformat(format="rgba", **coding).to_ndarray()
        if array[..., 3].min() < 255:
            raise InputError("has transparent pixels, whose look depends on what is behind them")
        return np.ascontiguousarray(array[..., :3])
    rgb: Pixels = frame.reformat(format="rgb24", **coding).to_ndarray()
    return rgb


def _matrix(frame: Any) -> Any:
    """Y'CbCr to R'G'B', as PyAV calls it; where the file says nothing, as players guess by the size."""
    guess = "ITU709" if frame.height > _SD_HEIGHT else "ITU601"
    return _MATRICES.get(int(frame.colorspace), guess)


def _tags(frame: Any) -> ColourTags:
    """Primaries and transfer of a frame, small differences of standard definition aside.

    Where a file says nothing, or what all screens take for the same, the numbers are sRGB.
    """
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    plain = {0, 1, 3, _UNSPECIFIED, *_SD_PRIMARIES}
    primaries = _UNSPECIFIED if primaries in plain else primaries
    transfer = _UNSPECIFIED if transfer in {0, 1, 3, 6, 11, 13, 14, 15, *_SD_TRANSFERS} else transfer
    return ColourTags(cicp=(primaries, transfer))


def _aspect(stream: Any) -> Fraction:
    """Width of a pixel by its height."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    return aspect if 1 / Fraction(_LARGEST_ASPECT) <= aspect <= _LARGEST_ASPECT else Fraction(1)


def _upright(pixels: Pixels, frame: Any, stream: Any) -> Pixels:
    """A frame turned and mirrored as its display matrix says, in steps of 90 degrees."""
    right, down, left, up = _display(frame, stream)  # (x, y) goes to (right x + left y, down x + up y)
    if abs(down) > abs(right):
        pixels, right, up = pixels.transpose(1, 0, 2), left, down
    pixels = pixels[:, ::-1] if right < 0 else pixels
    return np.ascontiguousarray(pixels[::-1] if up < 0 else pixels)


def _display(frame: Any, stream: Any) -> tuple[int, int, int, int]:
    for data in map(frame.side_data.__getitem__, range(len(frame.side_data))):
        if data.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(data), np.int32)
            return int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])
    quarter = round(float(stream.metadata.get("rotate", 0)) / 90) % 4  # clockwise, as old files of FFmpeg say it
    return ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))[quarter]


def _notes(frame: Any, stream: Any) -> Iterator[str]:
    """What is done to a video, for people."""
    if frame.interlaced_frame:
        yield "interlaced; one field of each frame is taken, at half the size"
    yield from conversion("RGB", 255, _tags(frame)).notes


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).removeprefix("[Errno ").strip() or type(error).__name__
