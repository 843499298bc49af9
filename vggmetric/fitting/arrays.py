"""Arrays, and fits, kept on disk by key: safe to kill at any moment, and to share between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pim.core.database import Database, Layout
from pim.errors import DataError, PimError, os_errors_as
from vggmetric.fitting.choice import Array, Choices, Ridge, fit

AT_ONCE = 500  # keys in one question

_LAYOUT = Layout(
    "CREATE TABLE arrays (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;",
    version=1,
    otherwise="remove it and run again",
)


class Arrays:
    """Vectors of one length and type in one SQLite file. Every method is one transaction."""

    def __init__(self, database: Database, length: int, dtype: DTypeLike) -> None:
        self.length, self.dtype = length, np.dtype(dtype).newbyteorder("<")
        self._database = database

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which of these keys are there."""
        return {key for (key,) in self._ask("key", list(keys))}

    def read_into(self, target: NDArray[np.float32] | NDArray[np.float64], places: Mapping[str, list[int]]) -> None:
        """Copy arrays to the rows of (M, length) where they belong, by key.

        Raises:
            DataError: if a key is not there or its array has another length.
        """
        found = 0
        for key, raw in self._ask("key, value", list(places)):
            if len(raw) != self.length * self.dtype.itemsize:
                raise DataError(f"{self._database.path} is damaged: an array has {len(raw)} bytes; remove it")
            target[places[key]] = np.frombuffer(raw, self.dtype)
            found += 1
        if found < len(places):
            raise DataError(f"{self._database.path} lacks {len(places) - found} arrays; run again to make them")

    def write(self, arrays: Mapping[str, NDArray[np.float32] | NDArray[np.float64]]) -> None:
        """Keep arrays, all or none of them; those that are there already stay.

        Raises:
            PimError: if they cannot be written; what was there stays.
        """
        rows = [(key, np.asarray(value, self.dtype).tobytes()) for key, value in arrays.items()]
        with self._database.transaction() as sql:
            sql.executemany("INSERT OR IGNORE INTO arrays VALUES (?, ?)", rows)

    def _ask(self, columns: str, keys: list[str]) -> Iterator[Any]:
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            yield from self._database.rows(f"SELECT {columns} FROM arrays WHERE key IN ({marks})", *some)


@contextmanager
def opened(path: Path, length: int, dtype: DTypeLike) -> Iterator[Arrays]:
    """Open the arrays of a file, of one length and type each; it is made if it is not there.

    Raises:
        DataError: if the file is damaged or something else.
        PimError: if it cannot be written.
    """
    with os_errors_as(PimError, f"cannot write to {path.parent}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Database(path, _LAYOUT)) as database:
        yield Arrays(database, length, dtype)


class Remembering:
    """`choice.fit`, once for every problem.

    Args:
        store: Where weights are kept.
        content: A hash of the quantities that all problems share.
    """

    def __init__(self, store: Arrays, content: str) -> None:
        self._store, self._content = store, content

    def __call__(self, choices: Choices, ridge: Ridge, *, scale: Array | None, start: Array | None) -> Array:
        """The weights of least penalised loss, (P,), as `choice.fit`."""
        key = self._key(choices, ridge, start)
        if key in self._store.known([key]):
            found = np.empty((1, self._store.length))
            self._store.read_into(found, {key: [0]})
            return np.asarray(found[0])
        weights = fit(choices, ridge, scale=scale, start=start)
        self._store.write({key: weights})
        return weights

    def _key(self, choices: Choices, ridge: Ridge, start: Array | None) -> str:
        """The start counts as well: it moves the last digits."""
        total = hashlib.sha256(f"{self._content} {ridge.strength!r} {choices.quantities.dtype}".encode())
        for column in (choices.first, choices.second, choices.share, choices.votes, ridge.centre, start):
            total.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
            total.update(b"|")
        return total.hexdigest()
