from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pim.errors import InputError
from pim.images import png16
from pim.images.opener import OpenOptions, open_image

LIMIT = 10**6


def decode(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    return png16.decode(stream, png16.scan(stream, LIMIT))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    channels=st.integers(1, 4),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    interlaced=st.booleans(),
    depth=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_filter_depth_and_interlace_round_trips(png, size, channels, filters, interlaced, depth, seed):
    samples = np.random.default_rng(seed).integers(0, np.iinfo(depth).max, (*size, channels), depth, endpoint=True)
    decoded = decode(png(samples, filters=filters, interlaced=interlaced))
    assert decoded.dtype == depth
    assert np.array_equal(decoded, samples)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_eight_bits_decode_as_in_pillow(mode):
    x, y = np.meshgrid(np.arange(61), np.arange(43))
    ramps = np.stack([3 * x, 5 * y, x * y, 255 - x - y], -1).astype(np.uint8)  # a picture that makes encoders filter
    buffer = io.BytesIO()
    Image.fromarray(ramps, "RGBA").convert(mode).save(buffer, "PNG")
    with Image.open(buffer) as picture:
        assert np.array_equal(np.squeeze(decode(buffer.getvalue())), np.asarray(picture))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interlaced", [False, True])
def test_all_sixteen_bits_arrive(png, channels, interlaced):
    samples = np.random.default_rng(1).integers(0, 65536, (23, 31, channels), np.uint16)
    opened = open_image(io.BytesIO(png(samples, interlaced=interlaced)))
    assert np.array_equal(np.rint(opened.pixels * 65535.0), np.broadcast_to(samples, (23, 31, 3)))
    assert opened.decoding.bit_depth == 16


def test_sixteen_bit_gray_is_not_clipped_to_white():
    buffer = io.BytesIO()
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(ramp).save(buffer, "PNG")
    buffer.seek(0)
    assert np.array_equal(np.rint(open_image(buffer).pixels[..., 1] * 65535.0), ramp)


@pytest.mark.parametrize("channels", [2, 4])
def test_sixteen_bit_alpha_is_blended_at_full_precision(png, channels):
    samples = np.random.default_rng(2).integers(0, 65536, (5, 7, channels), np.uint16)
    opened = open_image(io.BytesIO(png(samples)), OpenOptions(background="#336699"))
    alpha = samples[..., -1:] / 65535
    want = alpha * samples[..., :-1] / 65535 + (1 - alpha) * np.array([0x33, 0x66, 0x99]) / 255
    assert np.allclose(opened.pixels, want, atol=1e-6, rtol=0)


def test_sixteen_bit_colour_key_hides_only_the_exact_colour(png):
    samples = np.full((2, 3, 3), 1000, np.uint16)
    samples[1, 2, 2] = 1001
    content = png(samples, before=[(b"tRNS", struct.pack(">3H", 1000, 1000, 1000))])
    with pytest.raises(InputError, match="transparent pixels"):
        open_image(io.BytesIO(content))
    pixels = open_image(io.BytesIO(content), OpenOptions(background="white")).pixels
    assert pixels[0, 0].tolist() == [1, 1, 1]
    assert np.array_equal(np.rint(pixels[1, 2] * 65535), [1000, 1000, 1001])


def test_colour_key_that_no_pixel_has_counts_as_opaque(png):
    content = png(np.full((2, 2, 1), 7, np.uint16), before=[(b"tRNS", struct.pack(">H", 8))])
    assert open_image(io.BytesIO(content)).decoding.alpha == "opaque"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:-12], "cut short"),
        (lambda c: c[:60], "cut short"),
        (lambda c: c[:50] + bytes([c[50] ^ 1]) + c[51:], "wrong checksum"),
        (lambda c: c[:20] + struct.pack(">I", 0) + c[24:], "wrong checksum|no pixels"),
    ],
)
def test_damage_is_named(png, spoil, message):
    content = png(np.zeros((9, 8, 3), np.uint16))
    with pytest.raises(InputError, match=message):
        open_image(io.BytesIO(spoil(content)))


def gray_16(png_of_chunks, body: bytes) -> io.BytesIO:
    """4 x 9 pixels, says the header."""
    header = struct.pack(">IIBBBBB", 4, 9, 16, 0, 0, 0, 0)
    return io.BytesIO(png_of_chunks((b"IHDR", header), (b"IDAT", zlib.compress(body, 9)), (b"IEND", b"")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [(8, "cut short"), (10, "more pixels"), pytest.param(1 << 20, "more pixels", id="a bomb")],
)
def test_other_amount_of_pixels_than_the_header_says_is_refused(png_of_chunks, rows, message):
    assert open_image(gray_16(png_of_chunks, bytes(9 * 9))).pixels.shape == (9, 4, 3)
    with pytest.raises(InputError, match=message):
        open_image(gray_16(png_of_chunks, bytes(9 * rows)))


def test_pixels_without_their_checksum_are_refused(png_of_chunks):
    whole = zlib.compress(bytes(81))
    header = struct.pack(">IIBBBBB", 4, 9, 16, 0, 0, 0, 0)
    with pytest.raises(InputError, match="cut short"):
        open_image(io.BytesIO(png_of_chunks((b"IHDR", header), (b"IDAT", whole[:-4]), (b"IEND", b""))))


def test_unknown_filter_is_refused():
    lines = np.zeros((2, 7), np.uint8)
    lines[1, 0] = 5
    with pytest.raises(InputError, match="no filter 5"):
        png16.unfilter(lines, 2)
