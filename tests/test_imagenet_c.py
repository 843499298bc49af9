"""ImageNet-C: the published folders beside clean pictures, and pictures corrupted as they are opened."""

from __future__ import annotations

from pathlib import Path

import miniatures
import numpy as np
import pytest
from PIL import Image

from pim.datasets import imagenet_c
from pim.datasets.corruptions import Recipe, corrupt, names
from pim.datasets.dataset import Dataset, ManifestError
from pim.datasets.pictures import check_pictures
from pim.datasets.rendered import CorruptionStep, RenderedPicture, imagenet_crop
from pim.errors import InputError, UsageError
from pim.images.opener import OpenOptions

OPTIONS = OpenOptions()
STEM = "ILSVRC2012_val_00000236"


def texts(dataset: Dataset, level: str) -> str:
    return "\n".join(f.sentence() for f in dataset.findings if f.level == level)


def bytes_of(picture: RenderedPicture) -> np.ndarray:
    return np.rint(picture.open(OPTIONS).pixels * 255).astype(np.uint8)


@pytest.fixture(params=[True, False], ids=["grouped", "flat"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return miniatures.imagenet_c(tmp_path / "c", tmp_path / "clean", grouped=request.param)


def test_corrupted_pictures_find_their_clean_twins(root: Path) -> None:
    dataset = imagenet_c.read(root, root.parent / "clean")
    dataset.require_whole()
    records = list(dataset.records())
    assert len(records) == len(dataset) == 2 * 2 * 5
    first = records[0]
    assert (first.key, first.group, first.distortion, first.level) == (f"snow/1/{STEM}", STEM, "snow", 1)
    assert {record.group for record in records} == {STEM, "ILSVRC2012_val_00000293"}
    assert {record.subsets for record in records} == {("weather",)}
    clean, corrupted = first.pairs[0]
    assert isinstance(clean, RenderedPicture)
    assert clean.crop
    assert clean.open(OPTIONS).pixels.shape == (224, 224, 3)
    assert isinstance(corrupted, Path)
    assert corrupted.is_file()
    assert "went through JPEG of quality 85" in texts(dataset, "note")
    assert "cells hold 2 pictures; published are 50000" in texts(dataset, "warning")
    assert records == list(dataset.records())
    assert first in dataset.rows


def test_keys_are_unique_and_ordered_by_names_only(root: Path) -> None:
    keys = [record.key for record in imagenet_c.read(root, root.parent / "clean").records()]
    assert len(set(keys)) == len(keys)
    assert keys[:2] == [f"snow/1/{STEM}", "snow/1/ILSVRC2012_val_00000293"]


def test_one_corruption_is_a_data_set_too(root: Path) -> None:
    inside = next(folder for folder in root.rglob("fog") if folder.is_dir())
    dataset = imagenet_c.read(inside, root.parent / "clean")
    assert {record.distortion for record in dataset.records()} == {"fog"}


def test_clean_pictures_have_to_be_named_and_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--clean"):
        imagenet_c.read(root, None)
    with pytest.raises(ManifestError, match="holds no pictures"):
        imagenet_c.read(root, tmp_path / "no")
    (root.parent / "clean" / f"{STEM}.JPEG").unlink()
    dataset = imagenet_c.read(root, root.parent / "clean")
    assert texts(dataset, "missing") == f"corrupted pictures have no clean twin (1): {STEM}"
    assert len(dataset) == len(list(dataset.records())) == 10


def test_empty_cells_doubles_and_uneven_cells_are_named(root: Path) -> None:
    fog = next(folder for folder in root.rglob("fog") if folder.is_dir())
    for path in (fog / "2").rglob("*.JPEG"):
        path.unlink()
    next((fog / "3").rglob(f"{STEM}.JPEG")).unlink()
    miniatures.textured(fog / "4" / "other" / f"{STEM}.png")
    miniatures.textured(root.parent / "clean" / "n1" / f"{STEM}.png")
    dataset = imagenet_c.read(root, root.parent / "clean")
    problems = texts(dataset, "error")
    assert "fog has no pictures of severity 2" in problems
    assert "pictures are there twice in fog/4 (1)" in problems
    assert "clean pictures have the same name (1)" in problems
    assert "cells have not 2 pictures as the others (1): fog 3 (1)" in texts(dataset, "warning")


def test_a_wrong_folder_is_told_what_was_expected(tmp_path: Path) -> None:
    miniatures.picture(tmp_path / "holiday" / "a.png")
    with pytest.raises(ManifestError, match="holds holiday; expected ImageNet-C"):
        imagenet_c.read(tmp_path, tmp_path)


def test_corrupted_pictures_must_be_as_large_as_the_cropped_clean_ones(root: Path) -> None:
    assert texts(check_pictures(imagenet_c.read(root, root.parent / "clean")), "error") == ""
    miniatures.textured(next(root.rglob(f"{STEM}.JPEG")), (224, 200))
    problem = texts(check_pictures(imagenet_c.read(root, root.parent / "clean")), "error")
    assert "pairs differ in size (1)" in problem


def test_tiny_pictures_are_not_cropped(root: Path) -> None:
    dataset = imagenet_c.read(root, root.parent / "clean", crop=False, variant="tiny-imagenet-c")
    clean, _ = next(dataset.records()).pairs[0]
    assert isinstance(clean, Path)
    assert "published are 10000" in texts(dataset, "warning")


def test_generated_pictures_are_those_of_the_corruption(tmp_path: Path) -> None:
    path = miniatures.textured(tmp_path / "a.png", (70, 50))
    dataset = imagenet_c.generated(tmp_path, ["fog", "contrast"], severities=[2, 5], seed=3)
    records = list(dataset.records())
    assert [record.key for record in records] == ["fog/2/a", "fog/5/a", "contrast/2/a", "contrast/5/a"]
    clean, distorted = records[1].pairs[0]
    assert clean == path
    assert isinstance(distorted, RenderedPicture)
    want = corrupt(np.asarray(Image.open(path)), "fog", 5, stem="a", seed=3)
    assert np.array_equal(bytes_of(distorted), want)
    assert len(imagenet_c.generated(tmp_path)) == 19 * 5


def test_generating_what_there_is_not_is_refused(tmp_path: Path) -> None:
    miniatures.textured(tmp_path / "a.png")
    with pytest.raises(UsageError, match="did you mean 'fog'"):
        imagenet_c.generated(tmp_path, ["fogg"])
    with pytest.raises(UsageError, match="severity must be 1 to 5; got 0"):
        imagenet_c.generated(tmp_path, severities=[0])
    with pytest.raises(ManifestError, match="holds no pictures"):
        imagenet_c.generated(tmp_path / "no")


def test_a_picture_that_is_too_small_to_corrupt_is_named(tmp_path: Path) -> None:
    path = miniatures.textured(tmp_path / "a.png", (40, 20))
    with pytest.raises(InputError, match=r"a\.png: image sides must be at least 32 pixels; got 40 x 20"):
        RenderedPicture(path, corruption=CorruptionStep("fog", 1, 0)).open(OPTIONS)


def test_rendered_pictures_have_names_and_stamps_of_their_own(tmp_path: Path) -> None:
    path = miniatures.textured(tmp_path / "a.png")
    made = [
        RenderedPicture(path),
        RenderedPicture(path, crop=True),
        RenderedPicture(path, jpeg_quality=85),
        *(
            RenderedPicture(path, corruption=CorruptionStep("contrast", severity, seed, recipe))
            for severity in (1, 2)
            for seed in (0, 1)
            for recipe in (Recipe(), Recipe("tiny-imagenet-c"))
        ),
    ]
    assert len({picture.name for picture in made}) == len(made)
    for verify in (False, True):
        before = [picture.stamp(verify) for picture in made]
        assert len(set(before)) == len(made)
    miniatures.textured(path, seed=9)
    assert not set(before) & {picture.stamp(True) for picture in made}
    path.unlink()
    assert "unreadable" in made[0].stamp(False)


def test_the_stamp_of_frost_follows_the_frost_pictures(tmp_path: Path) -> None:
    path = miniatures.textured(tmp_path / "a.png")
    for number in range(1, 7):
        miniatures.textured(tmp_path / f"frost{number}.png", (90, 80), number)
    frosty = RenderedPicture(path, corruption=CorruptionStep("frost", 1, 0, Recipe(frost=tmp_path)))
    before = frosty.stamp(True)
    miniatures.textured(tmp_path / "frost2.png", (90, 80), 99)
    assert frosty.stamp(True) != before
    assert frosty.open(OPTIONS).pixels.shape == (48, 64, 3)


def test_the_crop_is_the_centre_after_scaling_the_shorter_side() -> None:
    ramp = np.broadcast_to(np.arange(512, dtype=np.uint8)[None, :, None] // 2, (256, 512, 3))
    cropped = imagenet_crop(np.ascontiguousarray(ramp))
    assert cropped.shape == (224, 224, 3)
    assert np.array_equal(cropped, ramp[16:240, 144:368])
    assert imagenet_crop(np.zeros((300, 257, 3), np.uint8)).shape == (224, 224, 3)


def test_the_floor_is_the_clean_picture_after_jpeg(root: Path) -> None:
    clean, _ = next(imagenet_c.read(root, root.parent / "clean").records()).pairs[0]
    assert isinstance(clean, RenderedPicture)
    floor = imagenet_c.jpeg_floor(clean)
    difference = np.abs(bytes_of(floor).astype(int) - bytes_of(clean).astype(int))
    assert 0 < difference.mean() < 40
    assert floor.jpeg_quality == 85
    assert len(names()) == 19
