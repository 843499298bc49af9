"""What becomes of pictures before anything is measured or learned: values, against slow plain NumPy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_frames import moving, write_folder

from ntc.patches import PatchSettings, generator, spread, windows
from ntc.patches import collect as collect_patches
from ntc.settings import CodecTraining
from pim.datasets.crops import Crops, CropSettings
from pim.datasets.frames import LUMA, collect, find_sources
from pim.datasets.rendered import imagenet_crop
from pim.pim.training import batches
from pim.pim.training.settings import TrainSettings
from pim.scoring.pictures import resized

HALVING = np.array([1, 3, 3, 1]) / 8  # the triangle, twice as wide because the picture gets half as large


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def halved(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the size, bilinear and antialiased; at the border the filter is cut and what is left is made to sum to 1."""
    for axis in (0, 1):
        lines = np.moveaxis(pixels, axis, 0)
        count = len(lines)
        rows = []
        for i in range(count // 2):
            taps = [(2 * i - 1 + j, HALVING[j]) for j in range(4) if 0 <= 2 * i - 1 + j < count]
            rows.append(sum(lines[k] * w for k, w in taps) / sum(w for _, w in taps))
        pixels = np.moveaxis(np.stack(rows), 0, axis)
    return pixels


def test_the_crop_of_imagenet_is_antialiased() -> None:
    pixels = noise(512, 560)
    want = halved(pixels.astype(np.float64))[16:240, 28:252]
    assert np.abs(imagenet_crop(pixels) - want).max() < 1.01  # rounded to 8 bits after each axis


def test_pictures_of_an_evaluation_are_resized_with_antialiasing() -> None:
    pixels = (noise(40, 64) / 255).astype(np.float32)
    np.testing.assert_allclose(resized(pixels, 20), halved(pixels.astype(np.float64)), atol=1e-6)
    assert resized(pixels, 40) is pixels


def scenes(tmp_path: Path, share: float) -> Path:
    """Two scenes of 8 moving frames; at the cut the left `share` of the columns goes on as it was."""
    first, second = moving(16), [255 - frame for frame in moving(16, seed=9)]
    dark, light = (
        [(frame * 0.4 + level).astype(np.uint8) for frame in scene] for scene, level in ((first, 0), (second, 140))
    )
    tmp_path.mkdir(exist_ok=True)
    kept = int(share * dark[0].shape[1])
    return write_folder(
        tmp_path / f"scenes{share}",
        [*dark[:8], *(np.hstack([a[:, :kept], b[:, kept:]]) for a, b in zip(dark[8:], light[8:], strict=True))],
    )


def crops_of(folder: Path, tmp_path: Path, **settings: float) -> Crops:
    chosen = CropSettings(size=16, per_source=200, largest_reduction=2.0, **settings)  # type: ignore[arg-type]
    return collect(find_sources([folder], 0.0), chosen, tmp_path / "cache")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_no_crop_lies_across_a_cut_not_even_where_the_picture_goes_on(tmp_path: Path, share: float) -> None:
    crops = crops_of(scenes(tmp_path, share), tmp_path)
    across = (crops.frame < 8) & (crops.frame + crops.gap >= 8)
    assert not across.any()
    assert (crops.frame < 8).sum() > 20
    assert (crops.frame >= 8).sum() > 20
    without = crops_of(scenes(tmp_path / "again", share), tmp_path, cut=1.0)
    assert ((without.frame < 8) & (without.frame + without.gap >= 8)).any()


def test_no_crop_shows_a_cut_that_only_a_part_of_the_picture_has(tmp_path: Path) -> None:
    crops = crops_of(scenes(tmp_path, 0.75), tmp_path)
    across = (crops.frame < 8) & (crops.frame + crops.gap >= 8)
    assert across.any()
    change = np.abs((crops.pairs[:, 0].astype(np.float64) - crops.pairs[:, 1]).transpose(0, 2, 3, 1) @ LUMA)
    assert change.mean((1, 2)).max() <= 0.25 * 255


def test_frames_of_another_size_are_a_cut(tmp_path: Path) -> None:
    small, large = moving(6), moving(6, height=120, width=140)
    crops = crops_of(write_folder(tmp_path / "sizes", [*small, *large]), tmp_path)
    assert not ((crops.frame < 6) & (crops.frame + crops.gap >= 6)).any()


def test_a_reduction_is_as_likely_in_every_octave(tmp_path: Path) -> None:
    """Stripes of 16 pixels: how many of them a patch shows tells its reduction."""
    stripes = np.broadcast_to(np.where(np.arange(1024) // 16 % 2, 200, 50)[:, None, None], (1024, 1024, 3)).astype(
        np.uint8
    )
    Image.fromarray(np.ascontiguousarray(stripes)).save(tmp_path / "stripes.png")
    settings = PatchSettings(size=64, per_source=150, largest_reduction=16.0)
    pixels = collect_patches(find_sources([tmp_path / "stripes.png"], 0.0), settings).pixels
    edges = (np.diff((pixels[:, 0, :, 32] > 125).astype(int), axis=1) != 0).sum(1)  # about 4 times the reduction
    shares = [((edges >= low) & (edges < 2 * low)).mean() for low in (4, 8, 16)]
    assert all(0.12 < share < 0.38 for share in shares)
    small = PatchSettings(size=64, per_source=40, smallest_reduction=8.0, largest_reduction=16.0)
    pixels = collect_patches(find_sources([tmp_path / "stripes.png"], 0.0), small).pixels
    assert (np.diff((pixels[:, 0, :, 32] > 125).astype(int), axis=1) != 0).sum(1).min() >= 28


def test_spread_patches_reach_from_the_first_to_the_last() -> None:
    pixels = np.arange(31, dtype=np.uint8)[:, None, None, None]
    assert spread(pixels, 4).ravel().tolist() == [0, 10, 20, 30]
    assert spread(pixels[:3], 9).ravel().tolist() == [0, 1, 2]


def orientations(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """As it is, mirrored, turned over the diagonal, both."""
    mirrored = image[..., ::-1]
    return [image, mirrored, image.swapaxes(-1, -2), mirrored.swapaxes(-1, -2)]


def seen(images: NDArray[np.float32], original: NDArray[np.float32]) -> list[int]:
    """How many of the images are each of the orientations; every image is one."""
    found = [[np.allclose(image, other, atol=1e-6) for other in orientations(original)] for image in images]
    assert np.sum(found, axis=1).tolist() == [1] * len(images)
    return [int(count) for count in np.sum(found, axis=0)]


def test_patches_of_a_codec_are_mirrored_and_turned_as_often_as_not() -> None:
    patch = noise(64, 64).transpose(2, 0, 1)
    settings = CodecTraining(batch=80, window=64)
    images = windows(np.stack([patch] * 80), settings, generator(0, 3)).numpy()
    assert min(seen(images, patch / np.float32(255))) >= 8


def test_windows_of_a_codec_come_from_everywhere() -> None:
    rows, columns = np.mgrid[0:128, 0:128].astype(np.uint8)
    patch = np.stack([rows, columns, rows])
    images = windows(np.stack([patch] * 60), CodecTraining(batch=60, window=64), generator(0, 1))
    for channel in (0, 1):
        corner = (images[:, channel].flatten(1).min(1).values * 255).round()
        assert corner.min() < 12
        assert corner.max() > 52


def crops_with(pair: NDArray[np.uint8], count: int) -> Crops:
    zeros = np.zeros(count, np.int32)
    return Crops(
        np.stack([pair] * count), zeros, zeros, zeros + 1, ("a",), np.array([False]), CropSettings(pair.shape[-1])
    )


def test_pairs_are_mirrored_and_turned_together() -> None:
    pair = np.stack([noise(32, 32, seed).transpose(2, 0, 1) for seed in (1, 2)])
    settings = TrainSettings(batch=80, per_source=80, window=32).bare()
    x, y = batches.pairs_at(crops_with(pair, 80), settings, batches.TRAIN, 5, 80, "cpu")  # type: ignore[arg-type]
    counts = [seen(side.numpy(), original / np.float32(255)) for side, original in zip((x, y), pair, strict=True)]
    assert counts[0] == counts[1]
    assert min(counts[0]) >= 8
    both = np.stack([x.numpy(), y.numpy()], 1)
    assert min(seen(both, pair / np.float32(255))) >= 8


def test_the_second_window_of_a_pair_is_displaced_by_up_to_the_shift() -> None:
    rows, columns = np.mgrid[0:64, 0:64].astype(np.uint8)
    picture = np.stack([rows, columns, rows])
    settings = TrainSettings(batch=200, per_source=200, window=24)
    pair = np.stack([picture, picture])
    for shift in (0, 3):
        bare = TrainSettings(**{**asdict(settings.bare()), "shift": shift})
        x, y = batches.pairs_at(crops_with(pair, 200), bare, batches.TRAIN, 2, 200, "cpu")  # type: ignore[arg-type]
        corners = [(side[:, :2].flatten(2).min(2).values * 255).round() for side in (x, y)]
        moved = corners[1] - corners[0]
        assert sorted(set(moved.flatten().int().tolist())) == list(range(-shift, shift + 1))
        assert corners[0].min() == 0
        assert corners[0].max() == 40
