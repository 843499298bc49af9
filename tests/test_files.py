"""Output: whole or not at all, with the rights that are usual, and through what cannot be replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pim.core.files import write_text, written_whole
from pim.errors import PimError

ROOT = Path(__file__).resolve().parents[1]
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, rights and links of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == expected


@posix
def test_a_file_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert (mode(path), path.read_text()) == (0o640, "new")


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    if there:
        (tmp_path / "far" / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("far/real.csv")
    write_text(tmp_path / "link.csv", "new")
    assert (tmp_path / "link.csv").is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["real.csv"]
    assert (tmp_path / "far" / "real.csv").read_text() == "new"


@posix
def test_a_pipe_gets_everything_or_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []

    def read() -> None:
        got.append((tmp_path / "pipe").read_bytes())

    for fails in (False, True):
        reader = threading.Thread(target=read)
        reader.start()
        try:
            with written_whole(tmp_path / "pipe") as stream:
                stream.write(b"half")
                if fails:
                    raise ValueError("in between")
        except ValueError:
            pass
        reader.join(60)
    assert got == [b"half", b""]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 1


def half(path: Path) -> None:
    with written_whole(path) as stream:
        stream.write(b"half")
        raise ValueError("in between")


def test_a_file_that_fails_in_between_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(ValueError, match="in between"):
        half(path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert path.read_text() == "old"


def test_a_circle_of_links_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PimError, match="cannot write .*/a: Too many levels of symbolic links"):
        write_text(tmp_path / "a", "new")


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PimError, match=f"cannot write {tmp_path}"):
        write_text(tmp_path, "x")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="stdout by a path")
@pytest.mark.parametrize("appended", [True, False])
def test_output_to_dev_stdout_comes_out_of_stdout(tmp_path: Path, appended: bool) -> None:
    twice = "for word in ('one', 'two'): write_text('/dev/stdout', word + chr(10))"
    write = f"from pim.core.files import write_text\n{twice}"
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("ab" if appended else "wb") as stream:
        subprocess.run([sys.executable, "-c", write], cwd=ROOT, stdout=stream, check=True)
    assert log.read_text() == ("before\n" if appended else "") + "one\ntwo\n"
    piped = subprocess.run([sys.executable, "-c", write], cwd=ROOT, capture_output=True, check=True).stdout
    assert piped == b"one\ntwo\n"


@posix
def test_what_killed_processes_left_goes_with_the_next_write(tmp_path: Path) -> None:
    killed = (
        "import os, sys\nfrom pim.core.files import written_whole\n"
        "with written_whole(sys.argv[1]) as stream:\n    stream.write(b'x' * 1000)\n    stream.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "weights.ckpt"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", killed, str(target)], cwd=ROOT, check=False)
        assert not target.exists()
    assert any(tmp_path.glob(".*.part"))
    with written_whole(tmp_path / "another") as stream:  # still at work: its file must stay
        write_text(target, "done")
        (own,) = tmp_path.glob(".*.part")
        stream.write(b"whole")
    assert not own.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "weights.ckpt"]
