"""MATLAB files against those that SciPy writes, and thousands of damaged ones."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pim.datasets.dataset import ManifestError
from pim.datasets.matfile import read_mat


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    cells = np.empty((1, 3), dtype=object)
    cells[0] = ["bikes.bmp", "", "fjärd"]
    content = {
        "table": np.array([[1.5, -2.0, 3.0], [4.0, 5.0, 6.5]]),
        "bytes": np.array([[1, 0, 1]], dtype=np.uint8),
        "long": np.arange(12, dtype=np.int64).reshape(1, 12),
        "single": np.float32(2.5),
        "text": "dmos",
        "cells": cells,
        "structure": {"a": 1},
    }
    savemat(tmp_path / "t.mat", content, do_compression=request.param)
    return tmp_path / "t.mat"


def test_numbers_texts_and_cells_are_read_as_they_were_written(path: Path) -> None:
    found = read_mat(path)
    table = found["table"]
    assert isinstance(table, np.ndarray)
    assert table.tolist() == [[1.5, -2.0, 3.0], [4.0, 5.0, 6.5]]
    for name, want in {"bytes": [[1, 0, 1]], "long": [list(range(12))], "single": [[2.5]]}.items():
        values = found[name]
        assert isinstance(values, np.ndarray)
        assert values.tolist() == want
    assert found["text"] == "dmos"
    cells = found["cells"]
    assert isinstance(cells, list)
    assert (cells[0], cells[2]) == ("bikes.bmp", "fjärd")
    assert found["structure"] is None


def test_damaged_files_are_read_or_refused_but_never_crash(path: Path) -> None:
    good = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(good[: rng.randrange(1, len(good))] if rng.random() < 0.2 else good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_mat(path)
        except ManifestError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("content", [b"", b"no matlab" * 100, b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.mat").write_bytes(content)
    with pytest.raises(ManifestError, match="cannot be read as a MATLAB file: it does not begin as one of level 5"):
        read_mat(tmp_path / "t.mat")
    with pytest.raises(ManifestError, match="cannot read"):
        read_mat(tmp_path / "no.mat")


def test_a_variable_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "t.mat", {"zeros": np.zeros(100_000)}, do_compression=True)
    monkeypatch.setattr("pim.datasets.matfile.LARGEST", 1 << 19)
    with pytest.raises(ManifestError, match="cut off, or has more than 0 MiB"):
        read_mat(tmp_path / "t.mat")
