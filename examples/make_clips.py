"""Makes examples/clips: a window that slides over examples/reference.png, coded with H.264 and HEVC.

    python examples/make_clips.py

`dropped.mp4` has 25 frames a second where the original has 30, and lacks three of them. Needs PyAV with x264 and x265.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
CLIPS = HERE / "clips"
WIDTH, HEIGHT, COUNT, RATE = 160, 112, 60, 30
TICK = Fraction(1, 90_000)  # seconds
QUALITIES = (26, 32, 38)
CODERS = {"x264": "libx264", "x265": "libx265"}

Frame = tuple[Fraction, np.ndarray[Any, Any]]  # time in seconds, pixels


def frames() -> list[Frame]:
    """The original: slow, fast in the middle, slow again."""
    picture = np.asarray(Image.open(HERE / "reference.png").convert("RGB"))
    way = (1 - np.cos(np.linspace(0, np.pi, COUNT))) / 2
    lefts = np.rint(way**2 * (picture.shape[1] - WIDTH)).astype(int)
    tops = np.rint((1 - way) * 60 + 60).astype(int)
    windows = [picture[t : t + HEIGHT, x : x + WIDTH] for t, x in zip(tops, lefts, strict=True)]
    return [(Fraction(n, RATE), np.ascontiguousarray(window)) for n, window in enumerate(windows)]


def write(name: str, shown: Sequence[Frame], coder: str, quality: int, rate: int = RATE) -> None:
    """Write a clip into the folder."""
    path = CLIPS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(coder, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(quality), "x265-params": "log-level=none"}
        stream.codec_context.time_base = TICK
        for time, pixels in shown:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    """Write all clips."""
    original = frames()
    write("original.mp4", original, "libx264", 10)
    for folder, coder in CODERS.items():
        for quality in QUALITIES:
            write(f"{folder}/{quality}.mp4", original, coder, quality)
    nearest = [(Fraction(n, 25), original[min(round(n * RATE / 25), COUNT - 1)][1]) for n in range(COUNT * 25 // RATE)]
    write("dropped.mp4", [frame for n, frame in enumerate(nearest) if n not in (12, 13, 30)], "libx264", 26, 25)


if __name__ == "__main__":
    main()
