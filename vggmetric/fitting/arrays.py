"""Arrays kept on disk by key: safe to kill at any moment, and to share between processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pim.errors import DataError, PimError

AT_ONCE = 500  # keys in one question
PATIENCE = 60  # seconds to wait for another process that writes


class Arrays:
    """Vectors of one length and type in one SQLite file. Every method is one transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection, length: int, dtype: DTypeLike) -> None:
        self.path, self.length, self.dtype = path, length, np.dtype(dtype).newbyteorder("<")
        self._connection = connection

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which of these keys are there."""
        wanted = list(keys)
        return {row[0] for start in range(0, len(wanted), AT_ONCE) for row in self._ask("key", wanted, start)}

    def read_into(self, target: NDArray[np.float32] | NDArray[np.float64], places: Mapping[str, list[int]]) -> None:
        """Copy arrays to the rows where they belong.

        Args:
            target: (M, length).
            places: By key, the rows.

        Raises:
            DataError: if a key is not there or its array has another length.
        """
        wanted, found = list(places), 0
        for start in range(0, len(wanted), AT_ONCE):
            for key, raw in self._ask("key, value", wanted, start):
                if len(raw) != self.length * self.dtype.itemsize:
                    raise DataError(f"{self.path} is damaged: an array has {len(raw)} bytes; remove it and run again")
                target[places[key]] = np.frombuffer(raw, self.dtype)
                found += 1
        if found < len(wanted):
            raise DataError(f"{self.path} lacks {len(wanted) - found} arrays; run again to make them")

    def write(self, arrays: Mapping[str, NDArray[np.float32] | NDArray[np.float64]]) -> None:
        """Keep arrays, all or none of them; equal keys mean equal arrays.

        Raises:
            PimError: if they cannot be written; what was there stays.
        """
        rows = [(key, np.asarray(value, self.dtype).tobytes()) for key, value in arrays.items()]
        with _explained(self.path), self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO arrays VALUES (?, ?)", rows)

    def _ask(self, columns: str, keys: list[str], start: int) -> Iterator[tuple[Any, ...]]:
        some = keys[start : start + AT_ONCE]
        marks = ",".join("?" * len(some))
        with _explained(self.path):
            yield from self._connection.execute(f"SELECT {columns} FROM arrays WHERE key IN ({marks})", some)


@contextmanager
def opened(path: Path, length: int, dtype: DTypeLike) -> Iterator[Arrays]:
    """The arrays of a file, which is made if it is not there.

    Args:
        path: Of the file.
        length: Of each array.
        dtype: Of its elements.

    Raises:
        DataError: if the file is damaged or something else.
        PimError: if it cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        with _explained(path):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            with connection:
                connection.execute("CREATE TABLE IF NOT EXISTS arrays (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
        yield Arrays(path, connection, length, dtype)
    finally:
        connection.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise DataError(f"{path} is damaged ({error}); remove it and run again") from error
        raise PimError(f"cannot use {path}: {error}; what is in it is kept") from error
    except OSError as error:
        raise PimError(f"cannot use {path}: {error.strerror or error}") from error
