"""Points that were measured before, so that a killed measurement goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ntc.rd import Coder, Picture
from pim.core.database import Database, Layout
from pim.errors import DataError, PimError
from pim.eval.rate_curves import RatePoint

FILE = "rate-points-1.sqlite"
_LAYOUT = Layout(
    "CREATE TABLE points (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;",
    version=1,
    otherwise="remove it, what it held is measured again",
)


class RateCache:
    """A table of points by what they depend on; several processes may use it."""

    def __init__(self, database: Database, measures: Mapping[str, Any]) -> None:
        self.database, self.measures = database, measures

    def get(self, picture: Picture, coder: Coder, setting: str, metrics: Sequence[str]) -> RatePoint | None:
        """Find the point of a picture, codec and setting with the values of those metrics that are known.

        Raises:
            DataError: if the table is damaged.
        """
        found: RatePoint | None = None
        for key in self._keys(picture, coder, setting, metrics):
            for (body,) in self.database.rows("SELECT body FROM points WHERE key = ?", key):
                try:
                    known = RatePoint(**json.loads(body))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{self.database.path} is damaged ({error}); {_LAYOUT.otherwise}") from error
                found = known if found is None else replace(known, values={**found.values, **known.values})
        return found

    def put(self, picture: Picture, coder: Coder, point: RatePoint) -> None:
        """Keep the values of a point, each for itself; they are on disk when this returns.

        Raises:
            PimError: if the table is damaged or cannot be written.
        """
        bodies = [json.dumps(asdict(replace(point, values={name: value}))) for name, value in point.values.items()]
        rows = zip(self._keys(picture, coder, point.setting, tuple(point.values)), bodies, strict=True)
        with self.database.transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", rows)

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
    """Open the points kept in a folder; where it cannot be written nothing is kept, and `tell` gets a line about that.

    `measures` says what the values of every metric depend on, by name, for JSON.

    Raises:
        DataError: if the table is damaged.
    """
    with closing(_opened(folder / FILE, tell)) as database:
        yield RateCache(database, measures)


def _opened(path: Path, tell: Callable[[str], None]) -> Database:
    """The table of points, or one in memory where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = Database(path, _LAYOUT)
        try:
            with database.transaction():  # it may be one that can only be read
                return database
        except PimError:
            database.close()
            raise
    except DataError:
        raise
    except (OSError, PimError) as error:
        tell(f"points cannot be kept in {path} ({error}); PIM_CACHE names another folder")
        return Database(Path(":memory:"), _LAYOUT)
