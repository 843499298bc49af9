from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from pim.errors import InputError
from pim.images.opener import OpenOptions, open_image


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 65536, (37, 53, 3), np.uint16)


def written(samples: np.ndarray, **settings: object) -> io.BytesIO:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **settings)
    buffer.seek(0)
    return buffer


def by_hand(content: bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """A little-endian TIFF of one strip; tag 273, the place of the strip, is filled in."""
    tags = tags | {273: (8,), 279: (len(content),)}
    start = 8 + len(content)
    directory, far = struct.pack("<H", len(tags)), b""
    beyond = start + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        values = struct.pack(f"<{len(tags[tag])}I", *tags[tag])
        place = values if len(values) == 4 else struct.pack("<I", beyond + len(far))
        far += b"" if len(values) == 4 else values
        directory += struct.pack("<HHI", tag, 4, len(tags[tag])) + place
    return b"II*\x00" + struct.pack("<I", start) + content + directory + bytes(4) + far


def sixteen(opened) -> np.ndarray:
    return np.rint(opened.pixels * 65535.0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"byteorder": ">"},
        {"rowsperstrip": 5},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 16},
        {"compression": "zlib", "byteorder": ">", "predictor": True},
        {"tile": (16, 32)},
        {"tile": (32, 16), "compression": "zlib", "predictor": True},
        {"bigtiff": True},
    ],
)
def test_all_sixteen_bits_of_colour_arrive(colour, settings):
    opened = open_image(written(colour, photometric="rgb", **settings))
    assert np.array_equal(sixteen(opened), colour)
    assert (opened.decoding.mode, opened.decoding.bit_depth) == ("RGB;16", 16)


@pytest.mark.parametrize("settings", [{}, {"compression": "zlib", "predictor": True, "rowsperstrip": 8}])
def test_separate_planes_are_put_together(colour, settings):
    planes = np.ascontiguousarray(np.moveaxis(colour, -1, 0))
    opened = open_image(written(planes, photometric="rgb", planarconfig="separate", **settings))
    assert np.array_equal(sixteen(opened), colour)


def test_lzw_needs_no_further_package(colour):
    # libtiff packs the bytes of each line as if they were a gray picture; the tags then say what they are.
    buffer = io.BytesIO()
    lines = np.frombuffer(colour.astype("<u2").tobytes(), np.uint8).reshape(37, 53 * 6)
    Image.fromarray(lines).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={278: 37})
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        page = file.pages[0]
        (offset,), (length,) = page.dataoffsets, page.databytecounts
        assert (int(page.compression), int(page.predictor)) == (5, 1)
    packed = buffer.getvalue()[offset : offset + length]
    tags = {256: (53,), 257: (37,), 258: (16, 16, 16), 259: (5,), 262: (2,), 277: (3,), 278: (37,)}
    assert np.array_equal(sixteen(open_image(io.BytesIO(by_hand(packed, tags)))), colour)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_all_sixteen_bits_of_gray_arrive(colour, photometric):
    gray = colour[..., 0]
    want = gray if photometric == "minisblack" else 65535 - gray
    opened = open_image(written(gray, photometric=photometric))
    assert np.array_equal(sixteen(opened), np.broadcast_to(want[..., None], colour.shape))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_sixteen_bit_gray_of_pillow_arrives(colour, compression):
    buffer = io.BytesIO()
    Image.fromarray(colour[..., 1]).save(buffer, "TIFF", compression=compression)
    buffer.seek(0)
    assert np.array_equal(sixteen(open_image(buffer))[..., 2], colour[..., 1])


def test_twelve_bit_gray_is_divided_by_its_own_peak():
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01])  # 0, 4095, 2048, 1
    content = by_hand(packed, {256: (4,), 257: (1,), 258: (12,), 259: (1,), 262: (1,), 277: (1,), 278: (1,)})
    opened = open_image(io.BytesIO(content))
    assert np.allclose(opened.pixels[0, :, 0] * 4095, [0, 4095, 2048, 1], atol=1e-3)
    assert opened.decoding.bit_depth == 12


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_alpha_is_blended_and_undone_where_it_was_multiplied_in(extra):
    straight = np.array([[[60000, 30000, 0, 32768], [10, 20, 30, 65535]]], np.uint16)
    stored = straight.copy()
    if extra == "assocalpha":
        stored[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 65535))
    content = written(stored, photometric="rgb", extrasamples=[extra])
    with pytest.raises(InputError, match="transparent pixels"):
        open_image(content)
    content.seek(0)
    opened = open_image(content, OpenOptions(background="black"))
    want = straight[..., :3] / 65535 * straight[..., 3:] / 65535
    assert np.allclose(opened.pixels, want, atol=2e-5)


def test_unspecified_extra_sample_is_no_alpha(colour):
    four = np.concatenate([colour, colour[..., :1]], -1)
    opened = open_image(written(four, photometric="rgb", extrasamples=["unspecified"]))
    assert opened.decoding.alpha == "none"
    assert np.array_equal(sixteen(opened), colour)


def test_page_is_selected_and_each_page_keeps_its_depth(colour):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(colour, photometric="rgb")
        writer.write((colour[:20, :30] >> 8).astype(np.uint8), photometric="rgb")
    buffer.seek(0)
    first = open_image(buffer)
    assert first.decoding.frames == 2
    assert any("2 frames" in note for note in first.decoding.notes)
    buffer.seek(0)
    second = open_image(buffer, OpenOptions(frame=1)).decoding
    assert (second.width, second.height, second.bit_depth, second.frame, second.notes) == (30, 20, 8, 1, ())


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.float32, "floating-point"),
        (np.float16, "floating-point"),
        (np.int16, "signed"),
        (np.int32, "signed"),
        (np.uint32, "32-bit"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_without_a_defined_white_are_refused(dtype, message, channels):
    picture = np.zeros((5, 6) if channels == 1 else (5, 6, 3), dtype)
    with pytest.raises(InputError, match=message):
        open_image(written(picture, photometric="minisblack" if channels == 1 else "rgb"))


@pytest.mark.parametrize(
    "settings", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 4, "compression": "zlib"}]
)
def test_missing_data_is_refused_and_never_filled(colour, settings):
    content = written(colour, photometric="rgb", **settings).getvalue()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        offset, length = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    assert offset + length == len(content)
    with pytest.raises(InputError, match="TIFF"):
        open_image(io.BytesIO(content[: -length // 2]))


def test_strip_that_is_marked_as_absent_is_refused(colour):
    raw = colour.astype("<u2").tobytes()
    tags = {256: (53,), 257: (37,), 258: (16, 16, 16), 259: (1,), 262: (2,), 277: (3,), 278: (37,)}
    whole = by_hand(raw, tags)
    assert np.array_equal(sixteen(open_image(io.BytesIO(whole))), colour)
    absent = whole.replace(struct.pack("<HHII", 279, 4, 1, len(raw)), struct.pack("<HHII", 279, 4, 1, 0))
    assert absent != whole
    with pytest.raises(InputError, match="leaves out strips"):
        open_image(io.BytesIO(absent))


def test_sixteen_bit_cmyk_says_that_precision_was_lost():
    inks = np.full((4, 5, 4), 20000, np.uint16)
    opened = open_image(written(inks, photometric="separated"))
    assert opened.decoding.bit_depth == 16
    assert any("converted at 8 bits" in note for note in opened.decoding.notes)
