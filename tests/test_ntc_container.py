"""Files of coded images: whatever is wrong with one is said, and nothing worse happens."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from ntc_toys import codec, picture

from ntc import coding, container
from ntc.models.config import KINDS
from pim.errors import InputError


@pytest.fixture(scope="module")
def file():
    return coding.compress(codec("mean-scale"), picture(50, 70), 200)


def resealed(data):
    """With a right checksum at its end, as somebody who means harm would write."""
    body = bytes(data[:-4])
    return body + struct.pack("<I", zlib.crc32(body))


def test_the_layout_is_the_documented_one(file):
    made = codec("mean-scale")
    assert file[:6] == b"PNTC\x01\x00"
    assert file[6:22] == made.id
    assert file[22:24] == bytes([50, 70])  # varints of one byte
    assert file[24] == 200
    words = file[25] if file[25] < 128 else (file[25] & 127) + 128 * file[26]
    assert len(file) == 25 + (1 if file[25] < 128 else 2) + 4 * words + 8
    assert struct.unpack("<I", file[-4:])[0] == zlib.crc32(file[:-4])
    assert coding.overhead(file) + 4 * words == len(file)


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_and_every_cut_is_an_error(kind):
    made = codec(kind)
    data = coding.compress(made, picture(20, 33), 255)
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(InputError):
                coding.decompress(made, bytes(damaged))
        with pytest.raises(InputError):
            coding.decompress(made, data[:at])
    with pytest.raises(InputError, match="follow its end"):
        coding.decompress(made, data + b"\0")


def test_errors_say_what_is_wrong(file):
    made = codec("mean-scale")
    cases = [
        (b"", "does not begin with PNTC"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "does not begin with PNTC"),
        (file[:3], "cut short"),
        (file[:-1], "cut short"),
        (file + b"x", "1 bytes follow"),
        (file[:4] + b"\x02" + file[5:], "version 2"),
        (file[:5] + b"\x04" + file[6:], "flags 4"),
        (file[:30] + bytes([file[30] ^ 1]) + file[31:], "checksum is wrong"),
        (resealed(file[:6] + bytes(16) + file[22:]), "another codec"),
        (resealed(file[:-8] + bytes(8)), "do not have the checksum"),
        (resealed(file[:22] + b"\x00" + file[23:]), "sides of 1 to"),
    ]
    for data, message in cases:
        with pytest.raises(InputError, match=message):
            coding.decompress(made, data)
    with pytest.raises(InputError, match="more than the limit of 3000"):
        coding.decompress(made, file, max_pixels=3000)


def test_lengths_that_take_more_bytes_than_needed_are_refused(file):
    long = file[:22] + bytes([50 | 0x80, 0]) + file[23:]
    with pytest.raises(InputError, match="malformed"):
        container.parse(resealed(long))
    endless = file[:22] + b"\xff" * 9 + file[23:]
    with pytest.raises(InputError, match="malformed"):
        container.parse(resealed(endless))


def test_a_small_file_cannot_claim_a_large_image(file, monkeypatch):
    made = codec("mean-scale")
    parsed = container.parse(file)
    claims = container.Container(parsed.codec, 8000, 8000, 200, parsed.stream, parsed.checksum)
    monkeypatch.setattr(type(made), "exact", lambda *arguments: pytest.fail("decoding began"))
    with pytest.raises(InputError, match="cannot hold"):
        coding.decompress(made, claims.to_bytes())


def mutated(data, rng):
    """A file with one to three changes: bytes set, taken out, put in; sizes and quality above all."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(4, len(out)))
        action = rng.integers(4)
        if action == 0:
            out[at] = rng.integers(256)
        elif action == 1 and len(out) > 48:
            del out[at : at + int(rng.integers(1, 9))]
        elif action == 2:
            out[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            out[22 + int(rng.integers(5))] = rng.integers(256)
    return bytes(out) if rng.random() < 0.25 else resealed(out)


def outcomes(kind, trials):
    made = codec(kind)
    rng = np.random.default_rng(KINDS.index(kind))
    images = [picture(9, 40), picture(31, 20, 1)]
    files = [coding.compress(made, image, 255 - 80 * i) for i, image in enumerate(images)]
    errors = 0
    for trial in range(trials):
        try:
            image = coding.decompress(made, mutated(files[trial % 2], rng), max_pixels=40_000)
            assert image.isfinite().all()
        except InputError:
            errors += 1
    return errors


@pytest.mark.parametrize(
    ("kind", "trials"), [("factorised", 3000), ("scale", 900), ("mean-scale", 800), ("joint", 300)]
)
def test_hostile_files_end_in_an_error_or_an_image(kind, trials):
    errors = outcomes(kind, trials)
    assert errors > 0.9 * trials  # a few only change the quality, or bits after the last symbol


def test_hostile_files_take_no_memory():
    outcomes("mean-scale", 1)
    tracemalloc.start()
    outcomes("mean-scale", 60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
