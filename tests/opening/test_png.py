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
from pim.images.opener import OpenOptions, open_image


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
    peak = np.iinfo(depth).max
    samples = np.random.default_rng(seed).integers(0, peak, (*size, channels), depth, endpoint=True)
    if channels in (2, 4):
        samples[..., -1] = peak
    opened = open_image(io.BytesIO(png(samples, filters=filters, interlaced=interlaced)))
    colours = samples[..., : 1 if channels < 3 else 3]
    assert np.array_equal(np.rint(opened.pixels.astype(float) * peak), np.broadcast_to(colours, (*size, 3)))
    assert opened.decoding.bit_depth == 8 * samples.itemsize


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


def of_depth(png_of_chunks, depth: int, packed: bytes) -> io.BytesIO:
    """A gray PNG of 4 x 9 pixels, says the header, and its IDAT."""
    header = struct.pack(">IIBBBBB", 4, 9, depth, 0, 0, 0, 0)
    return io.BytesIO(png_of_chunks((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")))


def taken(content: io.BytesIO) -> bool:
    try:
        return open_image(content).pixels.shape == (9, 4, 3)
    except InputError:
        return False


@pytest.mark.parametrize("depth", [8, 16])
def test_both_depths_are_equally_strict_about_the_amount_of_pixels(png_of_chunks, depth, capfd):
    row = 1 + 4 * depth // 8
    whole = zlib.compress(bytes(9 * row))
    assert taken(of_depth(png_of_chunks, depth, whole))
    assert taken(of_depth(png_of_chunks, depth, zlib.compress(bytes(10 * row))))  # more than the picture needs
    assert taken(of_depth(png_of_chunks, depth, zlib.compress(bytes(row << 20), 9)))  # far more
    assert taken(of_depth(png_of_chunks, depth, whole[:-4]))  # the pixels are there, their sum is not
    assert not taken(of_depth(png_of_chunks, depth, whole[:-4] + b"oops"))
    assert not taken(of_depth(png_of_chunks, depth, zlib.compress(bytes(8 * row))))
    assert not taken(of_depth(png_of_chunks, depth, whole[: len(whole) // 2]))
    assert not taken(of_depth(png_of_chunks, depth, zlib.compress(b"\x05" + bytes(9 * row - 1))))  # no such filter
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("depth", "colour_type"), [(3, 0), (4, 2), (16, 3), (8, 5), (0, 0)])
def test_kind_of_png_that_does_not_exist_is_named(png_of_chunks, depth, colour_type):
    header = struct.pack(">IIBBBBB", 4, 9, depth, colour_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(900))), (b"IEND", b"")
    with pytest.raises(InputError, match=f"colour type {colour_type} at {depth} bits.*does not have"):
        open_image(io.BytesIO(png_of_chunks(*chunks)))


@pytest.mark.parametrize("depth", [8, 16])
def test_frames_are_counted_alike(png, depth):
    samples = np.full((9, 8, 3), 7, np.uint8 if depth == 8 else np.uint16)
    control = b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 9, 0, 0, 1, 10, 0, 0)
    later = [(b"fcTL", struct.pack(">IIIIIHHBB", 1, 8, 9, 0, 0, 1, 10, 0, 0)), (b"fdAT", struct.pack(">I", 2))]
    within = png(samples, before=[(b"acTL", struct.pack(">II", 2, 0)), control], after=later)
    beside = png(samples, before=[(b"acTL", struct.pack(">II", 2, 0))], after=[control, *later])
    assert open_image(io.BytesIO(within)).decoding.frames == 2
    assert open_image(io.BytesIO(beside)).decoding.frames == 3
