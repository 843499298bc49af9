from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from opening import kinds
from PIL import Image, ImageCms

from pim.errors import InputError
from pim.images.opener import open_image

# XYZ under D50 of red, green and blue, as in the profiles that come with displays.
P3 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
SRGB = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (40, 50, 3), np.uint8)


def as_file(samples: np.ndarray, icc: bytes | None, kind: str = "PNG") -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, kind, icc_profile=icc)
    buffer.seek(0)
    return buffer


def by_littlecms(picture: Image.Image, icc: bytes) -> np.ndarray:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    done = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), 1, "RGB")
    return np.asarray(done) / 255


def lab_of_ink(corner: tuple[int, ...]) -> tuple[int, int, int]:
    """A made-up press: inks darken unevenly and tint."""
    light = int(250 * np.prod([1 - 0.4 * ink for ink in corner]))
    return light, 128 + 20 * corner[1] - 10 * corner[0], 128 + 25 * corner[2] - 15 * corner[0]


def test_srgb_profile_changes_no_bit(noise):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opened = open_image(as_file(noise, icc))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    assert "sRGB" in str(opened.decoding.icc)


def bmp_of(samples: np.ndarray, icc: bytes) -> bytes:
    """A BMP of the fifth version with a profile behind its header."""
    height, width, _ = samples.shape
    rows = b"".join(row.tobytes() + bytes(-3 * width % 4) for row in samples[::-1, :, ::-1])
    head = struct.pack(
        "<IiiHHIIiiII16x4s48x4I", 124, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0, b"DEBM", 4, 124, len(icc), 0
    )
    return struct.pack("<2sIHHI", b"BM", 138 + len(icc) + len(rows), 0, 0, 138 + len(icc)) + head + icc + rows


@pytest.mark.parametrize("kind", ["BMP", "any", "restricted"])
def test_profile_is_followed_once_in_whatever_file(matrix_profile, noise, kind):
    icc = matrix_profile(1.8, P3)
    if kind == "BMP":
        content = bmp_of(noise, icc)
    else:
        plain = kinds.saved(noise, "JPEG2000", irreversible=False)
        content = kinds.described(plain, bytes([2 if kind == "restricted" else 3, 0, 0]) + icc)
    opened = open_image(io.BytesIO(content))
    assert np.array_equal(opened.pixels, open_image(as_file(noise, icc)).pixels)
    assert opened.decoding.icc == "made by hand"


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_matrix_profile_agrees_with_littlecms(matrix_profile, noise, gamma, kind):
    icc = matrix_profile(gamma, P3)
    buffer = as_file(noise, icc, kind)
    with Image.open(buffer) as picture:
        want = by_littlecms(picture.convert("RGB"), icc)
    buffer.seek(0)
    opened = open_image(buffer)
    assert opened.decoding.icc == "made by hand"
    assert np.abs(opened.pixels - want).max() <= 1.01 / 255  # LittleCMS rounds to 8 bits
    assert np.abs(opened.pixels - noise / 255.0).max() > 0.05 or kind == "WEBP"


@pytest.mark.parametrize(
    "numbers",
    [
        (1.8,),
        (2.0, 0.9, 0.1),
        (2.0, 1.1, -0.1),
        (2.2, 0.8, -0.1, 0.05),
        (2.4, 0.948, 0.052, 0.2, 0.1),
        (2.4, 0.9, 0.05, 0.2, 0.1, 0.03, 0.01),
    ],
)
def test_parametric_curves_agree_with_littlecms(matrix_profile, noise, numbers):
    icc = matrix_profile(numbers, P3)
    want = by_littlecms(Image.fromarray(noise), icc)
    assert np.abs(open_image(as_file(noise, icc)).pixels - want).max() <= 1.01 / 255


