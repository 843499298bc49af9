from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps

from pim.errors import InputError, UsageError
from pim.images.opener import OpenOptions, open_image

ROOT = Path(__file__).resolve().parents[2]
LOSSLESS = ["PNG", "TIFF", "BMP", "PPM", "TGA", "QOI", "JPEG2000"]
FORMATS = [*LOSSLESS, "JPEG", "WEBP", "AVIF", "GIF"]
SUFFIX = {"JPEG2000": "jp2", "TIFF": "tif"}


@pytest.fixture
def picture() -> Image.Image:
    """Odd sizes, smooth colours and some noise."""
    x, y = np.meshgrid(np.arange(53), np.arange(37))
    noise = np.random.default_rng(0).integers(0, 20, (37, 53, 3))
    return Image.fromarray((np.stack([4 * x, 6 * y, 2 * x + 3 * y], -1) + noise).clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **settings: object) -> io.BytesIO:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    buffer.seek(0)
    return buffer


def as_floats(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(np.float32) / np.float32(255)


# ---------------------------------------------------------------- formats and depths


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_opens_as_float_srgb(tmp_path, picture, kind):
    path = tmp_path / f"a.{SUFFIX.get(kind, kind.lower())}"
    picture.save(path, kind)
    with Image.open(path) as decoded:
        want = as_floats(decoded)
    opened = open_image(path)
    assert np.array_equal(opened.pixels, want)
    assert opened.pixels.dtype == np.float32
    assert opened.pixels.flags.c_contiguous
    assert (opened.decoding.format, opened.decoding.path, opened.decoding.notes) == (kind, str(path), ())
    assert (opened.decoding.width, opened.decoding.height) == picture.size
    if kind in LOSSLESS:
        assert np.array_equal(want, as_floats(picture))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG", "PPM", "WEBP"])
def test_gray_becomes_three_equal_channels(picture, kind):
    gray = picture.convert("L")
    pixels = open_image(saved(gray, kind, **({"lossless": True} if kind == "WEBP" else {}))).pixels
    assert np.ptp(pixels, -1).max() == 0
    if kind != "JPEG":
        assert np.array_equal(pixels, as_floats(gray))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit_is_black_and_white(picture, kind):
    bits = picture.convert("1")
    opened = open_image(saved(bits, kind))
    assert np.array_equal(opened.pixels, as_floats(bits))
    assert set(np.unique(opened.pixels)) == {0, 1}
    assert opened.decoding.bit_depth == 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_below_eight_bits_is_read(bits):
    buffer = saved(Image.fromarray(np.arange(1 << bits, dtype=np.uint8)[None]).convert("P"), "PNG", bits=bits)
    opened = open_image(buffer)
    assert opened.pixels.shape == (1, 1 << bits, 3)
    assert opened.decoding.bit_depth == bits


@pytest.mark.parametrize(
    ("header", "body", "want"),
    [
        (b"P5 2 1 65535\n", b"\xff\xff\x00\x01", [1, 1 / 65535]),
        (b"P5\n# made by hand\n2 1\n4095\n", b"\x0f\xff\x00\x01", [1, 1 / 4095]),
        (b"P5 2 1 100\n", b"\x64\x32", [1, 0.5]),
        (b"P2 2 1 1000\n", b"1000 # half\n 500", [1, 0.5]),
    ],
)
def test_pgm_is_divided_by_its_largest_value(header, body, want):
    pixels = open_image(io.BytesIO(header + body)).pixels
    assert np.allclose(pixels[0, :, 1], want, atol=1e-7)


@pytest.mark.parametrize("plain", [False, True])
def test_all_sixteen_bits_of_a_ppm_arrive(plain):
    samples = np.random.default_rng(4).integers(0, 65536, (5, 7, 3), np.uint16)
    body = " ".join(map(str, samples.ravel())).encode() if plain else samples.astype(">u2").tobytes()
    opened = open_image(io.BytesIO((b"P3" if plain else b"P6") + b" 7 5 65535\n" + body))
    assert np.array_equal(np.rint(opened.pixels * 65535.0), samples)
    assert opened.decoding.bit_depth == 16


@pytest.mark.parametrize("shift", [0, 4])
def test_sixteen_bit_gray_jpeg_2000_keeps_its_bits(shift):
    samples = np.random.default_rng(4).integers(0, 65536, (32, 40), np.uint16) >> shift
    opened = open_image(saved(Image.fromarray(samples), "JPEG2000"))
    assert np.array_equal(np.rint(opened.pixels[..., 0] * 65535.0), samples)


# 16 x 8, gray in steps of 32 of 4095 along the rows, the last pixel 4095; reversible, written by libavcodec.
TWELVE_BIT_JPEG_2000 = bytes.fromhex(
    "0000000c6a5020200d0a870a00000014667479706a703220000000006a7032200000002d6a70326800000016696864720000"
    "00080000001000010c0700000000000f636f6c7201000000000011000000c26a703263ff4fff510029000000000010000000"
    "0800000000000000000000010000000100000000000000000000010b0101ff52000c00000001000602020001ff5c00162060"
    "686870686870686870686870686870686870ff64001100014c61766336322e32382e313032ff90000a0000000000520001ff"
    "93cfd80805d90000c3f302045fc1f801dfe0100b91df026554dfc0fb4127f20d000e84158689bf0b416fac0cd1183fc07d40"
    "91fb02c01f3830369de8470384a90f3f38e6bfffd9"
)


def test_twelve_bit_jpeg_2000_is_divided_by_its_own_peak():
    opened = open_image(io.BytesIO(TWELVE_BIT_JPEG_2000))
    want = 32.0 * np.arange(128).reshape(8, 16)
    want[-1, -1] = 4095
    assert np.array_equal(np.rint(opened.pixels[..., 0] * 4095.0), want)
    assert opened.decoding.bit_depth == 12


# 64 x 64, gray 512 of 1023, written by SVT-AV1.
TEN_BIT_AVIF = bytes.fromhex(
    "00000020667479706176696600000000617669666d6966316d6961664d413142000000f96d657461000000000000002f6864"
    "6c720000000000000000706963740000000000000000000000005069637475726548616e646c6572000000000e7069746d00"
    "00000000010000001e696c6f630000000044000001000100000001000001210000001b0000002869696e6600000000000100"
    "00001a696e6665020000000001000061763031436f6c6f72000000006a697072700000004b6970636f000000146973706500"
    "0000000000004000000040000000107069786900000000030a0a0a0000000c6176314381004c0000000013636f6c726e636c"
    "78000200020002000000001769706d61000000000000000100010401028304000000236d6461740a0a00000002afff8d5f38"
    "08320d1000ba020b2c51410000089820"
)


def test_ten_bit_avif_says_that_it_is_read_at_eight():
    opened = open_image(io.BytesIO(TEN_BIT_AVIF))
    assert np.abs(opened.pixels - 0.505).max() < 0.01
    assert opened.decoding.notes == ("10 bits per sample, read at 8",)


# ---------------------------------------------------------------- transparency


def test_palette_expands(picture):
    palette = picture.quantize(17)
    opened = open_image(saved(palette, "PNG"))
    assert np.array_equal(opened.pixels, as_floats(palette))
    assert opened.decoding.mode == "P"


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_opaque_alpha_is_dropped(picture, mode, kind):
    opened = open_image(saved(picture.convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(opened.pixels, as_floats(picture.convert(mode)))
    assert opened.decoding.alpha in ("opaque", "none" if kind == "WEBP" else "opaque")


def test_one_pixel_that_is_not_opaque_is_refused_and_the_message_names_the_option(picture):
    picture.putalpha(255)
    picture.putpixel((52, 36), (1, 2, 3, 254))
    with pytest.raises(InputError, match="--background white"):
        open_image(saved(picture, "PNG"))


@pytest.mark.parametrize(
    ("background", "colour"), [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#336699", (51, 102, 153))]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_background_is_blended_in_srgb(picture, background, colour, kind):
    alpha = np.random.default_rng(2).integers(0, 256, (37, 53), np.uint8)
    picture.putalpha(Image.fromarray(alpha))
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    opened = open_image(saved(picture, kind, **settings), OpenOptions(background=background))
    opacity = alpha[..., None] / 255
    want = opacity * np.asarray(picture)[..., :3] / 255 + (1 - opacity) * np.array(colour) / 255
    assert np.allclose(opened.pixels, want, atol=1e-6)
    assert opened.decoding.alpha == f"over {background}"


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 170, 10))])
def test_transparent_palette_is_refused_or_blended(picture, transparency):
    palette = picture.quantize(17)
    content = saved(palette, "PNG", transparency=transparency)
    with pytest.raises(InputError, match="transparent pixels"):
        open_image(content)
    content.seek(0)
    pixels = open_image(content, OpenOptions(background="white")).pixels
    index = np.asarray(palette)
    table = np.full(17, 255.0)
    table[3] = 0
    alpha = (np.frombuffer(transparency, np.uint8) if isinstance(transparency, bytes) else table)[index][..., None]
    assert np.allclose(pixels, alpha / 255 * as_floats(palette) + (1 - alpha / 255), atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_colour_key_hides_the_exact_colour(mode):
    image = Image.new(mode, (4, 3), 0 if mode == "L" else (0, 0, 0))
    image.putpixel((1, 1), 9 if mode == "L" else (9, 9, 9))
    content = saved(image, "PNG", transparency=9 if mode == "L" else (9, 9, 9))
    with pytest.raises(InputError, match="transparent pixels"):
        open_image(content)
    content.seek(0)
    pixels = open_image(content, OpenOptions(background="red")).pixels
    assert pixels[1, 1].tolist() == [1, 0, 0]
    assert pixels[0, 0].tolist() == [0, 0, 0]


def test_transparent_gif_is_refused(picture):
    with pytest.raises(InputError, match="transparent pixels"):
        open_image(saved(picture.quantize(5), "GIF", transparency=0))


# ---------------------------------------------------------------- orientation


def turned(image: Image.Image, orientation: int) -> np.ndarray:
    exif = image.getexif()
    exif[0x0112] = orientation
    return as_floats(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_orientation_is_applied_once(picture, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    plain = open_image(saved(picture, kind, **settings)).pixels
    opened = open_image(saved(picture, kind, exif=exif, **settings))
    want = turned(Image.fromarray(np.rint(plain * 255).astype(np.uint8)), orientation)
    assert np.array_equal(opened.pixels, want)
    assert opened.pixels.flags.c_contiguous
    assert (opened.decoding.orientation, opened.decoding.width) == (orientation, want.shape[1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_of_sixteen_bits_is_applied_once(png, picture, kind, orientation):
    samples = np.asarray(picture).astype(np.uint16) * 257
    if kind == "PNG":
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = io.BytesIO(png(samples, after=[(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))]))
    else:
        content = io.BytesIO()
        tifffile.imwrite(content, samples, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        content.seek(0)
    opened = open_image(content)
    assert opened.decoding.bit_depth == 16
    assert np.allclose(opened.pixels, turned(picture, orientation), atol=1e-6)


# A whole directory whose orientation, 6, is of a type that the standard does not allow.
LONG_ORIENTATION = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\x05", b"junk", LONG_ORIENTATION]
)
def test_damaged_exif_leaves_the_picture_as_it_is(picture, exif):
    opened = open_image(saved(picture, "JPEG", exif=exif))
    assert opened.decoding.orientation == 1
    assert opened.pixels.shape == (37, 53, 3)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_first_frame_is_taken_with_a_note_and_frame_selects(kind):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [Image.new("RGB", (32, 24), colour) for colour in colours]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    opened = open_image(content)
    assert opened.decoding.frames == 3
    assert any("3 frames" in note for note in opened.decoding.notes)
    for number, colour in enumerate(colours):
        content.seek(0)
        chosen = open_image(content, OpenOptions(frame=number))
        assert np.abs(chosen.pixels[12, 16] - np.array(colour) / 255).max() < 0.05
        assert (chosen.decoding.frame, chosen.decoding.notes) == (number, ())
    content.seek(0)
    with pytest.raises(InputError, match="holds 3 frames, numbered from 0 to 2; there is no frame 3"):
        open_image(content, OpenOptions(frame=3))


@pytest.mark.parametrize("kind", FORMATS)
def test_frame_that_is_not_there_is_refused(picture, kind, tmp_path):
    path = tmp_path / f"a.{kind.lower()}"
    picture.save(path, kind)
    assert open_image(path, OpenOptions(frame=0)).decoding.frames == 1
    with pytest.raises(InputError, match="there is no frame 1"):
        open_image(path, OpenOptions(frame=1))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_file_that_is_cut_short_is_refused(tmp_path, picture, kind, share):
    path = tmp_path / f"a.{kind.lower()}"
    picture.resize((265, 185)).save(path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as caught:
        open_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is text\n", "not an image of a known format"),
        (b"#?RADIANCE\n", "Radiance HDR.*tone-map"),
        (b"\x76\x2f\x31\x01" + bytes(60), "OpenEXR"),
        (b"Pf\n2 2\n-1.0\n" + bytes(16), "floating-point"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "floating-point"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(60), "HEIC"),
        (b"\xff\x0a" + bytes(60), "JPEG XL"),
        (b"\xff\xd8\xff", "damaged or cut short"),
        (b"P5 0 4 255\n", "has no pixels"),
        (b"P5 4 4 70000\n", "largest value is 70000"),
        (b"P5 2 1 100\n\x65\x00", "sample of 101"),
        (b"P3 1 1 255\n1 -2 3", "not all numbers"),
        (b"P3 2 1 255\n1 2 3 4 5", "is a PGM or PPM that is cut short"),
        (b"P6 two\n", "damaged PGM or PPM"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path, content, message):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path} ")


def test_text_with_the_name_of_a_tga_is_refused(tmp_path):
    path = tmp_path / "a.tga"
    path.write_text("hello, this is text and no picture at all\n")
    with pytest.raises(InputError, match=r"a\.tga"):
        open_image(path)


@pytest.mark.parametrize("value", [0, 70000, 1.5])
def test_pillow_images_without_a_defined_white_are_refused(value):
    with pytest.raises(InputError, match="black and white are not defined"):
        open_image(Image.new("F" if isinstance(value, float) else "I", (3, 2), value))


def test_folder_pipe_device_and_absence_are_named(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(InputError, match=r"x\.png is a folder"):
        open_image(tmp_path / "x.png")
    os.mkfifo(tmp_path / "y.png")
    with pytest.raises(InputError, match=r"y\.png is a pipe or device"):
        open_image(tmp_path / "y.png")
    with pytest.raises(InputError, match="null is a pipe or device"):
        open_image("/dev/null")
    with pytest.raises(InputError, match=r"z\.png does not exist"):
        open_image(tmp_path / "z.png")
    with pytest.raises(InputError, match="null byte"):
        open_image("a\0.png")
    with pytest.raises(InputError, match="name too long"):
        open_image("a" * 5000)


def test_file_without_permission_is_named(tmp_path, picture, monkeypatch):
    path = tmp_path / "secret.png"
    picture.save(path)

    def refuse(*_: object) -> None:  # the superuser may read everything, so the system cannot be asked
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.png cannot be read: no permission"):
        open_image(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("with space.png", "with space.png"),
        ("two\nlines.png", r"two\nlines.png"),
        ('it\'s "quoted".png', 'it\'s "quoted".png'),
        ("täst-日本.png", "täst-日本.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
        ("\x1b[31mred\r.png", r"\x1b[31mred\r.png"),
    ],
)
def test_odd_names_open_and_stay_on_one_line(tmp_path, picture, name, shown):
    path = tmp_path / name
    picture.save(path)
    assert np.array_equal(open_image(path).pixels, as_floats(picture))
    assert open_image(str(path)).decoding.path == f"{tmp_path}/{shown}"
    path.write_bytes(b"text")
    with pytest.raises(InputError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{tmp_path}/{shown} ")
    assert str(caught.value).isprintable()
    str(caught.value).encode("utf-8")


def huge(kind: str) -> bytes:
    """A small file whose header claims 60000 x 50000 pixels."""
    width, height = 60000, 50000
    image = Image.new("RGB", (8, 8))
    if kind == "PPM":
        return b"P6 60000 50000 255\n"
    content = bytearray(saved(image, kind).getvalue())
    little, big = (lambda v, n: v.to_bytes(n, "little")), (lambda v, n: v.to_bytes(n, "big"))
    if kind == "GIF":  # screen and frame
        content[6:10] = little(width, 2) + little(height, 2)
        at = content.index(b"\x2c", 13)
        content[at + 5 : at + 9] = little(width, 2) + little(height, 2)
    elif kind == "BMP":
        content[18:26] = little(width, 4) + little(height, 4)
    elif kind == "QOI":
        content[4:12] = big(width, 4) + big(height, 4)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = big(height, 2) + big(width, 2)
    elif kind == "JPEG2000":
        at = content.index(b"\xff\x4f\xff\x51")
        content[at + 8 : at + 16] = big(width, 4) + big(height, 4)
        at = content.index(b"ihdr")
        content[at + 4 : at + 12] = big(height, 4) + big(width, 4)
    elif kind == "TIFF":
        with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
            places = [file.pages[0].tags[tag].valueoffset for tag in (256, 257)]
        content[places[0] : places[0] + 2] = little(width, 2)
        content[places[1] : places[1] + 2] = little(height, 2)
    elif kind == "PNG":
        header = big(width, 4) + big(height, 4) + content[24:29]
        content[16:33] = header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "QOI", "JPEG2000"])
def test_bomb_is_refused_by_its_header(kind):
    with pytest.raises(InputError, match="60000 x 50000, more than the limit of 512,000,000 pixels"):
        open_image(io.BytesIO(huge(kind)))


@pytest.mark.parametrize("kind", FORMATS)
def test_limit_is_that_of_the_option_and_not_that_of_pillow(tmp_path, picture, kind, monkeypatch):
    path = tmp_path / f"a.{kind.lower()}"
    picture.save(path, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow would warn; warnings are errors here
    assert open_image(path, OpenOptions(max_pixels=37 * 53)).pixels.shape == (37, 53, 3)
    with pytest.raises(InputError, match="53 x 37, more than the limit of 1,960 pixels"):
        open_image(path, OpenOptions(max_pixels=37 * 53 - 1))
    assert Image.MAX_IMAGE_PIXELS == 1500


def test_nothing_is_read_while_pillow_accepts_truncated_files(picture, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(InputError, match="LOAD_TRUNCATED_IMAGES"):
        open_image(saved(picture, "JPEG"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"background": "whit"},
        {"background": "#12345"},
        {"background": "rgb(1,2,3)"},
        {"frame": -1},
        {"max_pixels": 0},
        {"background": (1, 1, 1)},
        {"frame": "1"},
        {"max_pixels": "9"},
    ],
)
def test_options_that_cannot_be_right_are_usage_errors(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        OpenOptions(**wrong)


# ---------------------------------------------------------------- notes, sources, cost


def test_name_of_another_format_is_a_note(tmp_path, picture):
    path = tmp_path / "a.png"
    picture.save(path, "JPEG")
    assert "named .png but is JPEG; read by its content" in open_image(path).decoding.notes
    path = path.rename(tmp_path / "a.dat")
    assert open_image(path).decoding.notes == ()


def test_gain_map_is_left_out_with_a_note(picture):
    content = saved(picture, "JPEG").getvalue()
    text = b'http://ns.adobe.com/xap/1.0/\x00<x hdrgm:Version="1.0"/>'
    segment = b"\xff\xe1" + (len(text) + 2).to_bytes(2, "big") + text
    assert any(
        "gain map" in note for note in open_image(io.BytesIO(content[:2] + segment + content[2:])).decoding.notes
    )


def test_pillow_image_is_read_and_left_alone(picture):
    picture.putalpha(100)
    before = picture.tobytes(), picture.mode, dict(picture.info)
    opened = open_image(picture, OpenOptions(background="white"))
    assert (picture.tobytes(), picture.mode, dict(picture.info)) == before
    assert opened.decoding.path == "<Pillow image>"
    assert np.allclose(opened.pixels, 100 / 255 * as_floats(picture.convert("RGB")) + 155 / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_pillow_image_and_its_file_open_alike(tmp_path, picture, kind, matrix_profile):
    exif = Image.Exif()
    exif[0x0112] = 6
    icc = matrix_profile(1.8, [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)])
    path = tmp_path / "a.img"
    picture.save(path, kind, exif=exif, icc_profile=icc)
    want = open_image(path)
    with Image.open(path) as image:
        opened = open_image(image)
        assert np.array_equal(opened.pixels, want.pixels)
        assert opened.decoding.icc == "made by hand"
    with Image.open(path) as image:  # a user who has turned it already
        assert np.array_equal(open_image(ImageOps.exif_transpose(image)).pixels, want.pixels)


def test_pillow_animation_is_taken_at_its_frame():
    frames = [Image.new("L", (5, 4), value) for value in (0, 255)]
    with Image.open(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])) as image:
        image.seek(1)
        assert open_image(image).pixels.min() == 1
        assert image.tell() == 1
        with pytest.raises(InputError, match="at frame 1, not 0"):
            open_image(image, OpenOptions(frame=0))


def test_stream_that_cannot_seek_is_read(picture):
    class Pipe(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.rest = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            return self.rest.readinto(buffer)

    opened = open_image(Pipe(saved(picture, "TIFF").getvalue()))
    assert np.array_equal(opened.pixels, as_floats(picture))
    assert opened.decoding.path == "<stream>"


def test_threads_agree_with_one(tmp_path, picture):
    paths = []
    for kind in FORMATS:
        paths.append(tmp_path / f"a.{kind.lower()}")
        picture.save(paths[-1], kind)
    want = [open_image(path).pixels for path in paths]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda path: open_image(path).pixels, paths * 10))
    assert all(np.array_equal(pixels, want[i % len(paths)]) for i, pixels in enumerate(got))


def test_record_is_plain_data(picture):
    record = open_image(saved(picture, "PNG")).decoding.as_dict()
    assert json.loads(json.dumps(record)) == record


def test_opening_needs_no_torch():
    check = "import sys, pim.images.opener; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
    check = "import sys, pim.core.metric; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process its peak memory")
@pytest.mark.parametrize("kind", ["JPEG", "BMP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_24_megapixels_cost_one_float_and_one_eight_bit_copy(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "large.img"
    Image.linear_gradient("L").resize((6000, 4000)).convert("RGB").save(path, kind, exif=exif)
    script = f"""
import re
from pim.images.opener import open_image
memory = lambda: int(re.search("VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
before = memory()
opened = open_image({str(path)!r})
print(memory() - before)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    floats, eight_bits = 24e6 * 12 / 2**20, 24e6 * 4 / 2**20  # Pillow holds RGB in four bytes
    assert floats < float(ran.stdout) < floats + eight_bits + 60
