"""What is no image is refused by saying what is one; what holds an image is taken, whatever its wrapping."""

from __future__ import annotations

import io
import os
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

import pim
from pim.errors import InputError, PimError, UsageError
from pim.images.opener import OpenOptions

SAMPLES = np.random.default_rng(11).integers(0, 65536, (64, 70, 3), np.uint16)
DARKER = SAMPLES // 2
EXPECTED = "a path, an open binary file or a Pillow image was expected"


@pytest.fixture
def file(tmp_path):
    Image.fromarray((SAMPLES >> 8).astype(np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


class Wrapped(np.ndarray):
    """A subclass, as other packages have them."""


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda array: array.astype(">u2"),
        lambda array: array.astype("<u2"),
        lambda array: np.asfortranarray(array),
        lambda array: np.ascontiguousarray(array[::-1])[::-1],
        lambda array: array.view(Wrapped),
        lambda array: np.ma.array(array),
        lambda array: (array / 65535).astype(">f8"),
        lambda array: (array / 65535).astype(np.longdouble),
        lambda array: torch.from_numpy(array / 65535).permute(2, 0, 1)[None],
    ],
)
def test_byte_order_strides_and_subclass_do_not_matter(wrapped):
    want = pim.distance(SAMPLES, DARKER, "psnr")
    assert pim.distance(wrapped(SAMPLES), wrapped(DARKER), "psnr") == pytest.approx(want, rel=1e-6)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrix_is_a_gray_picture():
    gray = SAMPLES[..., 0]
    assert pim.distance(np.matrix(gray), gray // 2, "psnr") == pim.distance(gray, gray // 2, "psnr")


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.ma.masked_greater(SAMPLES, 60000), "masked values"),
        (SAMPLES.transpose(2, 0, 1), "channels come last"),
        (SAMPLES[..., :1], "of a gray one"),
        (np.dstack([SAMPLES, SAMPLES[..., 0]]), "alpha"),
        (SAMPLES.astype(int), "got int64"),
        (SAMPLES > 9, "got bool"),
        (SAMPLES.astype(complex), "got complex"),
        (SAMPLES.astype(object), "got object"),
        (SAMPLES * 1e300, "infinite"),
        (SAMPLES[:0], "empty"),
        (np.array("a.png"), "shape"),
    ],
)
def test_array_that_is_no_picture_is_refused_with_a_hint(array, hint):
    with pytest.raises(InputError, match=hint):
        pim.distance(SAMPLES, array, "psnr")


def test_whatever_names_a_file_is_taken(file):
    with os.scandir(file.parent) as entries:
        (entry,) = entries
    for name in (str(file), file, pathlib.PurePath(file), entry):
        assert pim.distance(name, file, "psnr") == float("inf")
    with file.open("rb") as stream:
        assert pim.distance(stream, file, "psnr") == float("inf")


@pytest.mark.parametrize("thing", [None, 3, [[0, 1], [1, 0]], {}, b"bytes", bytearray(b"bytes"), object(), open])
def test_what_is_no_image_is_refused_by_what_is_one(thing):
    with pytest.raises(InputError, match=EXPECTED):
        pim.open_image(thing)


def test_open_files_that_give_no_bytes_are_refused_by_how_to_open_them(file):
    with file.open(errors="ignore") as text, pytest.raises(InputError, match="binary mode"):
        pim.open_image(text)
    with file.open(encoding="ascii") as text, pytest.raises(InputError, match="binary mode"):
        pim.open_image(text)
    with file.open("ab") as written, pytest.raises(InputError, match="open the file for reading"):
        pim.open_image(written)
    with pytest.raises(InputError, match="open the file for reading"):
        pim.open_image(written)  # closed by now
    with pytest.raises(InputError, match="is empty"):
        pim.open_image(io.BytesIO())
    with file.open("rb") as once, pytest.raises(InputError, match=r"at its end: call its seek\(0\)"):
        pim.distance(once, once)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_a_pillow_image_that_was_closed_is_not_blamed_on_its_file(tmp_path, kind):
    path = tmp_path / "a"
    Image.new("RGB", (9, 9)).save(path, kind)
    closed, left = Image.open(path), Image.open(path)
    closed.close()
    with left:
        pass
    for picture in (closed, left):
        with pytest.raises(InputError, match="was closed; call its load before"):
            pim.open_image(picture)


def test_options_of_another_type_are_not_blamed_on_the_file(file):
    with pytest.raises(UsageError, match=r"must be OpenOptions\(...\); got str"):
        pim.open_image(file, "white")


def test_sparse_tensors_are_refused_by_name():
    image = torch.zeros(3, 64, 64)
    with pytest.raises(PimError, match="dense tensor"):
        pim.distance(image, image.to_sparse(), "psnr")


def test_picture_of_nothing_but_transparency_is_noted():
    clear = Image.fromarray(np.dstack([(SAMPLES >> 8).astype(np.uint8), np.zeros((64, 70), np.uint8)]))
    assert "all pixels are transparent" in pim.open_image(clear, OpenOptions(background="white")).decoding.notes[0]
    clear.putpixel((3, 4), (1, 2, 3, 4))
    assert pim.open_image(clear, OpenOptions(background="white")).decoding.notes == ()