def test_table_of_a_curve_agrees_with_littlecms(matrix_profile, noise):
    icc = matrix_profile(1.8, P3)
    curve = struct.pack(">4s4xI5H2x", b"curv", 5, 0, 5000, 20000, 40000, 65535)
    table = struct.pack(">I", len(icc) + len(curve)) + icc[4:] + curve
    for name in (b"rTRC", b"gTRC", b"bTRC"):  # entries of the directory now point to the end
        at = table.index(name) + 4
        table = table[:at] + struct.pack(">II", len(icc), len(curve)) + table[at + 8 :]
    want = by_littlecms(Image.fromarray(noise), table)
    assert np.abs(open_image(as_file(noise, table)).pixels - want).max() <= 1.01 / 255


def test_sixteen_bits_stay_sixteen_bits_through_a_profile(matrix_profile, png):
    samples = np.linspace(20000, 20100, 101, dtype=np.uint16).reshape(1, 101, 1).repeat(3, -1)
    packed = b"x\x00\x00" + zlib.compress(matrix_profile(1.8, P3))
    pixels = open_image(io.BytesIO(png(samples, before=[(b"iCCP", packed)]))).pixels[0, :, 1]
    assert len(np.unique(pixels)) == 101


def test_gray_profile_applies_its_curve(gray_profile):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    icc = gray_profile(1.8)
    opened = open_image(as_file(ramp, icc))
    light = (ramp / 255) ** 1.8
    want = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(opened.pixels - want[..., None]).max() < 2e-3  # the profile holds gamma in steps of 1/256


def test_gray_picture_with_an_rgb_profile_stays_gray(matrix_profile):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = open_image(as_file(ramp, matrix_profile(1.8, P3))).pixels
    assert np.ptp(pixels, -1).max() < 1e-3
    assert np.abs(pixels[..., 0] - ramp / 255).max() > 0.02


def test_table_profile_goes_through_littlecms(table_profile, noise):
    icc = table_profile(b"RGB ", 3, lambda c: (int(255 * sum(c) / 3), 128 + 30 * c[0] - 20 * c[1], 128 - 30 * c[2]))
    opened = open_image(as_file(noise, icc))
    assert np.allclose(opened.pixels, by_littlecms(Image.fromarray(noise), icc), atol=1e-6)
    assert opened.decoding.notes == ()


