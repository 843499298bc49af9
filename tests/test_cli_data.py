"""`pim data where`, `get` and `check`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import miniatures
import pytest
from lying_server import Plan, serving

from pim.datasets import sources
from pim.datasets.sources import SOURCES, RemoteFile, Source

Cli = Callable[..., Any]


def test_where_lists_all_data_sets(cli: Cli) -> None:
    ran = cli("data", "where")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == list(SOURCES)
    listed = json.loads(cli("data", "where", "--format", "json").out)["sources"]
    assert [item["name"] for item in listed] == list(SOURCES)
    assert len(list(csv.DictReader(io.StringIO(cli("data", "where", "--format", "csv").out)))) == len(SOURCES)


def test_where_tells_page_terms_and_layout_of_one(cli: Cli) -> None:
    out = cli("data", "where", "tid2013").out
    for part in ("https://www.ponomarenko.info/tid2013.htm", "research and education", "mos_with_names.txt", "by hand"):
        assert part in out
    assert "(only when named with --part)" in cli("data", "where", "bapps").out
    ran = cli("data", "where", "tid2031")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean 'tid2013'" in ran.err


def test_get_shows_page_and_layout_of_what_cannot_be_fetched(cli: Cli, tmp_path: Path) -> None:
    ran = cli("data", "get", "tid2013", tmp_path)
    assert ran.code == 1
    assert "reference_images/I01.BMP" in ran.out
    assert "cannot be fetched by a command" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """A data set called small, of one archive on a server on this machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(miniatures.bapps(tmp_path / "made", rows=2) / "dataset", "dataset")
    with serving() as plan:
        plan.content = buffer.getvalue()
        file = RemoteFile("all", plan.url, len(plan.content))
        small = Source("small", "A small set", "https://example.org", "free for all", "little", ("dataset",), (file,))
        monkeypatch.setitem(sources.SOURCES, "small", small)
        yield plan


def test_get_fetches_unpacks_and_removes_the_archive(cli: Cli, small_set: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    ran = cli("data", "get", "small", folder)
    assert ran.code == 0
    digest = hashlib.sha256(small_set.content).hexdigest()
    assert "Terms: free for all" in ran.err
    assert digest in ran.err
    assert "pim data check small" in ran.err
    assert (folder / "SHA256SUMS").read_text() == f"{digest}  set.tar.gz\n"
    assert not (folder / "set.tar.gz").exists()
    assert cli("data", "check", "bapps", folder).code == 0


def test_get_refuses_another_hash_and_keeps_the_archive_on_request(cli: Cli, small_set: Plan, tmp_path: Path) -> None:
    ran = cli("data", "get", "small", tmp_path / "data", "--sha256", "0" * 64)
    assert ran.code == 1
    assert "expected 0000" in ran.err
    assert not (tmp_path / "data" / "dataset").exists()
    cli("data", "get", "small", tmp_path / "data", "--keep-archive", "--quiet")
    assert (tmp_path / "data" / "set.tar.gz").read_bytes() == small_set.content


def test_get_refuses_unknown_parts_and_one_hash_for_two_files(cli: Cli, tmp_path: Path) -> None:
    assert "did you mean 'jnd'" in cli("data", "get", "bapps", tmp_path, "--part", "jdn").err
    ran = cli("data", "get", "bapps", tmp_path, "--sha256", "0" * 64)
    assert ran.code == 2
    assert "choose one with --part 2afc-val or jnd" in ran.err


def test_check_says_that_a_whole_set_is_ready(cli: Cli, tmp_path: Path) -> None:
    ran = cli("data", "check", "bapps", miniatures.bapps(tmp_path))
    assert ran.code == 0
    assert "bapps-2afc in " in ran.out
    assert "18 forced choices" in ran.out
    assert "  superres: 3 of 10856" in ran.out
    assert "  note: sizes of pictures: 64 x 64 (54)" in ran.out
    assert ran.out.count("ready to be scored") == 2
    assert ran.err == ""


def test_check_names_defects_and_fails(cli: Cli, tmp_path: Path) -> None:
    root = miniatures.tid2013(tmp_path)
    (root / "distorted_images" / "i02_08_3.bmp").unlink()
    miniatures.picture(root / "distorted_images" / "i02_08_4.bmp", (500, 384))
    ran = cli("data", "check", "tid2013", root)
    assert ran.code == 1
    assert "  missing: distorted pictures are missing (1): i02_08_3.bmp" in ran.out
    assert "do not have the size 512 x 384 (1): distorted_images/i02_08_4.bmp (500 x 384)" in ran.out
    assert "cannot be scored as it is" in ran.out
    document = json.loads(cli("data", "check", "tid2013", root, "--format", "json").out)["datasets"][0]
    assert (document["name"], document["rows"], document["ready"]) == ("tid2013", 29, False)
    assert [f["count"] for f in document["findings"] if f["level"] == "missing"] == [1]
    rows = list(csv.DictReader(io.StringIO(cli("data", "check", "tid2013", root, "--format", "csv").out)))
    assert {"missing", "error", "warning", "note"} == {row["level"] for row in rows}


def test_check_finds_truncated_pictures_when_it_decodes(cli: Cli, tmp_path: Path) -> None:
    root = miniatures.kadid10k(tmp_path)
    path = miniatures.textured(root / "images" / "I01_01_01.png", (512, 384))
    path.write_bytes(path.read_bytes()[:-2000])
    assert cli("data", "check", "kadid10k", root).code == 0
    ran = cli("data", "check", "kadid10k", root, "--decode")
    assert ran.code == 1
    assert "pictures cannot be read (1): images/I01_01_01.png" in ran.out


def test_check_reads_tables_and_corruptions_with_their_options(cli: Cli, tmp_path: Path) -> None:
    miniatures.textured(tmp_path / "p" / "a.png")
    (tmp_path / "t.csv").write_text("reference,distorted,score\na.png,a.png,1\n")
    assert cli("data", "check", "table", tmp_path / "t.csv", "--images", tmp_path / "p").code == 2
    ran = cli("data", "check", "table", tmp_path / "t.csv", "--images", tmp_path / "p", "--lower-is-better")
    assert ran.code == 0
    assert "1 opinions, lower is better" in ran.out
    root = miniatures.imagenet_c(tmp_path / "c", tmp_path / "clean")
    assert "--clean" in cli("data", "check", "imagenet-c", root).err
    ran = cli("data", "check", "imagenet-c", root, "--clean", tmp_path / "clean")
    assert ran.code == 0
    assert "20 corrupted pictures" in ran.out


def test_check_of_a_wrong_folder_says_what_was_expected(cli: Cli, tmp_path: Path) -> None:
    ran = cli("data", "check", "live", tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "holds nothing; expected LIVE release 2, a folder with dmos_realigned.mat" in ran.err
