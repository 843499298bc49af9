"""BAPPS: roots at every level, pairing by name, labels that cannot be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniatures
import numpy as np
import pytest

from pim.datasets import bapps
from pim.datasets.bapps import read_label
from pim.datasets.dataset import Dataset, ManifestError
from pim.eval.rated import RatedSet, datasets


def texts(dataset: Dataset, level: str) -> str:
    return "\n".join(f.sentence() for f in dataset.findings if f.level == level)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures.bapps(tmp_path)


@pytest.mark.parametrize("inside", ["", "dataset", "dataset/2afc", "dataset/2afc/val"])
def test_choices_are_found_from_every_level(root: Path, inside: str) -> None:
    dataset = bapps.read_2afc(root / inside)
    dataset.require_whole()
    assert len(dataset) == 18
    row = next(r for r in dataset.records() if r.key == "2afc/val/superres/000001")
    assert row.value == pytest.approx(0.2)
    assert (row.people, row.subsets) == (5, ("superres",))
    parts = [[picture.parent.name for picture in pair if isinstance(picture, Path)] for pair in row.pairs]
    assert parts == [["ref", "p0"], ["ref", "p1"]]
    assert dataset.protocol_side == 64


@pytest.mark.parametrize("inside", ["cnn", "cnn/ref"])
def test_a_single_category_is_enough_and_marked_partial(root: Path, inside: str) -> None:
    dataset = bapps.read_2afc(root / "dataset" / "2afc" / "val" / inside)
    assert {record.subsets for record in dataset.records()} >= {("cnn",)}
    assert "" in dataset.partial


@pytest.mark.parametrize("inside", ["", "dataset", "dataset/jnd", "dataset/jnd/val"])
def test_same_or_not_is_found_from_every_level(root: Path, inside: str) -> None:
    dataset = bapps.read_jnd(root / inside)
    dataset.require_whole()
    row = next(iter(dataset.records()))
    assert (row.key, row.people, row.value) == ("jnd/val/cnn/000000", 3, 0.0)
    assert len(dataset) == 6
    assert dataset.partial == ()


def test_both_halves_come_through_one_door_and_training_on_request(root: Path, tmp_path: Path) -> None:
    assert [dataset.name for dataset in datasets(RatedSet("bapps", root))] == ["bapps-2afc", "bapps-jnd"]
    assert [dataset.name for dataset in datasets(RatedSet("bapps", root / "dataset" / "jnd"))] == ["bapps-jnd"]
    train = miniatures.bapps(tmp_path / "t", categories=("mix",), split="train")
    (dataset,) = datasets(RatedSet("bapps", train, split="train"))
    assert (dataset.name, len(dataset)) == ("bapps-2afc-train", 3)
    assert "traditional" in dataset.partial
    assert "mix" not in dataset.partial


def test_the_published_counts_are_known(root: Path) -> None:
    dataset = bapps.read_2afc(root)
    assert dataset.expected[""] == 36344
    assert "superres has 3 rows; published are 10856" in texts(dataset, "warning")


@pytest.mark.parametrize("part", ["ref", "p0", "p1", "judge"])
def test_a_missing_part_of_a_triplet_is_named(root: Path, part: str) -> None:
    ending = "npy" if part == "judge" else "png"
    (root / "dataset" / "2afc" / "val" / "cnn" / part / f"000001.{ending}").unlink()
    dataset = bapps.read_2afc(root)
    assert texts(dataset, "missing") == f"files are missing in cnn/{part} (1): cnn/{part}/000001"
    with pytest.raises(ManifestError):
        dataset.require_whole()
    dataset.require_whole(allow_missing=True)
    assert len(dataset) == 17


def test_triplets_are_paired_by_name_not_by_order(root: Path) -> None:
    inside = root / "dataset" / "2afc" / "val" / "cnn"
    (inside / "p0" / "000000.png").rename(inside / "p0" / "000009.png")
    kept = [record.key for record in bapps.read_2afc(inside).records()]
    assert kept == ["2afc/val/cnn/000001", "2afc/val/cnn/000002"]


def test_an_empty_category_and_names_that_clash_are_errors(root: Path) -> None:
    inside = root / "dataset" / "2afc" / "val"
    for part in ("ref", "p0", "p1", "judge"):
        (inside / "extra" / part).mkdir(parents=True)
    miniatures.picture(inside / "cnn" / "p0" / "000001.bmp")
    problems = texts(bapps.read_2afc(root), "error")
    assert "the category extra is empty" in problems
    assert "000001.bmp and 000001.png" in problems


def test_a_wrong_folder_is_told_what_was_expected(tmp_path: Path) -> None:
    miniatures.picture(tmp_path / "holiday" / "a.png")
    with pytest.raises(ManifestError, match=r"holds holiday; expected BAPPS, .* ref, p0, p1, judge"):
        bapps.read_2afc(tmp_path)
    with pytest.raises(ManifestError, match="expected BAPPS"):
        bapps.read_jnd(tmp_path / "no")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.array([1.2], np.float32), "is 1.2, a share from 0 to 1"),
        (np.array([-0.2], np.float32), "is -0.2"),
        (np.array([np.nan], np.float32), "is nan"),
        (np.array([0.2, 0.4], np.float32), r"float32 of shape (2,), one floating-point number"),
        (np.array([1], np.int64), "int64 of shape (1,)"),
        (np.array([Trap()], dtype=object), "is no array of numbers: Object arrays cannot be loaded"),
        (np.zeros(5000), "bytes, one number is expected"),
    ],
)
def test_labels_that_are_no_share_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: np.ndarray, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "label.npy"
    np.save(path, value, allow_pickle=True)
    got = read_label(path)
    assert isinstance(got, str)
    assert why in got
    assert not Path("trapped").exists()


def test_files_that_are_no_arrays_are_refused_and_named(root: Path) -> None:
    path = root / "dataset" / "2afc" / "val" / "cnn" / "judge" / "000001.npy"
    for content in (b"", b"0.2", path.read_bytes()[:-2]):
        path.write_bytes(content)
        problem = texts(bapps.read_2afc(root), "error")
        assert "files of judge in cnn cannot be used (1): cnn/judge/000001.npy (is no array of numbers" in problem
    np.savez(path.with_suffix(".npz"), a=np.zeros(1))
    path.write_bytes(path.with_suffix(".npz").read_bytes())
    assert "is an archive" in str(read_label(path))


def test_labels_that_are_no_fifths_are_told(root: Path) -> None:
    miniatures.label(root / "dataset" / "2afc" / "val" / "cnn" / "judge" / "000001.npy", 0.5)
    assert "no shares of 5 votes (1): cnn/000001 (0.5)" in texts(bapps.read_2afc(root), "warning")
