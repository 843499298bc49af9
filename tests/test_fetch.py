"""Downloads from a server on this machine that cuts connections, lies and changes its mind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
from lying_server import CONTENT, Plan, serving

from pim.datasets import fetch as module
from pim.datasets.fetch import Download, fetch, read_sums
from pim.errors import DataError, PimError, UsageError

DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def plan() -> Iterator[Plan]:
    with serving() as plan:
        yield plan


def get(plan: Plan, folder: Path, **options: Any) -> tuple[Path, str]:
    return fetch(Download(plan.url, folder / "set.tar.gz", **options), pause=0.0)


def test_a_file_is_fetched_whole_and_its_hash_noted(plan: Plan, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download = Download(plan.url, tmp_path / "new" / "set.tar.gz", DIGEST.upper())
    path, digest = fetch(download, lambda here, total: seen.append((here, total)))
    assert path.read_bytes() == CONTENT
    assert digest == DIGEST
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert (path.parent / "SHA256SUMS").read_text() == f"{DIGEST}  set.tar.gz\n"
    assert not list(path.parent.glob("*.part*"))


def test_a_cut_connection_is_continued_where_it_stopped(plan: Plan, tmp_path: Path) -> None:
    plan.cuts = [1_500_000, 300_000]
    path, digest = get(plan, tmp_path, sha256=DIGEST)
    assert digest == DIGEST
    assert plan.asked == [None, "bytes=1500000-", "bytes=1800000-"]
    assert path.read_bytes() == CONTENT


def test_any_number_of_cuts_is_borne_as_long_as_something_comes(plan: Plan, tmp_path: Path) -> None:
    plan.cuts = [200_000] * (module.ATTEMPTS + 3)
    assert get(plan, tmp_path, sha256=DIGEST)[1] == DIGEST


def test_a_download_that_gave_up_is_continued_by_the_next_call(plan: Plan, tmp_path: Path) -> None:
    plan.cuts = [1_000_000] + [0] * module.ATTEMPTS
    with pytest.raises(DataError, match="1000000 bytes are kept, the same command continues"):
        get(plan, tmp_path)
    assert not (tmp_path / "set.tar.gz").exists()
    get(plan, tmp_path, sha256=DIGEST)
    assert plan.asked[-1] == "bytes=1000000-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(plan: Plan, tmp_path: Path) -> None:
    plan.cuts = [1_000_000] + [0] * module.ATTEMPTS
    with pytest.raises(DataError):
        get(plan, tmp_path)
    plan.content, plan.tag = CONTENT[::-1], '"v2"'
    seen: list[tuple[int, int | None]] = []
    path, _ = fetch(Download(plan.url, tmp_path / "set.tar.gz"), lambda here, total: seen.append((here, total)))
    assert path.read_bytes() == CONTENT[::-1]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_server_without_parts_or_tags_is_asked_for_the_whole(plan: Plan, tmp_path: Path) -> None:
    plan.cuts, plan.ranges = [1_000_000], False
    assert get(plan, tmp_path)[1] == DIGEST
    plan.cuts, plan.tag = [1_000_000], None
    assert get(plan, tmp_path / "other")[1] == DIGEST
    assert plan.asked[-1] is None


def test_another_part_than_asked_for_is_refused(plan: Plan, tmp_path: Path) -> None:
    plan.cuts, plan.shift = [1_000_000], 5
    with pytest.raises(DataError, match="another part than was asked for"):
        get(plan, tmp_path)


def test_a_wrong_hash_leaves_nothing_behind(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has SHA-256 {DIGEST}, expected {'0' * 64}; it is removed"):
        get(plan, tmp_path, sha256="0" * 64)
    assert not list(tmp_path.glob("set*"))
    assert read_sums(tmp_path) == {}


def test_a_second_download_is_compared_with_the_first(plan: Plan, tmp_path: Path) -> None:
    path, _ = get(plan, tmp_path)
    path.unlink()
    plan.content = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match="an earlier download had, by SHA256SUMS"):
        get(plan, tmp_path)
    assert read_sums(tmp_path) == {"set.tar.gz": DIGEST}


def test_a_file_that_is_there_is_checked_and_not_fetched_again(plan: Plan, tmp_path: Path) -> None:
    get(plan, tmp_path)
    get(plan, tmp_path, sha256=DIGEST)
    assert len(plan.asked) == 1
    (tmp_path / "set.tar.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="remove it and fetch it again"):
        get(plan, tmp_path)
    assert (tmp_path / "set.tar.gz").read_bytes() == b"damaged"


def test_passing_troubles_of_a_server_are_waited_out_and_lasting_ones_told(plan: Plan, tmp_path: Path) -> None:
    plan.statuses = [503, 429]
    assert get(plan, tmp_path)[1] == DIGEST
    plan.statuses = [404]
    with pytest.raises(DataError, match="cannot be fetched: 404 Not Found"):
        get(plan, tmp_path / "other")
    plan.statuses = [500] * module.ATTEMPTS
    with pytest.raises(DataError, match=f"{module.ATTEMPTS} times; 0 bytes are kept"):
        get(plan, tmp_path / "other")


def test_only_https_is_trusted_also_after_a_redirection(plan: Plan, tmp_path: Path) -> None:
    for url in (
        "http://example.org/a",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "a.tar",
        "http://127.0.0.1.evil.org/",
    ):
        with pytest.raises(UsageError, match="must come over https"):
            fetch(Download(url, tmp_path / "a"))
    plan.redirect = "http://example.org/a.tar"
    with pytest.raises(UsageError, match="must come over https; got http://example.org"):
        get(plan, tmp_path)


def test_a_server_that_sends_too_much_is_stopped(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 1000; this is not what was asked"):
        get(plan, tmp_path, most=1000)


def test_a_full_disk_is_told_before_it_is_full(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(PimError, match="has 1 MiB of free space; 2 MiB are to come"):
        get(plan, tmp_path)


def test_two_processes_do_not_fetch_one_file(plan: Plan, tmp_path: Path) -> None:
    with (
        filelock.FileLock(tmp_path / ".set.tar.gz.lock"),
        pytest.raises(PimError, match="another process is fetching"),
    ):
        get(plan, tmp_path)


def test_a_part_that_was_complete_when_its_process_was_killed_is_taken(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT)
    (tmp_path / "set.tar.gz.part.tag").write_text('"v1"\n')
    assert get(plan, tmp_path)[1] == DIGEST
    assert plan.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_longer_than_the_whole_is_fetched_anew(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT + b"more")
    (tmp_path / "set.tar.gz.part.tag").write_text('"v1"\n')
    assert get(plan, tmp_path)[1] == DIGEST


def test_what_cannot_be_the_file_is_never_believed(plan: Plan, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise DataError("this is a page")

    plan.content = b"<html>please pay</html>"
    for options, told in (({"least": 1000}, "sent 23 bytes, at least 1000"), ({"check": refuse}, "this is a page")):
        with pytest.raises(DataError, match=f"{told}.*; it is removed, the same command fetches it again"):
            get(plan, tmp_path, **options)
        assert not list(tmp_path.glob("*set*.part*"))
        assert read_sums(tmp_path) == {}
    plan.content = CONTENT
    assert get(plan, tmp_path, least=1000, check=refuse)[1] == DIGEST


def test_another_file_than_the_first_is_kept_until_a_person_decides(plan: Plan, tmp_path: Path) -> None:
    get(plan, tmp_path)[0].unlink()
    plan.content = CONTENT[::-1]
    for _ in range(2):
        with pytest.raises(DataError, match=r"kept as set\.tar\.gz\.part; if it is right, remove its line"):
            get(plan, tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    sent = len(plan.asked)
    assert get(plan, tmp_path)[0].read_bytes() == CONTENT[::-1]
    assert plan.asked[sent:] == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_proved_damaged_is_forgotten(plan: Plan, tmp_path: Path) -> None:
    path, _ = get(plan, tmp_path)
    module.forget(path)
    assert not path.exists()
    assert read_sums(tmp_path) == {}
