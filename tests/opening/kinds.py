"""One small file of every kind that the opener meets, and what a person should see: for tests and for the documents.

Files are made by Pillow, tifffile, libav and imagecodecs, or by hand where these do not write such a kind.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

HEIGHT, WIDTH = 18, 24
_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([10 * _X, 13 * _Y, 5 * _X + 5 * _Y], -1).astype(np.uint8)
GRAY = RGB[..., 1]
OPAQUE = np.full_like(GRAY, 255)
DEEP = (RGB.astype(int) * 257 + 3 * (RGB > 0) * (RGB < 255)).astype(np.uint16)  # 16 bits that 8 do not hold


@dataclass(frozen=True)
class Kind:
    """A file, and the picture in it."""

    format: str
    name: str
    content: bytes
    want: np.ndarray | None = field(default=None)  # [0, 1], (H, W) or (H, W, 3); None: refused
    close: float = 1e-6  # how far pixels may be from that

    def stream(self) -> io.BytesIO:
        """The file as a stream; a name tells a TGA."""
        stream = io.BytesIO(self.content)
        stream.name = f"a.{self.format.lower()}" if self.format == "TGA" else "<stream>"
        return stream


def tiff(strips: Sequence[bytes], tags: dict[int, tuple[int, ...]], order: str = "<", big: bool = False) -> bytes:
    """A TIFF of these strips; tags of size, place and length of the strips are filled in."""
    word, head = ("Q", 16) if big else ("I", 8)
    offsets = [head + sum(map(len, strips[:i])) for i in range(len(strips))]
    filled = {
        256: (WIDTH,),
        257: (HEIGHT,),
        259: (1,),
        273: tuple(offsets),
        278: (HEIGHT,),
        279: tuple(map(len, strips)),
    }
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    start = head + len(body)
    entries = dict(sorted({**filled, **tags}.items()))
    beyond = (
        start
        + struct.calcsize(order + ("Q" if big else "H"))
        + (20 if big else 12) * len(entries)
        + struct.calcsize(word)
    )
    directory, far = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, values in entries.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > struct.calcsize(word):
            far, packed = far + packed, struct.pack(order + word, beyond + len(far))
        directory += struct.pack(f"{order}HH{word}", tag, 4, len(values)) + packed.ljust(struct.calcsize(word), b"\0")
    mark = b"II" if order == "<" else b"MM"
    version = struct.pack(order + "HHHQ", 43, 8, 0, start) if big else struct.pack(order + "HI", 42, start)
    return mark + version + body + directory + bytes(struct.calcsize(word)) + far


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Rows of samples of so many bits, each row filled up to a byte."""
    rows = []
    for row in samples.reshape(len(samples), -1):
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        rows.append(int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big"))
    return b"".join(rows)


def saved(samples: np.ndarray | Image.Image, kind: str, **settings: object) -> bytes:
    """By Pillow."""
    buffer = io.BytesIO()
    picture = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def written(samples: np.ndarray, **settings: object) -> bytes:
    """By tifffile."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **settings)
    return buffer.getvalue()


def into(content: bytes, folder: bytes, box: bytes) -> bytes:
    """A box added at the end of a folder of boxes at the top of a file."""
    at = content.index(folder) - 4
    size = int.from_bytes(content[at : at + 4], "big")
    grown = (size + len(box)).to_bytes(4, "big")
    return content[:at] + grown + content[at + 4 : at + size] + box + content[at + size :]


def defined(content: bytes, *channels: tuple[int, int, int]) -> bytes:
    """A JPEG 2000 with this channel definition: channel, type, association."""
    body = struct.pack(">H", len(channels)) + b"".join(struct.pack(">HHH", *channel) for channel in channels)
    if b"cdef" in content:
        at = content.index(b"cdef") + 4
        return content[:at] + body + content[at + len(body) :]
    return into(content, b"jp2h", struct.pack(">I4s", 8 + len(body), b"cdef") + body)


def described(content: bytes, body: bytes) -> bytes:
    """A JPEG 2000 with another description of its colours."""
    at = content.index(b"colr") - 4
    old = int.from_bytes(content[at : at + 4], "big")
    head = content.index(b"jp2h") - 4
    size = int.from_bytes(content[head : head + 4], "big") - old + 8 + len(body)
    box = struct.pack(">I4s", 8 + len(body), b"colr") + body
    return content[:head] + size.to_bytes(4, "big") + content[head + 4 : at] + box + content[at + old :]


def of_another_item(avif: bytes, box: bytes) -> bytes:
    """An AVIF with one more property, that its picture does not refer to."""
    for folder in (b"ipco", b"iprp", b"meta"):
        at = avif.index(folder) - 4
        size = int.from_bytes(avif[at : at + 4], "big")
        if folder == b"ipco":
            avif = avif[: at + size] + box + avif[at + size :]
        avif = avif[:at] + (size + len(box)).to_bytes(4, "big") + avif[at + 4 :]
    at = avif.index(b"iloc") + 4
    assert avif[at : at + 5] == bytes([0, 0, 0, 0, 0x44])  # offsets and lengths of four bytes, no base
    (items,) = struct.unpack_from(">H", avif, at + 6)
    moved, at = bytearray(avif), at + 8
    for _ in range(items):
        (extents,) = struct.unpack_from(">H", moved, at + 4)
        at += 6
        for _ in range(extents):
            struct.pack_into(">I", moved, at, struct.unpack_from(">I", moved, at)[0] + len(box))
            at += 8
    return bytes(moved)


def tagged(avif: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF whose picture has these code points."""
    at = avif.index(b"colrnclx") + 8
    return avif[:at] + struct.pack(">HH", primaries, transfer) + avif[at + 4 :]


def colour_box(primaries: int, transfer: int) -> bytes:
    """An AVIF property with these code points."""
    return struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", primaries, transfer, 6, 0x80)


def by_libav(samples: np.ndarray, pixels: str) -> bytes:
    """A JPEG 2000 in another pixel format, such as yuv420p."""
    codec = av.CodecContext.create("jpeg2000", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = samples.shape[1], samples.shape[0], pixels, Fraction(1)
    codec.options = {"pred": "1"}  # reversible
    frame = av.VideoFrame.from_ndarray(samples, format="rgb24").reformat(format=pixels, dst_color_range="JPEG")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def kinds() -> Iterator[Kind]:
    """All of them."""
    for make in (_png, _tiff_depths, _tiff_channels, _tiff_packed, _tiff_refused, _jpeg_2000, _avif, _others):
        yield from make()


def _png() -> Iterator[Kind]:
    for bits in (1, 2, 4, 8, 16):
        step = (1 << bits) - 1
        levels = GRAY.astype(int) * step // 255
        yield Kind("PNG", f"gray, {bits} bits", _png_of(0, bits, packed(levels, bits)), levels / step)
    for bits in (1, 2, 4, 8):
        index = GRAY.astype(int) * ((1 << bits) - 1) // 255
        palette = RGB.reshape(-1, 3)[7 :: len(RGB) * WIDTH // (1 << bits)][: 1 << bits]
        content = _png_of(3, bits, packed(index, bits), (b"PLTE", palette.tobytes()))
        yield Kind("PNG", f"palette, {bits} bits", content, palette[index] / 255)
    yield Kind("PNG", "RGB, 8 bits", _png_of(2, 8, RGB.tobytes()), RGB / 255)
    yield Kind("PNG", "RGB, 16 bits", _png_of(2, 16, DEEP.astype(">u2").tobytes()), DEEP / 65535)
    with_alpha = np.dstack([RGB, OPAQUE])
    yield Kind("PNG", "RGB and alpha, opaque", _png_of(6, 8, with_alpha.tobytes()), RGB / 255)
    yield Kind("PNG", "RGB and alpha, transparent somewhere", _png_of(6, 8, np.dstack([RGB, GRAY]).tobytes()))
    index = packed(GRAY.astype(int) * 3 // 255, 2)
    yield Kind("PNG", "palette without a colour for every pixel", _png_of(3, 2, index, (b"PLTE", bytes(range(6)))))
    yield Kind("PNG", "palette of one colour", _png_of(3, 2, index, (b"PLTE", bytes(12))))
    for bits, samples in ((8, RGB.tobytes()), (16, DEEP.astype(">u2").tobytes())):
        rows = samples[: len(samples) * (HEIGHT - 1) // HEIGHT]
        yield Kind("PNG", f"RGB, {bits} bits, a row short", _png_of(2, bits, rows, rows=HEIGHT - 1))


def _png_of(colour_type: int, bits: int, samples: bytes, *before: tuple[bytes, bytes], rows: int = HEIGHT) -> bytes:
    row = len(samples) // rows
    body = b"".join(b"\0" + samples[i * row : (i + 1) * row] for i in range(rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in [(b"IHDR", header), *before, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    )


def _tiff_depths() -> Iterator[Kind]:
    for bits in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16):
        peak = (1 << bits) - 1
        levels = GRAY.astype(int) * peak // 255
        stored = levels.astype("<u2").tobytes() if bits == 16 else packed(levels, bits)
        yield Kind("TIFF", f"gray, {bits} bits", tiff([stored], {258: (bits,), 262: (1,), 277: (1,)}), levels / peak)
    for bits in (2, 4, 8, 10, 12, 14, 16):
        peak = (1 << bits) - 1
        levels = RGB.astype(int) * peak // 255
        stored = levels.astype("<u2").tobytes() if bits == 16 else packed(levels, bits)
        yield Kind("TIFF", f"RGB, {bits} bits", tiff([stored], {258: (bits,) * 3, 262: (2,), 277: (3,)}), levels / peak)
    for order, name in (("<", "little"), (">", "big")):
        for big in (False, True):
            stored = DEEP.astype(order + "u2").tobytes()
            content = tiff([stored], {258: (16,) * 3, 262: (2,), 277: (3,)}, order, big)
            yield Kind("TIFF", f"RGB, 16 bits, {name}-endian{', BigTIFF' * big}", content, DEEP / 65535)
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in RGB.tobytes())
    content = tiff([reversed_bits], {258: (8,) * 3, 262: (2,), 266: (2,), 277: (3,)})
    yield Kind("TIFF", "RGB, 8 bits, last bit first", content, RGB / 255)


def _tiff_channels() -> Iterator[Kind]:
    for bits, peak in ((8, 255), (16, 65535)):
        colour = RGB if bits == 8 else DEEP
        opaque, gray = np.full_like(colour[..., 0], peak), colour[..., 1]
        half = np.full_like(gray, peak // 2)
        premultiplied = (colour.astype(int) * (peak // 2) / peak).round().astype(colour.dtype)
        for planes, where in ((1, "side by side"), (2, "in planes")):

            def stored(*channels: np.ndarray, planes: int = planes) -> list[bytes]:
                rows = [channel.astype(f"<u{channel.itemsize}") for channel in channels]
                return [np.stack(rows, -1).tobytes()] if planes == 1 else [row.tobytes() for row in rows]

            def made(photometric: int, extra: tuple[int, ...], *channels: np.ndarray, planes: int = planes) -> bytes:
                tags = {258: (8 * channels[0].itemsize,) * len(channels), 262: (photometric,), 277: (len(channels),)}
                tags |= {284: (planes,)} | ({338: extra} if extra else {})
                return tiff(stored(*channels, planes=planes), tags)

            planes_of = [colour[..., i] for i in range(3)]
            what = f"{bits} bits, {where}"
            yield Kind("TIFF", f"RGB, {what}", made(2, (), *planes_of), colour / peak)
            yield Kind("TIFF", f"gray and opaque alpha, {what}", made(1, (2,), gray, opaque), gray / peak)
            yield Kind("TIFF", f"white is 0, and opaque alpha, {what}", made(0, (2,), peak - gray, opaque), gray / peak)
            yield Kind("TIFF", f"gray and a channel of no stated use, {what}", made(1, (0,), gray, half), gray / peak)
            yield Kind(
                "TIFF", f"RGB and a channel of no stated use, {what}", made(2, (0,), *planes_of, half), colour / peak
            )
            yield Kind(
                "TIFF",
                f"RGB, a channel of no stated use, opaque alpha, {what}",
                made(2, (0, 2), *planes_of, half, opaque),
                colour / peak,
            )
            yield Kind("TIFF", f"RGB and half alpha, {what}", made(2, (2,), *planes_of, half))
            yield Kind("TIFF", f"RGB and a fourth channel without a word, {what}", made(2, (), *planes_of, half))
            multiplied = [premultiplied[..., i] for i in range(3)]
            yield Kind("TIFF", f"RGB multiplied by half alpha, {what}", made(2, (1,), *multiplied, half))
    levels = np.arange(256)
    colours = np.stack([levels, 255 - levels, levels // 2], -1)
    for scale, name in ((257, "16-bit entries"), (1, "8-bit entries"), (256, "8-bit entries shifted")):
        tags = {258: (8,), 262: (3,), 277: (1,), 320: tuple(int(v) for v in (colours * scale).T.ravel())}
        yield Kind("TIFF", f"palette of {name}", tiff([GRAY.tobytes()], tags), colours[GRAY] / 255)
    inks = np.dstack([255 - RGB, np.zeros_like(GRAY)])
    yield Kind("TIFF", "CMYK", tiff([inks.tobytes()], {258: (8,) * 4, 262: (5,), 277: (4,)}), RGB / 255, 0.01)
    content = tiff([np.dstack([inks, OPAQUE]).tobytes()], {258: (8,) * 5, 262: (5,), 277: (5,), 338: (2,)})
    yield Kind("TIFF", "CMYK and opaque alpha", content, RGB / 255, 0.01)
    lab = np.asarray(ImageCms.profileToProfile(Image.fromarray(RGB), *_lab_profiles(), outputMode="LAB"))
    for photometric, flip in ((8, 0), (9, 128)):
        content = tiff(
            [(lab ^ np.array([0, flip, flip], np.uint8)).tobytes()], {258: (8,) * 3, 262: (photometric,), 277: (3,)}
        )
        yield Kind("TIFF", "CIE Lab" if photometric == 8 else "ICC Lab", content, RGB / 255, 0.12)
    yield from _tiff_of_luma()


def _lab_profiles() -> tuple[ImageCms.ImageCmsProfile, ImageCms.ImageCmsProfile]:
    return tuple(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)) for space in ("sRGB", "LAB"))


def _tiff_of_luma() -> Iterator[Kind]:
    smooth = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    for across, down in ((1, 1), (2, 1), (2, 2)):
        units = bytearray()
        for top in range(0, HEIGHT, down):
            for left in range(0, WIDTH, across):
                unit = smooth[top : top + down, left : left + across]
                units += unit[..., 0].tobytes() + bytes(unit[..., 1:].mean((0, 1)).round().astype(np.uint8))
        for compression, name in ((1, "plain"), (8, "Deflate")):
            body = bytes(units) if compression == 1 else zlib.compress(units)
            tags = {258: (8,) * 3, 259: (compression,), 262: (6,), 277: (3,), 530: (across, down)}
            yield Kind("TIFF", f"YCbCr {across} x {down}, {name}", tiff([body], tags), RGB / 255, 0.06)


def _tiff_packed() -> Iterator[Kind]:
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma"):
        yield Kind("TIFF", f"packed by {name.removeprefix('tiff_')}", saved(RGB, "TIFF", compression=name), RGB / 255)
    black_and_white = GRAY > 100
    for name in ("group3", "group4", "tiff_ccitt"):
        content = saved(Image.fromarray(black_and_white), "TIFF", compression=name)
        yield Kind("TIFF", f"packed by {name.removeprefix('tiff_')} (fax)", content, black_and_white.astype(float))
    yield Kind("TIFF", "packed by JPEG", saved(RGB, "TIFF", compression="jpeg", quality=100), RGB / 255, 0.03)
    content = written(
        RGB, photometric="rgb", compression="jpeg", rowsperstrip=8, compressionargs={"level": 100, "subsampling": "444"}
    )
    yield Kind("TIFF", "packed by JPEG, YCbCr", content, RGB / 255, 0.06)
    content = written(RGB, photometric="rgb", compression="webp", compressionargs={"level": 0, "lossless": True})
    yield Kind("TIFF", "packed by WebP", content, RGB / 255)
    yield Kind("TIFF", "packed by zstd", written(RGB, photometric="rgb", compression="zstd"), RGB / 255)
    content = written(RGB, photometric="rgb", compression="jpeg2000", compressionargs={"level": 0, "reversible": True})
    yield Kind("TIFF", "packed by JPEG 2000", content, RGB / 255)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as pages:
        for step in (3, 1):
            pages.write(RGB[::step, ::step], photometric="rgb", subfiletype=int(step > 1))
    yield Kind("TIFF", "RGB behind a small copy of itself", buffer.getvalue(), RGB / 255)
    private = tiff([zlib.compress(RGB.tobytes())], {258: (8,) * 3, 259: (50013,), 262: (2,), 277: (3,)})
    yield Kind("TIFF", "packed by Deflate under an old private number", private, RGB / 255)
    for samples in (RGB, DEEP):
        content = written(samples, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=5)
        want = samples / np.iinfo(samples.dtype).max
        yield Kind("TIFF", f"packed by LZW with a predictor, {8 * samples.itemsize} bits", content, want)
        content = written(samples, photometric="rgb", compression="zlib", predictor=True, tile=(16, 16))
        yield Kind("TIFF", f"packed by Deflate with a predictor, {8 * samples.itemsize} bits, tiles", content, want)


def _tiff_refused() -> Iterator[Kind]:
    whole = {258: (8,) * 3, 262: (2,), 277: (3,)}
    yield Kind("TIFF", "floating point", written(RGB.astype(np.float32), photometric="rgb"))
    yield Kind("TIFF", "32-bit integers", written(RGB.astype(np.uint32), photometric="rgb"))
    yield Kind("TIFF", "signed integers", written(GRAY.astype(np.int16)))
    yield Kind("TIFF", "5, 6 and 5 bits", tiff([bytes(2 * HEIGHT * WIDTH)], whole | {258: (5, 6, 5)}))
    yield Kind("TIFF", "a transparency mask", tiff([GRAY.tobytes()], {258: (8,), 262: (4,), 277: (1,)}))
    yield Kind("TIFF", "a camera's raw mosaic", tiff([GRAY.tobytes()], {258: (8,), 262: (32803,), 277: (1,)}))
    yield Kind("TIFF", "a raw photo (DNG)", tiff([RGB.tobytes()], whole | {50706: (0x01040000,)}))
    yield Kind(
        "TIFF", "inks other than CMYK", tiff([RGB.tobytes()], whole | {262: (5,), 277: (4,), 258: (8,) * 4, 332: (2,)})
    )
    yield Kind("TIFF", "unknown packing", tiff([RGB.tobytes()], whole | {259: (60000,)}))
    yield Kind("TIFF", "strips left out", tiff([RGB.tobytes()], whole | {279: (0,)}))
    yield Kind("TIFF", "a strip that is too short", tiff([RGB.tobytes()[:-50]], whole))
    yield Kind("TIFF", "a strip beyond the end of the file", tiff([RGB.tobytes()], whole | {273: (9000,)}))
    yield Kind("TIFF", "palette picture without a palette", tiff([GRAY.tobytes()], {258: (8,), 262: (3,), 277: (1,)}))
    yield Kind("TIFF", "numbers of no stated meaning", tiff([GRAY.tobytes()], {258: (8,), 277: (1,)}))
    twelve = {258: (12,) * 3, 262: (2,), 277: (3,), 317: (2,)}
    yield Kind("TIFF", "a predictor on 12 bits", tiff([packed(RGB.astype(int) * 16, 12)], twelve))
    black = {258: (8,), 262: (3,), 277: (1,), 320: (0,) * 768}
    yield Kind("TIFF", "palette of one colour", tiff([GRAY.tobytes()], black))


def _jpeg_2000() -> Iterator[Kind]:
    for bits in (4, 8, 10, 12, 16):
        peak = (1 << bits) - 1
        levels = (RGB.astype(int) * peak // 255).astype(np.uint8 if bits <= 8 else np.uint16)
        content = imagecodecs.jpeg2k_encode(levels, level=0, bitspersample=bits)
        yield Kind("JPEG2000", f"RGB, {bits} bits", content, levels / peak)
        content = imagecodecs.jpeg2k_encode(levels[..., 1], level=0, bitspersample=bits)
        yield Kind("JPEG2000", f"gray, {bits} bits", content, levels[..., 1] / peak)
    exact: dict[str, object] = {"irreversible": False, "mct": 0}
    turned = saved(np.ascontiguousarray(RGB[..., ::-1]), "JPEG2000", **exact)
    content = defined(turned, (0, 0, 3), (1, 0, 2), (2, 0, 1))
    yield Kind("JPEG2000", "stored as blue, green, red", content, RGB / 255)
    alpha_first = saved(np.dstack([OPAQUE, RGB]), "JPEG2000", **exact)
    content = defined(alpha_first, (0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3))
    yield Kind("JPEG2000", "opaque alpha before the colours", content, RGB / 255)
    four = saved(np.dstack([RGB, GRAY]), "JPEG2000", **exact)
    content = defined(four, (0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 65535, 65535))
    yield Kind("JPEG2000", "RGB and a channel of no stated use", content, RGB / 255)
    yield Kind("JPEG2000", "RGB and alpha, transparent somewhere", four)
    yield from _jpeg_2000_palettes(exact)
    for pixels in ("yuv444p", "yuv422p", "yuv420p"):
        for samples, name in ((RGB, "even"), (RGB[1:, 1:], "odd")):
            content = by_libav(np.ascontiguousarray(samples), pixels)
            yield Kind("JPEG2000", f"sYCC {pixels[3:6]}, {name} sides", content, samples / 255, 0.1)
    content = saved(RGB, "JPEG2000", **exact)
    at = content.index(b"colr") + 7
    yield Kind("JPEG2000", "CIE Lab", content[:at] + struct.pack(">I", 14) + content[at + 4 :])
    for name, codes, want in (("sRGB", (1, 13, 0), RGB / 255), ("PQ", (9, 16, 0), None), ("YCbCr", (1, 13, 6), None)):
        content = described(saved(RGB, "JPEG2000", **exact), struct.pack(">3B3HB", 5, 0, 0, *codes, 128))
        yield Kind("JPEG2000", f"{name} by code points", content, want)


def _jpeg_2000_palettes(exact: dict[str, object]) -> Iterator[Kind]:
    levels = np.arange(256)
    palette = np.stack([levels, 255 - levels, levels // 2], -1).astype(np.uint8)
    for order, name in (((0, 1, 2), "palette"), ((2, 1, 0), "palette as blue, green, red")):
        entries = palette[:, order].tobytes()
        boxes = struct.pack(">I4sHBBBB", 14 + len(entries), b"pclr", 256, 3, 7, 7, 7) + entries
        boxes += struct.pack(">I4s", 20, b"cmap") + b"".join(struct.pack(">HBB", 0, 1, i) for i in range(3))
        content = into(saved(GRAY, "JPEG2000", **exact), b"jp2h", boxes)
        at = content.index(b"colr") + 7
        content = content[:at] + struct.pack(">I", 16) + content[at + 4 :]
        content = defined(content, *((i, 0, order[i] + 1) for i in range(3)))
        yield Kind("JPEG2000", name, content, palette[GRAY] / 255)


def _avif() -> Iterator[Kind]:
    plain = saved(RGB, "AVIF", quality=100, subsampling="4:4:4")
    yield Kind("AVIF", "sRGB", plain, RGB / 255, 0.03)
    for name, box in (("PQ (a gain map)", colour_box(9, 16)), ("Display P3", colour_box(12, 13))):
        yield Kind("AVIF", f"sRGB beside an item of {name}", of_another_item(plain, box), RGB / 255, 0.03)
    yield Kind("AVIF", "PQ", tagged(plain, 9, 16))
    yield Kind("AVIF", "PQ beside an item of sRGB", of_another_item(tagged(plain, 9, 16), colour_box(1, 13)))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiled = saved(RGB, "AVIF", quality=100, subsampling="4:4:4", icc_profile=profile)
    yield Kind("AVIF", "a profile of sRGB beside code points of P3", tagged(profiled, 12, 13), RGB / 255, 0.03)
    yield Kind("AVIF", "as one of the compatible brands", plain[:8] + b"mif1" + plain[12:], RGB / 255, 0.03)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(RGB, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    yield Kind("AVIF", "turned", turned, np.rot90(RGB, -1) / 255, 0.03)
    yield Kind("AVIF", "HEIC, by its brands", plain[:8] + b"heic" + plain[12:16] + b"mif1heic" + plain[24:])


def _others() -> Iterator[Kind]:
    for kind in ("BMP", "TGA", "QOI", "PPM"):
        yield Kind(kind, "RGB", saved(RGB, kind), RGB / 255)
    yield Kind(
        "PPM", "RGB, 16 bits", b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + DEEP.astype(">u2").tobytes(), DEEP / 65535
    )
    lines = b"P5\r\n%d %d\r\n255\r\n" % (WIDTH, HEIGHT)
    yield Kind("PPM", "gray, the header with line ends of Windows", lines + GRAY.tobytes(), GRAY / 255)
    head = struct.pack("<3B4xB4H2B", 0, 0, 2, 0, 0, 0, WIDTH, HEIGHT, 32, 0x20)
    unused = np.dstack([RGB[..., ::-1], np.zeros_like(GRAY)]).tobytes()
    yield Kind("TGA", "RGB and a byte that the head calls no alpha", head + unused, RGB / 255)
    yield Kind("TGA", "RGB and a byte that the head calls alpha", head[:-1] + b"\x28" + unused)
    yield Kind("PBM", "black and white", saved(Image.fromarray(GRAY > 100), "PPM"), (GRAY > 100).astype(float))
    yield Kind("WEBP", "lossless", saved(RGB, "WEBP", lossless=True), RGB / 255)
    yield Kind("WEBP", "animation that begins with a part of the picture", _animated_webp())
    yield Kind("JPEG", "RGB", saved(RGB, "JPEG", quality=100, subsampling=0), RGB / 255, 0.02)
    yield from _runs_of_bmp()
    yield Kind("JPEG", "JPEG-LS", imagecodecs.jpegls_encode(RGB))
    yield Kind("JPEG", "12 bits", imagecodecs.jpeg8_encode(DEEP >> 4, level=95, bitspersample=12))
    yield Kind("JPEG", "gray", saved(GRAY, "JPEG", quality=100), GRAY / 255, 0.01)
    whole = saved(Image.fromarray(RGB).quantize(200), "GIF")
    yield Kind("GIF", "palette", whole, np.asarray(Image.fromarray(RGB).quantize(200).convert("RGB")) / 255)
    yield Kind("GIF", "begins with a part of the picture", whole[:6] + struct.pack("<HH", 40, 30) + whole[10:])


def _runs_of_bmp() -> Iterator[Kind]:
    levels = np.arange(256)
    colours = np.stack([levels, 255 - levels, levels // 2], -1)
    palette = np.dstack([colours[None, :, ::-1], np.zeros((1, 256, 1), int)]).astype(np.uint8).tobytes()

    def bmp(lines: Sequence[bytes]) -> bytes:
        body = b"".join(line + b"\0\0" for line in lines) + b"\0\1"
        start = 54 + len(palette)
        sizes = (40, WIDTH, HEIGHT, 1, 8, 1, len(body), 0, 0, 0, 0)
        head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + struct.pack("<IiiHHIIiiII", *sizes)
        return head + palette + body

    single = [bytes(v for level in row for v in (1, level)) for row in GRAY[::-1]]
    as_they_are = [bytes([0, WIDTH, *row]) for row in GRAY[::-1]]
    for lines, name in ((single, "runs"), (as_they_are, "runs of length one")):
        yield Kind("BMP", f"palette, {name}", bmp(lines), colours[GRAY] / 255)
    yield Kind("BMP", "runs that end early", bmp(single[:9]))
    yield Kind("BMP", "runs that leave lines short", bmp([line[:20] for line in single]))


def _animated_webp() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    def three(value: int) -> bytes:
        return value.to_bytes(3, "little")

    frame = three(0) * 2 + three(WIDTH - 1) + three(HEIGHT - 1) + three(100) + b"\0"
    frame += saved(RGB, "WEBP", lossless=True)[12:]
    body = chunk(b"VP8X", bytes([2, 0, 0, 0]) + three(39) + three(29))
    body += chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame) * 2
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
