"""Points that were measured before, so that a killed measurement goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
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

    def get(self, picture: Picture, coder: Coder, setting: str, metrics: Sequence[str]) -> RatePoint | None:
        """Find the point of a picture, codec and setting with the values of those metrics that are known.

        Raises:
            PimError: if the table is damaged.
        """
        found: RatePoint | None = None
        for key in self._keys(picture, coder, setting, metrics):
            with _named(self.path):
                row = self.connection.execute("SELECT body FROM points WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    known = RatePoint(**json.loads(row[0]))
                    found = known if found is None else replace(known, values={**found.values, **known.values})
        return found

    def put(self, picture: Picture, coder: Coder, point: RatePoint) -> None:
        """Keep the values of a point, each for itself; they are on disk when this returns.

        Raises:
            PimError: if the table is damaged.
        """
        bodies = [json.dumps(asdict(replace(point, values={name: value}))) for name, value in point.values.items()]
        rows = zip(self._keys(picture, coder, point.setting, tuple(point.values)), bodies, strict=True)
        with _named(self.path), self.connection:
            self.connection.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", rows)

    def _keys(self, picture: Picture, coder: Coder, setting: str, metrics: Sequence[str]) -> list[str]:
        """What the values of metrics are known by: each depends on its own metric and on no other."""
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        file = [pixels, picture.shape, coder.name, dict(coder.identity), setting]
        every = [json.dumps([*file, name, self.measures.get(name)], sort_keys=True) for name in metrics]
        return [hashlib.sha256(text.encode()).hexdigest() for text in every]


@contextmanager
def rate_cache(
    folder: Path, measures: Mapping[str, Any], tell: Callable[[str], None] = lambda line: None
) -> Iterator[RateCache]:
    """The points kept in a folder; nothing is kept, and that told, where the folder cannot be written.

    Args:
        folder: Made if it is not there.
        measures: What the values of every metric depend on, by name, for JSON.
        tell: Called with a line if nothing can be kept.

    Raises:
        PimError: if the table is damaged.
    """
    path = folder / FILE
    make = "CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID"
    with closing(_opened(path, tell)) as connection:
        with _named(path):
            connection.execute(make)
        yield RateCache(path, connection, measures)


def _opened(path: Path, tell: Callable[[str], None]) -> sqlite3.Connection:
    """The table of points, or one in memory where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=WAIT)
        connection.execute("BEGIN IMMEDIATE").connection.rollback()
    except (OSError, sqlite3.OperationalError) as error:
        tell(f"points cannot be kept in {path} ({error}); PIM_CACHE names another folder")
        return sqlite3.connect(":memory:")
    except sqlite3.DatabaseError:
        pass  # is told with the first statement
    return connection


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What SQLite or a damaged row says, with the file and what to do."""
    try:
        yield
    except (sqlite3.Error, json.JSONDecodeError, TypeError) as error:
        raise PimError(f"{path} cannot be used ({error}); remove it, what it held is measured again") from error
