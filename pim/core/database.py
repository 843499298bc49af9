"""SQLite files that survive kills: write-ahead log, whole transactions, a version, errors for people."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import filelock

from pim.errors import DataError, PimError, UsageError, os_errors_as

WAIT = 30  # seconds for other processes to let go of a file


@dataclass(frozen=True)
class Layout:
    """What kind of database a file holds."""

    schema: str  # statements that make its tables, each with a semicolon, which stands nowhere else
    version: int  # stored in the file; another one is refused
    otherwise: str  # what to do with a file that cannot be used, such as "choose another --run"
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"  # FULL: a commit survives a power failure as well


class Database:
    """One connection to one file."""

    def __init__(self, path: Path, layout: Layout, any_thread: bool = False) -> None:
        """Open the file; one that is new or empty gets its tables. With `any_thread`, callers let threads take turns.

        Raises:
            DataError: if the file is damaged, something else, or of another version.
            PimError: if it cannot be opened.
        """
        self.path, self._layout = path, layout
        try:
            self.connection = sqlite3.connect(
                path, isolation_level=None, timeout=WAIT, check_same_thread=not any_thread
            )
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows that a query finds."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Queries that all see the file as it is at the first of them; others may go on writing."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.connection.rollback()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Statements that take effect together when the block ends, or not at all if it raises."""
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _prepare(self) -> None:
        self._write_ahead()
        self.connection.execute(f"PRAGMA synchronous = {self._layout.synchronous}")
        self.connection.execute("PRAGMA foreign_keys = ON")
        if self._version() == 0:
            self.connection.execute("BEGIN IMMEDIATE")  # another process may be making the tables at this moment
            if self._version() == 0 and not self.rows("SELECT 1 FROM sqlite_master"):
                for statement in (*self._layout.schema.split(";"), f"PRAGMA user_version = {self._layout.version}"):
                    self.connection.execute(statement)
            self.connection.execute("COMMIT")
        self._check()

    def _check(self) -> None:
        """Raise DataError if it is not such a file."""
        version, expected = self._version(), self._layout.version
        if version not in (0, expected):
            raise DataError(
                f"{self.path} has version {version}, this program reads {expected}; {self._layout.otherwise}"
            )
        there = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not version or not set(re.findall(r"CREATE TABLE (\w+)", self._layout.schema)) <= there:
            raise DataError(f"{self.path} is a database of another kind; {self._layout.otherwise}")

    def _write_ahead(self) -> None:
        """Choose the log; SQLite does not wait by itself while another process is choosing it."""
        patience = time.monotonic() + WAIT
        while True:
            try:
                # Network file systems cannot do WAL and stay with the rollback journal: slower, as safe.
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > patience:
                    raise
                time.sleep(0.01)

    def _version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    def _explained(self, error: sqlite3.Error) -> PimError:
        text = str(error)
        if "disk is full" in text or "disk I/O" in text:
            where = self.path.parent
            return PimError(f"cannot write to {where}: {text}. What was committed is kept; the same command continues")
        if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text):
            return DataError(f"{self.path} is damaged ({text}); move it away and run again")
        if "readonly" in text:
            return PimError(f"{self.path} cannot be written, only read; copy it elsewhere to go on with it")
        return PimError(f"{self.path}: {text}")


@contextmanager
def to_read(path: Path, layout: Layout) -> Iterator[Database]:
    """Open an existing file to read it; others may be writing it, and it may lie where nobody can write.

    Raises:
        DataError: if it is damaged, something else, or of another version.
        PimError: if it cannot be opened.
    """
    with ExitStack() as stack:
        try:
            file = Database(path, layout)
        except DataError:
            raise
        except PimError:  # even a reader of a write-ahead log needs to write beside it
            copy = Path(stack.enter_context(TemporaryDirectory(prefix="pim-"))) / path.name
            for log in ("", "-wal"):
                if (file_or_log := Path(f"{path}{log}")).exists():
                    shutil.copyfile(file_or_log, f"{copy}{log}")
            file = Database(copy, layout)
        stack.callback(file.close)
        yield file


@contextmanager
def alone(lock: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out for as long as the block lasts, by a lock on a file, whose folder is made if need be.

    Raises:
        UsageError: with the refusal, if another process is inside.
        PimError: if the folder cannot be written to.
    """
    held = filelock.FileLock(lock.parent.resolve() / lock.name)  # whatever links lead there
    with os_errors_as(PimError, f"cannot work in {lock.parent}"):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UsageError(refusal) from error
    try:
        yield
    finally:
        held.release()