def test_table_profile_on_sixteen_bits_says_that_precision_was_lost(table_profile, png):
    icc = table_profile(b"RGB ", 3, lambda c: (int(255 * sum(c) / 3), 128, 128))
    packed = b"x\x00\x00" + zlib.compress(icc)
    opened = open_image(io.BytesIO(png(np.full((2, 2, 3), 30000, np.uint16), before=[(b"iCCP", packed)])))
    assert any("converted at 8 bits" in note for note in opened.decoding.notes)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_follows_its_profile(table_profile, kind):
    icc = table_profile(b"CMYK", 4, lab_of_ink)
    inks = np.random.default_rng(6).integers(0, 256, (16, 16, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    buffer = io.BytesIO()
    Image.frombytes("CMYK", (128, 128), inks.tobytes()).save(buffer, kind, icc_profile=icc)
    with Image.open(buffer) as picture:
        want, plain = by_littlecms(picture, icc), np.asarray(picture.convert("RGB")) / 255
    buffer.seek(0)
    opened = open_image(buffer)
    assert np.allclose(opened.pixels, want, atol=1e-6)
    assert np.abs(want - plain).max() > 0.1
    assert (opened.decoding.mode, opened.decoding.icc) == ("CMYK", "made by hand")


def test_cmyk_without_profile_is_recorded_as_converted_by_formula():
    buffer = io.BytesIO()
    Image.new("CMYK", (40, 30), (10, 60, 200, 30)).save(buffer, "JPEG", quality=100)
    with Image.open(buffer) as picture:
        want = np.asarray(picture.convert("RGB")) / 255
    buffer.seek(0)
    opened = open_image(buffer)
    assert np.allclose(opened.pixels, want, atol=1e-6)
    assert any("CMYK without a colour profile" in note for note in opened.decoding.notes)


def test_lab_becomes_srgb():
    # Lab of sRGB (255, 255, 255), (119, 119, 119) and (255, 0, 0) under D50, rounded to 8 bits; a and b are signed.
    lab = np.array([[[255, 0, 0], [127, 0, 0], [138, 81, 70]]], np.uint8)
    buffer = io.BytesIO()
    Image.frombytes("LAB", (3, 1), lab.tobytes()).save(buffer, "TIFF")
    buffer.seek(0)
    opened = open_image(buffer)
    want = np.array([[[255, 255, 255], [119, 119, 119], [255, 0, 0]]]) / 255
    assert np.abs(opened.pixels - want).max() < 6 / 255  # whole steps of a and b
    assert opened.decoding.mode == "LAB"


@pytest.mark.parametrize("icc", [b"", b"no profile", bytes(200)], ids=len)
def test_broken_profile_is_ignored_with_a_note(png, noise, icc):
    opened = open_image(io.BytesIO(png(noise, before=[(b"iCCP", b"x\x00\x00" + zlib.compress(icc))])))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    assert opened.decoding.icc is None
    assert any("ignored" in note for note in opened.decoding.notes)


@pytest.mark.parametrize("cut", [131, 140, 200, 300, 420])
def test_profile_that_is_cut_short_never_stops_a_picture(matrix_profile, noise, cut):
    opened = open_image(as_file(noise, matrix_profile(2.2, P3)[:cut], "TIFF"))
    assert opened.pixels.shape == noise.shape
    assert any("ignored" in note for note in opened.decoding.notes)


def test_profile_for_another_kind_of_picture_is_ignored_with_a_note(gray_profile, noise):
    opened = open_image(as_file(noise, gray_profile(1.8)))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    assert any("it is for GRAY" in note for note in opened.decoding.notes)


def gamma_chunk(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def test_linear_gamma_is_brought_to_srgb(png):
    samples = np.array([[[0], [6554], [13107], [32768], [65535]]], np.uint16)
    pixels = open_image(io.BytesIO(png(samples, before=[gamma_chunk(1.0)]))).pixels[0, :, 0]
    assert np.allclose(pixels, [0, 0.349196, 0.484529, 0.735361, 1], atol=2e-5)  # sRGB of 0, .1, .2, .5, 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gamma_of_one_over_two_point_two_is_srgb(png, dtype):
    samples = np.random.default_rng(7).integers(0, 255, (4, 5, 3), dtype)
    plain = open_image(io.BytesIO(png(samples))).pixels
    assert np.array_equal(open_image(io.BytesIO(png(samples, before=[gamma_chunk(0.45455)]))).pixels, plain)


def test_gamma_yields_to_srgb_chunk_and_profile_and_these_to_cicp(png, matrix_profile):
    samples = np.random.default_rng(7).integers(0, 255, (4, 5, 3), np.uint8)
    plain = open_image(io.BytesIO(png(samples))).pixels
    said = [(b"sRGB", b"\x00"), gamma_chunk(1.0)]
    assert np.array_equal(open_image(io.BytesIO(png(samples, before=said))).pixels, plain)
    icc = (b"iCCP", b"x\x00\x00" + zlib.compress(matrix_profile(1.8, P3)))
    cicp = (b"cICP", bytes([1, 13, 0, 1]))
    assert np.array_equal(open_image(io.BytesIO(png(samples, before=[cicp, icc, gamma_chunk(1.0)]))).pixels, plain)
    with_both = open_image(io.BytesIO(png(samples, before=[icc, gamma_chunk(1.0)]))).pixels
    assert np.array_equal(with_both, open_image(io.BytesIO(png(samples, before=[icc]))).pixels)


def test_chromaticities_of_p3_agree_with_its_profile(png, matrix_profile):
    samples = np.random.default_rng(8).integers(0, 65536, (6, 7, 3), np.uint16)
    corners = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    chrm = (b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in corners)))
    by_chunk = open_image(io.BytesIO(png(samples, before=[chrm, gamma_chunk(1 / 1.8)]))).pixels
    icc = (b"iCCP", b"x\x00\x00" + zlib.compress(matrix_profile(1.8, P3)))
    by_profile = open_image(io.BytesIO(png(samples, before=[icc]))).pixels
    assert np.abs(by_chunk - by_profile).mean() < 1e-3
    by_cicp = open_image(io.BytesIO(png(samples, before=[(b"cICP", bytes([12, 13, 0, 1]))]))).pixels
    by_chunk = open_image(io.BytesIO(png(samples, before=[chrm]))).pixels
    assert np.allclose(by_cicp, by_chunk, atol=1e-4)


def test_chromaticities_of_srgb_change_nothing(png):
    samples = np.random.default_rng(8).integers(0, 256, (6, 7, 3), np.uint8)
    chrm = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    opened = open_image(io.BytesIO(png(samples, before=[chrm, gamma_chunk(0.45455)])))
    assert np.array_equal(opened.pixels, samples.astype(np.float32) / np.float32(255))
    assert opened.decoding.notes == ()


def test_impossible_chromaticities_are_ignored_with_a_note(png):
    content = png(np.zeros((2, 2, 3), np.uint8), before=[(b"cHRM", bytes(32))])
    assert any("chromaticities" in note for note in open_image(io.BytesIO(content)).decoding.notes)


@pytest.mark.parametrize(
    ("cicp", "message"),
    [
        ((9, 16, 0, 1), "is HDR .PQ"),
        ((9, 18, 0, 1), "is HDR .HLG"),
        ((1, 13, 1, 1), "full-range RGB"),
        ((1, 13, 0, 0), "full-range RGB"),
        ((1, 17, 0, 1), "transfer function 17"),
        ((11, 13, 0, 1), "primaries 11"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hdr_and_unknown_encodings_are_refused(png, cicp, message, dtype):
    content = png(np.zeros((2, 2, 3), dtype), before=[(b"cICP", bytes(cicp))])
    with pytest.raises(InputError, match=message):
        open_image(io.BytesIO(content))


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_profile_that_names_an_hdr_transfer_is_refused(profile_of, noise, transfer, name):
    icc = profile_of(b"RGB ", {b"cicp": b"cicp" + bytes(4) + bytes([9, transfer, 0, 1])})
    with pytest.raises(InputError, match=f"is HDR .{name} transfer"):
        open_image(as_file(noise, icc))


def test_hdr_avif_is_refused_and_p3_avif_converted():
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 60, 40)).save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    content = buffer.getvalue()
    at = content.index(b"colrnclx") + 8
    plain = open_image(io.BytesIO(content)).pixels
    with pytest.raises(InputError, match="is HDR"):
        open_image(io.BytesIO(content[:at] + struct.pack(">HH", 9, 16) + content[at + 4 :]))
    wide = open_image(io.BytesIO(content[:at] + struct.pack(">HH", 12, 13) + content[at + 4 :]))
    assert wide.pixels[0, 0, 0] > plain[0, 0, 0] + 0.02  # the same numbers mean a redder red in P3
    assert wide.decoding.notes == ("primaries 12, transfer 13 (ITU-T H.273) converted to sRGB",)


def test_video_tags_leave_srgb_numbers_alone_with_a_note(png):
    samples = np.random.default_rng(7).integers(0, 256, (4, 5, 3), np.uint8)
    opened = open_image(io.BytesIO(png(samples, before=[(b"cICP", bytes([1, 1, 0, 1]))])))
    assert np.array_equal(opened.pixels, samples.astype(np.float32) / np.float32(255))
    assert opened.decoding.notes == ("video transfer function 1 taken as that of sRGB",)


def test_of_all_transfer_functions_only_the_known_ones_are_read(png):
    read = []
    for transfer in range(256):
        try:
            open_image(io.BytesIO(png(np.zeros((2, 2, 3), np.uint8), before=[(b"cICP", bytes([1, transfer, 0, 1]))])))
        except InputError:
            continue
        read.append(transfer)
    assert read == [1, 2, 4, 5, 6, 8, 13, 14, 15]


@pytest.mark.parametrize(("transfer", "gamma"), [(4, 2.2), (5, 2.8), (8, 1.0)])
def test_a_transfer_function_that_is_a_power_is_undone_as_one(png, transfer, gamma):
    samples = np.arange(0, 255, 5, dtype=np.uint8).reshape(3, 17, 1).repeat(3, 2)
    opened = open_image(io.BytesIO(png(samples, before=[(b"cICP", bytes([1, transfer, 0, 1]))])))
    light = (samples / 255) ** gamma
    want = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(opened.pixels, want, atol=2e-6)


def curved(icc: bytes, *table: int) -> bytes:
    """A profile whose three curves are a table of numbers to 65535."""
    curve = struct.pack(f">4s4xI{len(table)}H", b"curv", len(table), *table)
    content = struct.pack(">I", len(icc) + len(curve)) + icc[4:] + curve
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        at = content.index(name) + 4
        content = content[:at] + struct.pack(">II", len(icc), len(curve)) + content[at + 8 :]
    return content


@pytest.mark.parametrize(
    "columns",
    [
        [(0, 0, 0)] * 3,
        [(0, 0, 0), (-0.5, 0, 0), (0, 0, 0)],
        [tuple(30 * value for value in column) for column in SRGB],
        [SRGB[0], SRGB[0], SRGB[0]],
        [(0.9642, 1, 0.8249), (0, 0, 0), (0, 0, 0)],
    ],
)
def test_profile_whose_colours_make_no_sense_is_ignored_with_a_note(matrix_profile, noise, columns):
    opened = open_image(as_file(noise, matrix_profile(2.2, columns)))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    assert opened.decoding.icc is None
    assert any("cannot be used" in note for note in opened.decoding.notes)


@pytest.mark.parametrize("table", [(0, 0, 0), (65535, 65535), (30000, 30000, 30000), (65535, 0), (0, 0, 0, 0, 65535)])
def test_curve_that_makes_pictures_alike_is_ignored_with_a_note(matrix_profile, noise, table):
    opened = open_image(as_file(noise, curved(matrix_profile(2.2, SRGB), *table)))
    assert opened.decoding.icc is None
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))


