"""The codec that ships: its id stays, its files are smaller than those of JPEG at equal PSNR, it works as typed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ntc import coding, store

ROOT = Path(__file__).resolve().parents[1]
CODEC_ID = "13a0898be779a7f3fa70c9cc84e25b82"  # files that people keep name it: it changes only with the codec itself


@pytest.fixture(scope="module")
def stored():
    return store.load(store.find(None))


def test_the_id_is_the_one_that_files_carry(stored):
    assert stored.codec.id.hex() == CODEC_ID


def test_it_was_trained_on_videos_alone_and_its_card_tells_how(stored):
    assert all(name.endswith(".mp4") for name in stored.training["sources"])
    card = (ROOT / "ntc" / "pretrained" / "ntc-small.md").read_text(encoding="utf-8")
    assert "own training" in card
    assert f"{stored.training['settings']['steps']} steps" in card


def test_files_of_the_example_come_back_at_rising_rates(stored):
    with Image.open(ROOT / "examples" / "reference.png") as opened:
        image = coding.from_pixels(np.asarray(opened.convert("RGB"), dtype=np.float32) / 255)
    lengths, errors = [], []
    for quality in (0, 100, 255):
        data = coding.compress(stored.codec, image, quality)
        decoded = coding.decompress(stored.codec, data)
        assert torch.equal(decoded, stored.codec(image, stored.codec.level(quality)).image)
        lengths.append(len(data))
        errors.append(float((decoded - image).square().mean()))
    assert lengths == sorted(lengths)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.slow
@pytest.mark.development_data
def test_photographs_take_fewer_bits_than_with_jpeg_at_equal_psnr(stored, shared):
    """At two qualities, the mean PSNR against that of JPEG at the same number of bits, over four photographs."""
    gains = []
    for name in ("kodim01", "kodim05", "kodim09", "kodim13"):
        with Image.open(shared / "data" / "kodak" / f"{name}.png") as opened:
            pixels = np.asarray(opened.convert("RGB"))
        curve = [jpeg(pixels, quality) for quality in (5, 8, 12, 18, 25, 35, 50, 65, 80)]
        for quality in (60, 160):
            data = coding.compress(stored.codec, coding.from_pixels(pixels.astype(np.float32) / 255), quality)
            decoded = coding.to_8_bit(coding.decompress(stored.codec, data))
            gains.append(psnr(pixels, decoded) - np.interp(np.log(len(data)), *np.array(curve).T))
    assert np.mean(gains) > 0.0


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2))


def jpeg(pixels, quality):
    """Logarithm of the bytes, and PSNR."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, optimize=True)
    return np.log(len(stream.getvalue())), psnr(pixels, np.asarray(Image.open(stream)))
