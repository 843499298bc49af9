"""Unpacking archives that may be hostile: nothing leaves the folder, nothing but plain files comes out.

An archive is unpacked beside its place first and moved there when all of it was good.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from pim.errors import DataError, PimError

PIECE = 1 << 20
LONGEST_PADDING = 1 << 20  # bytes after the last file
LONGEST_NAME = 1024  # characters
ENDINGS = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class Limits:
    """More than this is taken for an attack."""

    files: int = 4_000_000
    size: int = 1 << 38  # bytes of all files together: 256 GiB


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, folder: Path, limits: Limits = Limits(), progress: Callable[[int], None] = lambda count: None
) -> int:
    """Unpack a .tar, .tar.gz, .tgz or .zip into a folder; files of the same name are replaced.

    Returns:
        The number of files; `progress` is called with 1 after each.

    Raises:
        DataError: if it is damaged, leaves the folder, holds anything but files and folders, or is too
            large. The folder is as it was.
        PimError: if the disk is full.
    """
    folder = folder.resolve()
    # On one disk with the folder, so that moving is renaming.
    workplace = folder.parent / f".{folder.name}.{archive.name}.unpacking"
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        workplace.mkdir(parents=True)
        try:
            count = _extract(archive, workplace, limits, progress)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            gzip.BadGzipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
        ) as error:
            raise DataError(f"{archive} is damaged: {error}") from error
        _move(workplace, folder)
    except OSError as error:
        raise PimError(f"cannot unpack {archive} into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return count


def check_beginning(name: str, path: Path) -> None:
    """That a file begins as an archive of this name does; the log-in page of a network does not.

    Raises:
        DataError: if not.
    """
    with path.open("rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    ending = name.lower()
    right = (
        head.startswith(b"PK")
        if ending.endswith(".zip")
        else head.startswith(b"\x1f\x8b")
        if ending.endswith("gz")
        else head[257:262] == b"ustar" or not any(head)
    )
    if ending.endswith(ENDINGS) and not right:
        raise DataError(f"{name} is no archive: it begins with {head[:32]!r}")


def _extract(archive: Path, workplace: Path, limits: Limits, progress: Callable[[int], None]) -> int:
    count = size = 0
    with _opened(archive) as members:
        for number, member in enumerate(members, start=1):
            if number > limits.files:
                raise DataError(f"{archive} has more than {limits.files} entries")
            path = workplace / _inside(member.name, archive)
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise DataError(f"{archive} holds {member.name!r} twice")
            with member.open() as source, open(path, "xb") as target:
                size = _copy(source, target, archive, limits, size)
            count += 1
            progress(1)
    return count


def _copy(source: IO[bytes], target: IO[bytes], archive: Path, limits: Limits, size: int) -> int:
    """Copy a file, counting what really comes out, not what the archive says of it."""
    while piece := source.read(PIECE):
        size += len(piece)
        if size > limits.size:
            raise DataError(f"{archive} unpacks to more than {limits.size} bytes")
        target.write(piece)
    return size


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    """The members of an archive, one after the other."""
    name = archive.name.lower()
    if not name.endswith(ENDINGS):
        raise DataError(f"{archive} is no archive that can be unpacked here; known are {', '.join(ENDINGS)}")
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as book:
            yield _zip_members(book, archive)
    else:
        with ExitStack() as stack:
            stream: io.BufferedIOBase = stack.enter_context(open(archive, "rb"))
            if name.endswith("gz"):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            tape = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
            yield _tar_members(tape, stream, archive)


def _tar_members(tape: tarfile.TarFile, stream: io.BufferedIOBase, archive: Path) -> Iterator[_Member]:
    while (info := tape.next()) is not None:
        if not (info.isreg() or info.isdir()):
            raise _refusal(archive, info.name, info.issym() or info.islnk())
        yield _Member(info.name, info.isdir(), partial(_tar_stream, tape, info))
        tape.members = []  # type: ignore[attr-defined]  # or millions of them stay in memory
    # What follows is padding; reading it makes gzip compare its checksum.
    rest = stream.read(LONGEST_PADDING)
    if stream.read(1):
        raise DataError(f"{archive} goes on after its end")
    if isinstance(stream, io.BufferedReader):
        stream.seek(-tarfile.BLOCKSIZE, io.SEEK_END)
        rest = stream.read()
    if rest.strip(b"\0"):
        raise DataError(f"{archive} is damaged: it lacks its end")


def _tar_stream(tape: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tape.extractfile(info)
    if stream is None:
        raise tarfile.ReadError(f"{info.name!r} has no content")
    return stream


def _zip_members(book: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in book.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, info.filename, kind == stat.S_IFLNK)
        if info.flag_bits & 1:
            raise DataError(f"{archive} holds {info.filename!r}, which is encrypted")
        yield _Member(info.filename, info.is_dir(), partial(book.open, info))


def _refusal(archive: Path, name: str, link: bool) -> DataError:
    what = "a link" if link else "a device or the like"
    return DataError(f"{archive} holds {name!r}, which is {what}; only files and folders are unpacked")


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The name as a path below the folder."""
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
    if bad or not name or len(name) > LONGEST_NAME:
        raise DataError(f"{archive} holds {name[:80]!r}, which would leave the folder or is no good name")
    return path


def _move(workplace: Path, folder: Path) -> None:
    """Move all files to where they belong, beside those that are there."""
    for parent, _, files in os.walk(workplace):
        target = folder / Path(parent).relative_to(workplace)
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(Path(parent) / name, target / name)