def test_gray_curve_and_tables_that_make_pictures_alike_are_ignored(gray_profile, table_profile, noise):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opened = open_image(as_file(ramp, gray_profile(0)))
    assert np.array_equal(opened.pixels[..., 0], ramp.astype(np.float32) / np.float32(255))
    assert any("cannot be used" in note for note in opened.decoding.notes)
    opened = open_image(as_file(noise, table_profile(b"RGB ", 3, lambda _: (128, 128, 128))))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    inks = noise.repeat(2, 0)[:40, :40].repeat(2, -1)[..., :4].copy()
    buffer = io.BytesIO()
    icc = table_profile(b"CMYK", 4, lambda _: (255, 128, 128))
    Image.frombytes("CMYK", (40, 40), inks.tobytes()).save(buffer, "TIFF", icc_profile=icc)
    buffer.seek(0)
    opened = open_image(buffer)
    assert np.ptp(opened.pixels) > 0.5
    assert any("cannot be used" in note for note in opened.decoding.notes)


@pytest.mark.parametrize("gamma", [0, 1e-5, 0.01, 400.0])
def test_gamma_that_makes_pictures_black_or_white_is_ignored_with_a_note(png, noise, gamma):
    opened = open_image(io.BytesIO(png(noise, before=[gamma_chunk(gamma)])))
    assert np.array_equal(opened.pixels, noise.astype(np.float32) / np.float32(255))
    assert any("makes no sense" in note for note in opened.decoding.notes)
