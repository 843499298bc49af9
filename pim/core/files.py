"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pim.errors import PimError, os_errors_as

VIDEO_SUFFIXES = frozenset(
    {
        *(".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".av1", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif"),
        *(".h264", ".h265", ".hevc", ".ivf", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv"),
        *(".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt"),
        *(".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m"),
    }
)


_SYSTEM = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"})


def is_hidden(name: str) -> bool:
    """Whether an entry of a folder is hidden or belongs to the system, so that no user means it.

    >>> is_hidden("._a.png"), is_hidden("@eaDir"), is_hidden("a.png")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary stream whose content becomes `path` only if the block ends without an error.

    A reader sees the old file or the new one, never a part. A link stays, and what it leads to is written. Pipes,
    devices and open files such as /dev/stdout get all at once.

    Raises:
        PimError: if the folder cannot be written to or the disk is full; what was there stays.
    """
    target = Path(path)
    with os_errors_as(PimError, f"cannot write {path}"):
        through = _open_through(target)
        if through is None:
            target = Path(os.path.realpath(target))
            handle, temporary = _temporary(target.parent)
    if through is not None:
        yield from _passed_on(target, through)
        return
    try:
        with os_errors_as(PimError, f"cannot write {path}", "; what was there before is kept"):
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> tuple[int, Path]:
    """A new file, locked for as long as it is open; those that killed processes have left in the folder are removed."""
    for left in folder.glob(f".{'[0-9a-f]' * 16}.part"):
        with contextlib.suppress(OSError), left.open("rb") as stream:
            if _locked(stream.fileno()):
                left.unlink()
    while True:
        path = folder / f".{secrets.token_hex(8)}.part"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less what the umask takes
        if not _locked(handle) or os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)  # another process took it for one that was left, before it was locked


def _locked(handle: int) -> bool:
    """Whether this handle holds the lock of its file from now on; False also where there are no such locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _open_through(path: Path) -> int | None:
    """A descriptor for what takes content but cannot be replaced: a pipe, a device, an open file; None for files."""
    with contextlib.suppress(FileNotFoundError):
        path.stat()  # a circle of links is an error
    open_files = ("/dev/fd", os.path.realpath("/proc/self/fd"))
    if os.path.realpath(path.parent) in open_files and path.name.isdecimal():  # may be a file: keep its position
        return os.dup(int(path.name))
    if path.is_symlink():
        return _open_through(path.parent / os.readlink(path))
    if not path.exists() or path.is_file():
        return None
    return os.open(path, os.O_WRONLY)


def _passed_on(path: Path, descriptor: int) -> Iterator[BinaryIO]:
    with os.fdopen(descriptor, "wb") as out, tempfile.SpooledTemporaryFile(1 << 24) as waiting:
        yield cast(BinaryIO, waiting)
        waiting.seek(0)
        try:
            shutil.copyfileobj(waiting, out)
            out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise PimError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file, atomically; raises PimError if it cannot be written."""
    with written_whole(path) as stream:
        stream.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a whole UTF-8 file, atomically; raises PimError if it cannot be written."""
    write_bytes(path, content.encode("utf-8"))


def sha256_of(path: str | Path, progress: Callable[[int], None] | None = None) -> str:
    """Compute the SHA-256 of a file in pieces; `progress` is called with the bytes of each."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            if progress is not None:
                progress(len(piece))
    return digest.hexdigest()
