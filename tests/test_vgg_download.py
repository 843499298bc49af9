"""`pim weights get vgg16` against a server on this machine that cuts connections and lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
import torch
from lying_server import Plan, serving

from pim.datasets import fetch
from pim.errors import DataError, PimError, UsageError, WeightsError
from vggmetric import backbone, download, loading
from vggmetric.backbone import BACKBONES, cached


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return loading.random_tensors(3)


@pytest.fixture(scope="module")
def content(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "vgg16.pth"
    torch.save({**tensors, "classifier.0.weight": torch.ones(3, 3)}, path)
    return path.read_bytes()


@pytest.fixture
def plan(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plan]:
    """A server with a file that the table knows, and an empty home."""
    monkeypatch.delenv(backbone.VARIABLE, raising=False)
    monkeypatch.setattr(backbone, "network_file", lambda name: None)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=lambda seconds: None))
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(BACKBONES, "tv1k", replace(BACKBONES["tv1k"], sha256=digest, size=len(content)))
    with serving() as plan:
        plan.content = content
        monkeypatch.setattr(download, "address", lambda _: plan.url)
        yield plan


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock"))


def test_the_convolutions_are_kept_and_the_rest_is_removed(
    plan: Plan, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    path = download.get("tv1k", progress=lambda here, total: seen.append((here, total)))
    assert path == cached("tv1k")
    assert seen[-1] == (len(plan.content), len(plan.content))
    assert kept(tmp_path) == ["SHA256SUMS", path.name]
    state = loading.load("tv1k").state_dict().values()
    assert all(torch.equal(got, want) for got, want in zip(state, tensors.values(), strict=True))
    assert download.get("tv1k") == path  # is there: not fetched again
    assert len(plan.asked) == 1


def test_a_cut_download_is_never_used_and_goes_on_with_the_same_command(plan: Plan, tmp_path: Path) -> None:
    plan.cuts = [1_000_000] + [0] * fetch.ATTEMPTS
    with pytest.raises(DataError, match="1000000 bytes are kept, the same command continues"):
        download.get("tv1k")
    assert not any(name.endswith((".pth", ".safetensors")) for name in kept(tmp_path))
    with pytest.raises(PimError, match="pim weights get vgg16"):
        loading.load("tv1k")
    download.get("tv1k", half=True, keep=True)
    assert plan.asked[-1] == "bytes=1000000-"
    assert kept(tmp_path) == ["SHA256SUMS", BACKBONES["tv1k"].file, cached("tv1k", True).name]


def test_another_file_than_the_published_one_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    plan.content = plan.content[:-1] + b"x"
    with pytest.raises(DataError, match=r"has SHA-256 [0-9a-f]{64}, expected .* it is removed"):
        download.get("tv1k")
    assert kept(tmp_path) == []


def test_where_only_the_first_digits_are_published_they_must_agree(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"holds the backbone tv1k, not oxford"):
        download.get("oxford")
    monkeypatch.setitem(BACKBONES, "oxford", replace(BACKBONES["oxford"], sha256="0" * 8))
    monkeypatch.setitem(BACKBONES, "tv1k", replace(BACKBONES["tv1k"], sha256="1" * 64))
    with pytest.raises(WeightsError, match=r"expected 00000000 .*it was not opened"):
        download.get("oxford")
    assert kept(tmp_path) == ["SHA256SUMS"]
    digest = hashlib.sha256(plan.content).hexdigest()
    monkeypatch.setitem(BACKBONES, "oxford", replace(BACKBONES["oxford"], sha256=digest[:8]))
    assert download.get("oxford") == cached("oxford")


def test_what_torchvision_fetched_before_is_used_if_it_is_right(plan: Plan, tmp_path: Path) -> None:
    here = backbone.published(BACKBONES["tv1k"])
    here.parent.mkdir(parents=True)
    here.write_bytes(plan.content)
    path = download.get("tv1k")
    assert plan.asked == []
    path.unlink()
    here.write_bytes(b"wrong")
    assert download.get("tv1k") == path
    assert plan.asked == [None]
    assert here.read_bytes() == b"wrong"


def test_a_damaged_file_in_the_cache_is_told_and_left(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cached("tv1k").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match=r"vgg16_tv1k_f32\.safetensors has SHA-256"):
        download.get("tv1k")
    assert plan.asked == []


def test_two_processes_do_not_get_one_backbone(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    path = cached("tv1k")
    with filelock.FileLock(path.with_name(f".{path.name}.lock")), pytest.raises(PimError, match="another process"):
        download.get("tv1k")


def test_what_cannot_be_fetched_is_refused(plan: Plan) -> None:
    for name in ("oxford12", "rand447"):
        with pytest.raises(UsageError, match=f"{name} cannot be fetched, only tv1k or oxford"):
            download.get(name)


def test_addresses_are_those_of_torchvision_and_end_in_the_names_of_the_table() -> None:
    for name in ("tv1k", "oxford"):
        entry = BACKBONES[name]
        assert download.address(entry).rpartition("/")[2] == entry.file
        assert entry.sha256.startswith(entry.file.rpartition("-")[2].removesuffix(".pth"))
        fetch.check_address(download.address(entry))


def test_the_command_prints_where_the_file_lies(plan: Plan, cli: Callable[..., Any], tmp_path: Path) -> None:
    ran = cli("weights", "get", "vgg16")
    assert (ran.code, ran.out) == (0, f"{cached('tv1k')}\n")
    assert "licence BSD-3-Clause" in ran.err
    assert cli("weights", "get", "vgg16", "--quiet").err == ""
    assert f"  path: {cached('tv1k')}\n" in cli("weights", "list").out
    checked = cli("weights", "check", cached("tv1k"))
    assert checked.code == 0
    assert checked.out.split("\t")[1] == "vgg-backbone, format 1"
    plan.content = b"other"
    ran = cli("weights", "get", "vgg16", "--f16", "--id", "oxford")
    assert ran.code == 1
    assert ran.err.count("\n") == 2
    assert cli("weights", "get", "vgg19").code == 2
