"""Points that were measured before, so that a killed measurement goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ntc.rd import Coder, Picture
from pim.errors import PimError
from pim.eval.rate_curves import RatePoint

FILE = "rate-points.sqlite"
WAIT = 60  # seconds for another process that is writing


class RateCache:
    """A table of points by what they depend on; several processes may use it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, measures: Mapping[str, Any]) -> None:
        self.path = path
        self.connection = connection
        self.measures = measures

    def get(self, picture: Picture, coder: Coder, setting: str) -> RatePoint | None:
        """The point, if it was measured with the same picture, codec, setting and metrics.

        Raises:
            PimError: if the table is damaged.
        """
        key = self._key(picture, coder, setting)
        with _named(self.path):
            row = self.connection.execute("SELECT body FROM points WHERE key = ?", (key,)).fetchone()
            return None if row is None else RatePoint(**json.loads(row[0]))

    def put(self, picture: Picture, coder: Coder, setting: str, point: RatePoint) -> None:
        """Keep a point; it is on disk when this returns.

        Raises:
            PimError: if the table is damaged.
        """
        row = (self._key(picture, coder, setting), json.dumps(asdict(point)))
        with _named(self.path), self.connection:
            self.connection.execute("INSERT OR REPLACE INTO points VALUES (?, ?)", row)

    def _key(self, picture: Picture, coder: Coder, setting: str) -> str:
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        depends = [pixels, picture.shape, coder.name, dict(coder.identity), setting, dict(self.measures)]
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


@contextmanager
def rate_cache(folder: Path, measures: Mapping[str, Any]) -> Iterator[RateCache]:
    """The points kept in a folder.

    Args:
        folder: Made if it is not there.
        measures: What every metric's values depend on, by name, for JSON.

    Raises:
        PimError: if the folder cannot be used or its table is damaged.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PimError(f"cannot keep points in {folder}: {error.strerror}; PIM_CACHE names another folder") from error
    with _named(path):
        connection = sqlite3.connect(path, timeout=WAIT)
    try:
        with _named(path):
            connection.execute("CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID")
        yield RateCache(path, connection, measures)
    finally:
        connection.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What SQLite or a damaged row says, with the file and what to do."""
    try:
        yield
    except (sqlite3.Error, json.JSONDecodeError, TypeError) as error:
        raise PimError(f"{path} cannot be used ({error}); remove it, what it held is measured again") from error
