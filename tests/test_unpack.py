"""Archives: good ones come out whole, hostile ones leave no trace."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pim.datasets.unpack import Limits, unpack
from pim.errors import DataError, PimError

Content = dict[str, bytes]
GOOD: Content = {"set/a.txt": b"a" * 5000, "set/inner/b.txt": b"b", "set/empty.txt": b""}


def tar(path: Path, content: Content, *odd: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o777
            archive.addfile(info, io.BytesIO(data))
        for info in odd:
            archive.addfile(info)
    return path


def zipped(path: Path, content: Content, *odd: zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        for info in odd:
            archive.writestr(info, "/etc/passwd")
    return path


def tree(folder: Path) -> Content:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def no_trace(folder: Path, archive: Path) -> bool:
    return [path for path in folder.parent.rglob("*") if path != archive] == []


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.zip"])
def test_files_come_out_as_they_went_in(tmp_path: Path, target: Path, name: str) -> None:
    make: Callable[[Path, Content], Path] = zipped if name.endswith("zip") else tar
    archive = make(tmp_path / name, GOOD)
    seen: list[int] = []
    assert unpack(archive, target, progress=seen.append) == 3
    assert tree(target) == dict(sorted(GOOD.items()))
    assert sum(seen) == 3
    assert not (target / "set" / "a.txt").stat().st_mode & stat.S_IXUSR
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "out"]


def test_files_join_those_that_are_there(tmp_path: Path, target: Path) -> None:
    unpack(tar(tmp_path / "a.tar", {"set/a.txt": b"old", "set/c.txt": b"c"}), target)
    unpack(tar(tmp_path / "b.tar", GOOD), target)
    assert tree(target) == dict(sorted({**GOOD, "set/c.txt": b"c"}.items()))


@pytest.mark.parametrize("name", ["/etc/a", "../a", "set/../../a", "..\\a", "C:a", "C:\\a", "n" * 2000])
@pytest.mark.parametrize("make", [tar, zipped])
def test_names_that_leave_the_folder_are_refused(
    tmp_path: Path, target: Path, name: str, make: Callable[[Path, Content], Path]
) -> None:
    archive = make(tmp_path / ("a.tar" if make is tar else "a.zip"), {"good.txt": b"a", name: b"b"})
    with pytest.raises(DataError, match="would leave the folder or is no good name"):
        unpack(archive, target)
    assert no_trace(target, archive)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, target: Path, kind: bytes, what: str) -> None:
    info = tarfile.TarInfo("set/passwords")
    info.type, info.linkname = kind, "/etc/passwd"
    archive = tar(tmp_path / "a.tar.gz", GOOD, info)
    with pytest.raises(DataError, match=f"'set/passwords', which is {what}"):
        unpack(archive, target)
    assert no_trace(target, archive)


def test_links_in_zip_files_are_refused(tmp_path: Path, target: Path) -> None:
    info = zipfile.ZipInfo("set/passwords")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zipped(tmp_path / "a.zip", GOOD, info)
    with pytest.raises(DataError, match="which is a link"):
        unpack(archive, target)
    assert no_trace(target, archive)


@pytest.mark.parametrize("make", [tar, zipped])
def test_too_many_or_too_large_files_are_refused(
    tmp_path: Path, target: Path, make: Callable[[Path, Content], Path]
) -> None:
    archive = make(tmp_path / ("a.tar.gz" if make is tar else "a.zip"), GOOD | {"bomb": bytes(3_000_000)})
    assert archive.stat().st_size < 20_000
    with pytest.raises(DataError, match="unpacks to more than 2000000 bytes"):
        unpack(archive, target, Limits(size=2_000_000))
    with pytest.raises(DataError, match="more than 3 entries"):
        unpack(archive, target, Limits(files=3))
    assert no_trace(target, archive)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"set/a": b"1", "set//a": b"2"})
    with pytest.raises(DataError, match="twice"):
        unpack(archive, target)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_damaged_archive_changes_nothing(tmp_path: Path, target: Path, name: str) -> None:
    make: Callable[[Path, Content], Path] = zipped if name.endswith("zip") else tar
    archive = make(tmp_path / name, GOOD | {"noise": bytes(range(256)) * 40})
    content = archive.read_bytes()
    unpack(make(tmp_path / f"old-{name}", {"set/a.txt": b"old"}), target)
    flipped = [content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :] for at in (45, len(content) // 3)]
    for damaged in (content[: len(content) // 2], *flipped, b""):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            unpack(archive, target)
        assert tree(target) == {"set/a.txt": b"old"}


def test_a_tar_file_that_was_cut_between_two_files_is_damaged(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"a": b"a" * 512, "b": b"b" * 512})
    archive.write_bytes(archive.read_bytes()[:1024])
    with pytest.raises(DataError, match="lacks its end"):
        unpack(archive, target)
    assert no_trace(target, archive)


def test_a_checksum_that_does_not_fit_is_noticed_though_all_files_came_out(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", GOOD)
    content = archive.read_bytes()
    archive.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    with pytest.raises(DataError, match="is damaged: CRC"):
        unpack(archive, target)
    assert no_trace(target, archive)


def test_what_is_no_archive_is_refused(tmp_path: Path, target: Path) -> None:
    (tmp_path / "a.rar").touch()
    with pytest.raises(DataError, match=r"no archive that can be unpacked here; known are .tar"):
        unpack(tmp_path / "a.rar", target)
    with pytest.raises(PimError, match="No such file"):
        unpack(tmp_path / "no.zip", target)


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "a.tar", GOOD)
    rest = tmp_path / ".out.a.tar.unpacking"
    (rest / "set").mkdir(parents=True)
    (rest / "set" / "a.txt").write_bytes(b"half")
    unpack(archive, target)
    assert tree(target) == dict(sorted(GOOD.items()))
    assert not rest.exists()
