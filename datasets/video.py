"""The frames of video files, by the rules by which pictures are opened.

Sources: ITU-T H.273 (code points of matrix, range, primaries, transfer); FFmpeg, libavutil/display.h (display matrix).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
_RATE = 25  # frames a second of a file that says nothing
_LARGEST_ASPECT = 8  # of a pixel; more is damage


class Frame(NamedTuple):
    """A frame of a clip, or the place of one that cannot be used."""

    pixels: Pixels | None
    follows: bool = True  # directly after the one before
    time: float | None = None  # in seconds, at which it is shown; None: the file does not say
    problem: str = ""  # why it cannot be used, as what follows the name of the file


@dataclass(frozen=True, eq=False)
class Clip:
    """What the headers and the packets of a video file say, without decoding."""

    codec: str  # as FFmpeg calls it
    frames: int
    bytes: int  # of the video stream alone
    times: NDArray[np.float64]  # of the frames, ascending, in seconds; empty: the file has none
    seconds: float  # from the first frame to the end of the last
    rate: float  # frames a second, in the mean
    cut: str = ""  # how much is missing at the end, as what follows the name of the file
    known_until: float = math.inf  # in seconds: of a file that is cut off, frames before that are all there


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
    reason = ""
    with _opened(path) as container:
        stream = _best_stream(container, path)
        try:
            untimed = _untimed(container, stream)
            for frame, time, problem in _decoded(container, stream):
                reason, pixels = problem or reason, None
                try:
                    pixels = None if frame is None else _rendered(frame, stream)
                except InputError as error:
                    reason = str(error)
                if pixels is not None and not given:
                    for note in _notes(frame, stream):
                        tell(f"{path}: {note}")
                given, lost = given + (pixels is not None), lost + (pixels is None)
                yield Frame(pixels, time=None if untimed else time, problem="" if pixels is not None else reason)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = reason or f"is cut off or damaged: {_words(error)}"
            if given:
                tell(f"{path} is cut off or damaged: {_words(error)}; the frames before that are used")
    if not given:
        raise InputError(f"{path} {reason or 'has no frames'}")
    if lost:
        tell(f"{path}: {lost} frames are left out; the file {reason or 'is damaged'}")


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Any, float | None, str]]:
    """Frames and their times; None, and what is wrong, for those that are damaged or predicted from such a one."""
    av = _av()
    stream.codec_context.options = {"err_detect": "explode"}  # else what is lost is made up, without a word
    reason, torn = "", False
    whole: set[int] = set()  # times of the packets before any damage whose frames are still to come
    for packet in container.demux(stream):
        torn = torn or packet.is_corrupt
        whole |= set() if torn or packet.pts is None else {packet.pts}
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            reason, torn = f"is damaged: {_words(error)}", True
            whole.discard(packet.pts)
            yield None, None if packet.pts is None else float(packet.pts * packet.time_base), reason
            continue
        for frame in frames:
            before = frame.pts in whole and not frame.is_corrupt
            whole.discard(frame.pts)
            if not before:
                torn = frame.is_corrupt or (torn and not frame.key_frame)
            yield (frame if before or not torn else None), frame.time, reason or ("is damaged" if torn else "")


def count_frames(path: Path) -> int:
    """How many frames a video file has, or says to have: nothing is decoded.

    Raises:
        InputError: if it cannot be read.
    """
    return look_at(path).frames


def look_at(path: Path) -> Clip:
    """Read a video file to its end, without decoding.

    Raises:
        InputError: if it cannot be read.
    """
    av = _av()
    count = size = 0
    times, ends = array("d"), array("d")
    problem, until = "", -math.inf
    with _opened(path) as container:
        stream = _best_stream(container, path)
        try:
            # The count in the header can be missing or wrong; packets are counted without decoding.
            for packet in container.demux(stream):
                count, size = count + bool(packet.size), size + packet.size
                if packet.pts is not None and not packet.is_discard and not _untimed(container, stream):
                    times.append(float(packet.pts * packet.time_base))
                    ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    # what is decoded later is shown later than this is decoded
                    until = float((packet.pts if packet.dts is None else packet.dts) * packet.time_base)
        except (av.FFmpegError, OSError, ValueError) as error:
            problem = f"is cut off or damaged: {_words(error)}"
            if not count:
                raise InputError(f"{path} cannot be read as a video: {_words(error)}") from error
        span = max(times) - min(times) if times else 0.0
        # of a recording the header may hold the ticks of its clock
        rate = (len(times) - 1) / span if span else float(stream.average_rate or stream.guessed_rate or _RATE)
        end = max(max(ends), max(times) + 1 / rate) if times else count / rate
        seconds, missing = end - min(times, default=0.0), _promised_end(stream) - end
        problem = problem or ("" if count else "has no frames")
        if missing > 1 / rate:
            problem = problem or f"is cut off: {missing:.3f} s are missing at the end"
        name = stream.codec_context.name
    known_until = math.inf if not problem else until if times else end - 1 / rate
    return Clip(name, count, size, np.sort(np.array(times)), seconds, rate, problem, known_until)


def _untimed(container: Any, stream: Any) -> bool:
    """Whether the times in a file are none of frames: those of an AVI are in the order of its packets."""
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _promised_end(stream: Any) -> float:
    """When the video ends by the header, in seconds; 0 if it does not say."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    hours, minutes, seconds = stream.metadata.get("DURATION", "0:0:0").split(":")  # Matroska, for each stream
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


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
