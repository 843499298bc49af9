"""`pim cache`: what was kept, and clearing it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    (folder / "crops" / "deep").mkdir(parents=True)
    (folder / "crops" / "deep" / "a.npz").write_bytes(bytes(2_500_000))
    (folder / "rates.sqlite").write_bytes(bytes(100_000))
    (folder / "rates.sqlite.lock").touch()
    monkeypatch.setenv("PIM_CACHE", str(folder))
    return folder


def test_entries_are_listed_with_their_sizes(kept: Path, cli: Cli) -> None:
    ran = cli("cache", "--format", "json")
    found = json.loads(ran.out)
    assert found["folder"] == str(kept)
    assert found["entries"] == [
        {"name": "crops", "files": 1, "MB": 2.5},
        {"name": "rates.sqlite", "files": 1, "MB": 0.1},
    ]
    assert f"2.6 MB in {kept}" in ran.err


def test_one_entry_is_cleared_and_the_others_stay(kept: Path, cli: Cli) -> None:
    assert cli("cache", "--clear", "crops").code == 0
    assert sorted(path.name for path in kept.iterdir()) == ["rates.sqlite", "rates.sqlite.lock"]
    assert cli("cache", "--clear", "all").code == 0
    assert [path.name for path in kept.iterdir()] == ["rates.sqlite.lock"]


def test_a_name_that_is_not_there_clears_nothing(kept: Path, cli: Cli) -> None:
    ran = cli("cache", "--clear", "crop", "--clear", "rates.sqlite")
    assert ran.code == 2
    assert "holds no 'crop'; did you mean 'crops'" in ran.err
    assert (kept / "rates.sqlite").exists()


def test_no_cache_yet_is_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "none"))
    ran = cli("cache")
    assert (ran.code, ran.out) == (0, "")
    assert "0.0 MB" in ran.err
