"""Open damaged files and report what happened, as JSON; `python tests/opening/fuzz.py PNG 2000 0`.

A process of its own, because a decoder that crashes takes its process along, and so that memory can be limited.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from pim.errors import InputError
from pim.images.opener import OpenedImage, OpenOptions, open_image

OPTIONS = OpenOptions(background="white", max_pixels=1_000_000)
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)


def valid_files(kind: str) -> list[bytes]:
    """Small whole files of a format, with as many features as writers offer."""
    x, y = np.meshgrid(np.arange(24), np.arange(18))
    colour = Image.fromarray(np.stack([10 * x, 14 * y, 5 * x + 5 * y, 255 - 0 * x], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb, gray, wide = colour.convert("RGB"), colour.convert("L"), Image.fromarray((x * y * 150).astype(np.uint16))
    deep = (np.asarray(rgb).astype(np.uint16) * 257)[..., ::-1]
    several = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    made: dict[str, list[bytes]] = {
        "PNG": [
            _saved(colour, "PNG", exif=exif, icc_profile=icc),
            _saved(rgb.quantize(9), "PNG", transparency=2),
            _saved(rgb.quantize(4), "PNG", bits=2),
            _saved(rgb.convert("1"), "PNG"),
            _saved(rgb, "PNG", **several),
        ],
        "PNG16": [_saved(wide, "PNG", exif=exif), _saved(wide, "PNG", icc_profile=icc)],
        "JPEG": [
            _saved(rgb, "JPEG", exif=exif, icc_profile=icc),
            _saved(rgb.convert("CMYK"), "JPEG", progressive=True),
            _saved(rgb, "MPO", **several),
        ],
        "WEBP": [_saved(colour, "WEBP", lossless=True, exif=exif), _saved(rgb, "WEBP", icc_profile=icc, **several)],
        "AVIF": [_saved(rgb, "AVIF", exif=exif, speed=10), _saved(colour, "AVIF", icc_profile=icc, speed=10)],
        "GIF": [_saved(rgb, "GIF"), _saved(rgb, "GIF", **several)],
        "TIFF": [
            _saved(rgb, "TIFF", exif=exif, icc_profile=icc),
            _saved(gray, "TIFF", compression="tiff_lzw"),
            _saved(rgb, "TIFF", compression="jpeg"),
            _saved(rgb.convert("1"), "TIFF", compression="group4"),
            _saved(rgb.convert("1"), "TIFF", compression="group3"),
            _saved(rgb.quantize(200), "TIFF", compression="packbits"),
            _saved(rgb.convert("CMYK"), "TIFF"),
            _saved(rgb.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
            _tiff(np.moveaxis(np.asarray(colour), -1, 0).copy(), planarconfig="separate", extrasamples=["unassalpha"]),
            _tiff(np.asarray(rgb), tile=(16, 16), compression="jpeg"),
        ],
        "TIFF16": [
            _tiff(deep, compression="zlib", predictor=True, rowsperstrip=5),
            _tiff(deep, tile=(16, 16), byteorder=">"),
            _saved(wide, "TIFF", compression="tiff_lzw"),
            _saved(wide, "TIFF"),
            _tiff(deep >> 4, bitspersample=12),
        ],
        "BMP": [_saved(rgb, "BMP"), _saved(rgb.quantize(7), "BMP"), _saved(rgb.convert("1"), "BMP")],
        "PPM": [
            _saved(rgb, "PPM"),
            b"P6 6 4 65535\n" + bytes(range(144)),
            b"P2\n# plain\n6 4 999\n" + b"12 999 " * 12,
            _saved(rgb.convert("1"), "PPM"),
        ],
        "TGA": [_saved(colour, "TGA", compression="tga_rle"), _saved(gray, "TGA")],
        "QOI": [_saved(rgb, "QOI")],
        "JPEG2000": [
            _saved(rgb, "JPEG2000"),
            _saved(wide, "JPEG2000", no_jp2=True),
            _saved(colour, "JPEG2000"),
            imagecodecs.jpeg2k_encode(deep, level=0),
        ],
    }
    return made[kind]


def _saved(picture: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def _tiff(samples: np.ndarray, **settings: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="rgb", **settings)
    return buffer.getvalue()


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to three random changes; mostly near the beginning, where headers are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not changed:
            break
        near = min(len(changed), chance.choice((32, 128, 512, len(changed))))
        at = chance.randrange(near)
        what = chance.randrange(6)
        if what == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            changed = changed[: chance.randrange(len(changed))]
        elif what == 2:
            size, order = chance.choice((1, 2, 4)), chance.choice(("little", "big"))
            number = chance.choice(NUMBERS) % (1 << 8 * size)
            changed[at : at + size] = number.to_bytes(size, order)
        elif what == 3:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            changed[at:at] = other[start : start + chance.randrange(64)]
        elif what == 4:
            del changed[at : at + chance.randrange(1, 16)]
        else:
            changed[at : at + 4] = chance.randbytes(4)
    return bytes(changed)


def repaired(content: bytes) -> bytes:
    """A PNG with right checksums, so that damage gets past them."""
    fixed, at = bytearray(content), 8
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


def verdict(opened: OpenedImage, content: bytes) -> str:
    """ "opened", or what is wrong with what came out."""
    height, width, channels = opened.pixels.shape
    if channels != 3 or (opened.decoding.width, opened.decoding.height) != (width, height):
        return "record and pixels disagree"
    if not (np.isfinite(opened.pixels).all() and opened.pixels.min() >= 0 and opened.pixels.max() <= 1):
        return "values outside [0, 1]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as header:
                size = header.size
                swap = opened.decoding.orientation >= 5 and header.format != "TIFF"
    except Exception:
        return "opened, unknown to Pillow"
    return "opened" if size == ((height, width) if swap else (width, height)) else "size is not that of the header"


def peak_memory() -> float | None:
    """Most memory that this process ever held, in MiB; None where the system does not say.

    Not `resource.getrusage`, which counts the parent's memory too.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main(kind: str, count: int, seed: int) -> None:
    """Open `count` damaged files and print how many ended how."""
    files = valid_files(kind)
    name = "a.tga" if kind == "TGA" else "<stream>"
    chance, ends, leaked = random.Random(f"{kind} {seed}"), Counter[str](), list[str]()
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_, **__: leaked.append(str(message))
    slowest = 0.0
    for content in files:
        assert verdict(_open(content, name), content).startswith("opened"), kind
    for number in range(count):
        content = mutated(chance.choice(files), files, chance)
        content = repaired(content) if kind.startswith("PNG") and number % 2 else content
        start = time.process_time()
        try:
            end = verdict(_open(content, name), content)
        except InputError as error:
            end = "refused" if str(error).isprintable() and str(error).startswith(name) else f"message {error!r}"
            end = "out of memory" if "memory" in str(error) else end
        slowest = max(slowest, time.process_time() - start)
        ends[end] += 1
    sys.stdout.write(
        json.dumps({"ends": ends, "warnings": leaked[:5], "slowest": slowest, "peak": peak_memory()}) + "\n"
    )


def _open(content: bytes, name: str) -> OpenedImage:
    stream = io.BytesIO(content)
    stream.name = name
    return open_image(stream, OPTIONS)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
