"""Quantities of picture pairs: computed once, known by content, the same after a kill."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import textured

from pim.errors import DataError
from pim.eval.judgements import PlannedPair
from pim.images.opener import OpenOptions
from pim.scoring.pictures import FilePicture
from vggmetric.fitting.arrays import opened
from vggmetric.fitting.quantities import Collecting, collect, keys, stamp


class Counting:
    """Mean squared difference of each colour, and how often it was asked."""

    size = 3

    def __init__(self, name: str = "counting", stop_after: int | None = None) -> None:
        self.identity = {"name": name}
        self.analysed = self.compared = 0
        self._stop_after = stop_after

    def analyse(self, reference: torch.Tensor) -> torch.Tensor:
        self.analysed += len(reference)
        return reference

    def compare(self, analysed: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
        if self._stop_after is not None and self.compared >= self._stop_after:
            raise KeyboardInterrupt
        self.compared += len(distorted)
        return ((analysed - distorted) ** 2).mean((2, 3))


@pytest.fixture
def pairs(tmp_path: Path) -> list[PlannedPair]:
    """Two references with three versions each, of two sizes."""
    found = []
    for reference, size in ((0, (31, 22)), (1, (24, 40))):
        first = textured(tmp_path / "in" / f"{reference}.png", size, reference)
        for version in range(3):
            second = textured(tmp_path / "in" / f"{reference}_{version}.png", size, 10 * reference + version + 5)
            found.append(PlannedPair(second.name, FilePicture(first), FilePicture(second)))
    return found


def run(source: Counting, pairs: list[PlannedPair], folder: Path, **changed) -> np.ndarray:
    how = replace(Collecting(folder / "kept"), **changed)
    return collect(source, pairs, keys(pairs, stamp), how, lambda count=1, note="": None)


def expected(pairs: list[PlannedPair]) -> np.ndarray:
    rows = []
    for pair in pairs:
        first, second = (
            picture.open(OpenOptions()).pixels.astype(np.float64) for picture in (pair.reference, pair.distorted)
        )
        rows.append(((first - second) ** 2).mean((0, 1)))
    return np.array(rows)


def test_values_come_in_the_order_of_the_pairs(pairs, tmp_path):
    mixed = [pairs[i] for i in (4, 0, 5, 2, 3, 1)]
    assert np.allclose(run(Counting(), mixed, tmp_path), expected(mixed), rtol=1e-5)


def test_a_second_time_nothing_is_computed(pairs, tmp_path):
    first = run(Counting(), pairs, tmp_path)
    again = Counting()
    assert np.array_equal(run(again, pairs, tmp_path), first)
    assert (again.analysed, again.compared) == (0, 0)


def test_a_reference_is_analysed_once(pairs, tmp_path):
    source = Counting()
    run(source, pairs, tmp_path)
    assert (source.analysed, source.compared) == (2, 6)


def test_moved_pictures_are_known_and_changed_ones_are_not(pairs, tmp_path):
    first = run(Counting(), pairs, tmp_path)
    shutil.move(tmp_path / "in", tmp_path / "out")
    moved = [
        PlannedPair(p.key, *(FilePicture(tmp_path / "out" / side.path.name) for side in (p.reference, p.distorted)))
        for p in pairs
    ]
    textured(tmp_path / "out" / "1_2.png", (24, 40), 99)
    source = Counting()
    second = run(source, moved, tmp_path)
    assert 0 < source.compared <= 2  # with those that are computed together
    assert np.array_equal(second[:5], first[:5])
    assert not np.array_equal(second[5], first[5])


@pytest.mark.parametrize("changed", [{"opening": OpenOptions(background="white")}, {"source": Counting("other")}])
def test_another_network_or_way_of_opening_is_computed_anew(pairs, tmp_path, changed):
    run(Counting(), pairs, tmp_path)
    source = changed.pop("source", Counting())
    run(source, pairs, tmp_path, **changed)
    assert source.compared == 6


def test_a_treated_picture_is_another_picture(pairs, tmp_path):
    run(Counting(), pairs, tmp_path)
    small = [
        PlannedPair(p.key, replace(p.reference, shorter_side=16), replace(p.distorted, shorter_side=16)) for p in pairs
    ]
    source = Counting()
    run(source, small, tmp_path)
    assert source.compared == 6


def test_what_was_computed_before_a_stop_is_kept(pairs, tmp_path):
    whole = run(Counting(), pairs, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(Counting(stop_after=4), pairs, tmp_path)
    rest = Counting()
    assert np.array_equal(run(rest, pairs, tmp_path), whole)
    assert 0 < rest.compared < 6


def test_pictures_that_cannot_be_used_are_named_and_the_others_kept(pairs, tmp_path):
    (tmp_path / "in" / "0_1.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    with pytest.raises(DataError, match=r"1 of 6 picture pairs cannot be used: .*0_1\.png"):
        run(Counting(), pairs, tmp_path)
    textured(tmp_path / "in" / "0_1.png", (31, 22), 6)
    source = Counting()
    run(source, pairs, tmp_path)
    assert 0 < source.compared <= 2  # with those that are computed together


def test_a_picture_that_is_gone_is_named(pairs, tmp_path):
    (tmp_path / "in" / "1_0.png").unlink()
    with pytest.raises(DataError, match=r"1_0\.png is unreadable: No such file"):
        run(Counting(), pairs, tmp_path)


def test_values_that_are_not_finite_are_refused(pairs, tmp_path):
    source = Counting()
    source.compare = lambda analysed, distorted: torch.full((len(distorted), 3), float("nan"))
    with pytest.raises(DataError, match="no finite values"):
        run(source, pairs, tmp_path)


def test_arrays_are_kept_by_key(tmp_path):
    path = tmp_path / "new" / "arrays.sqlite"
    values = {f"key {i}": np.arange(4.0) + i for i in range(1200)}
    with opened(path, 4, np.float64) as arrays:
        arrays.write(values)
        arrays.write({"key 3": np.zeros(4)})  # equal keys mean equal arrays: what is there stays
    with opened(path, 4, np.float64) as arrays:
        assert arrays.known(["key 7", "other", *values]) == set(values)
        found = np.empty((1201, 4))
        arrays.read_into(found, {key: [i] if i else [0, 1200] for i, key in enumerate(values)})
    assert np.array_equal(found[:1200], np.arange(4.0) + np.arange(1200)[:, None])
    assert np.array_equal(found[1200], found[0])


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "arrays.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    with pytest.raises(DataError, match=r"arrays\.sqlite is damaged"), opened(path, 4, np.float64):
        pass
    path.unlink()
    with opened(path, 4, np.float64) as arrays:
        arrays.write({"key": np.zeros(4)})
    with opened(path, 5, np.float64) as arrays, pytest.raises(DataError, match="damaged: an array has 32 bytes"):
        arrays.read_into(np.empty((1, 5)), {"key": [0]})
