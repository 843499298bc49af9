"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pim.errors import PimError


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes `path` only if the block ends without an error.

    Writes to a temporary file in the same folder, flushes it to disk, then renames: a reader sees
    the old file or the new one, never a part. On an error the temporary file is removed.

    Raises:
        PimError: if the folder cannot be written to or the disk is full; what was there stays.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent or Path("."))
    except OSError as error:
        raise PimError(f"cannot write {target}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PimError(f"cannot write {target}: {error.strerror or error}; what was there before is kept") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file, atomically.

    Raises:
        PimError: if it cannot be written.
    """
    with written_whole(path) as stream:
        stream.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a whole UTF-8 file, atomically.

    Raises:
        PimError: if it cannot be written.
    """
    write_bytes(path, content.encode("utf-8"))


def sha256_of(path: str | Path, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file as hexadecimal text, read in pieces.

    Args:
        path: The file.
        progress: Called with the number of bytes after each piece.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            if progress is not None:
                progress(len(piece))
    return digest.hexdigest()
