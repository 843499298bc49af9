"""The table of a run: which pairs, which metrics, which values; safe to kill and to start again.

One SQLite file. A value belongs to a pair and a metric; a pair is known by its name together with
the state of its files, a metric by a fingerprint of all that can change its values. Rows made from
other files, weights or settings stay in the table and are never found under the new ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pim.core.database import Database, Layout, alone, to_read
from pim.errors import DataError

TABLE = "scores.sqlite"
LOCK = "run.lock"

_SCHEMA = """
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY, request_json TEXT NOT NULL, fingerprint TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL, versions TEXT NOT NULL);
CREATE TABLE records (
    run_id INTEGER NOT NULL, position INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (run_id, position)) WITHOUT ROWID;
CREATE TABLE pairs (
    pair_id INTEGER PRIMARY KEY, key TEXT NOT NULL, stamp TEXT NOT NULL, identical INTEGER,
    UNIQUE (key, stamp));
CREATE TABLE metrics (
    metric_id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, description TEXT NOT NULL,
    checked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE scores (
    pair_id INTEGER NOT NULL, metric_id INTEGER NOT NULL, value REAL, status INTEGER NOT NULL, message TEXT,
    PRIMARY KEY (pair_id, metric_id)) WITHOUT ROWID;
CREATE TABLE pictures (name TEXT PRIMARY KEY, decoding TEXT NOT NULL) WITHOUT ROWID;
"""
_LAYOUT = Layout(_SCHEMA, 1, "choose another --run")


@dataclass(frozen=True)
class Score:
    """What became of one pair under one metric."""

    pair: int  # pair_id
    metric: int  # metric_id
    value: float | None  # None: failed
    message: str | None = None  # why it failed


@dataclass(frozen=True)
class StoredRun:
    """What was asked for in one run."""

    run: int
    request: dict[str, Any]
    created: str
    versions: dict[str, str]


@dataclass(frozen=True)
class StoredMetric:
    """A metric as it was when it made its values."""

    metric: int
    fingerprint: str
    description: dict[str, Any]
    checked: bool  # whether rows computed alone agreed


@contextmanager
def writing(folder: Path) -> Iterator[Store]:
    """The table of a run folder, for this process alone; both are made if they are not there.

    Raises:
        UsageError: if another process is at work in the folder.
        DataError: if the table is damaged or of another version.
        PimError: if the folder cannot be written to.
    """
    busy = f"another process is at work in {folder}; wait for it, or choose another --run"
    with alone(folder / LOCK, busy), closing(Database(folder / TABLE, _LAYOUT)) as database:
        yield Store(folder, database)


@contextmanager
def reading(folder: Path) -> Iterator[Store]:
    """The table of an existing run folder, to read; another process may be writing it.

    Raises:
        DataError: if there is no such table, or it is damaged or of another version.
    """
    if not (folder / TABLE).is_file():
        raise DataError(f"{folder} is not the folder of a run: it has no {TABLE}")
    with to_read(folder / TABLE, _LAYOUT) as database:
        yield Store(folder, database)


class Store:
    """Reads and writes; every method is one transaction."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self._database, self._rows, self._transaction = database, database.rows, database.transaction

    def add_run(self, fingerprint: str, run: StoredRun, records: Iterable[Mapping[str, Any]]) -> int:
        """Note what is asked for, with its records; a run that is known already becomes the latest.

        Returns:
            Its run_id.
        """
        with self._transaction() as sql:
            known = sql.execute("SELECT run_id FROM runs WHERE fingerprint = ?", (fingerprint,)).fetchone()
            if known is not None:
                sql.execute("UPDATE runs SET created = ? WHERE run_id = ?", (run.created, known[0]))
                return int(known[0])
            texts = (json.dumps(run.request), fingerprint, run.created, json.dumps(run.versions))
            added = sql.execute(
                "INSERT INTO runs (request_json, fingerprint, created, versions) VALUES (?, ?, ?, ?)", texts
            ).lastrowid
            bodies = ((added, position, json.dumps(record)) for position, record in enumerate(records))
            sql.executemany("INSERT INTO records VALUES (?, ?, ?)", bodies)
            return int(added or 0)

    def runs(self) -> list[StoredRun]:
        """All runs, the one asked for last at the end."""
        rows = self._rows("SELECT run_id, request_json, created, versions FROM runs ORDER BY created, run_id")
        return [StoredRun(int(a), json.loads(b), c, json.loads(d)) for a, b, c, d in rows]

    def records(self, run: int) -> list[dict[str, Any]]:
        """The records of a run, in their order."""
        rows = self._rows("SELECT body FROM records WHERE run_id = ? ORDER BY position", run)
        return [json.loads(body) for (body,) in rows]

    def add_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Numbers (pair_id) of pairs given by key and stamp; known ones keep theirs."""
        with self._transaction() as sql:
            sql.executemany("INSERT OR IGNORE INTO pairs (key, stamp) VALUES (?, ?)", pairs)
            find = "SELECT pair_id FROM pairs WHERE key = ? AND stamp = ?"
            return [int(sql.execute(find, pair).fetchone()[0]) for pair in pairs]

    def stamps(self, pairs: Iterable[int]) -> dict[int, str]:
        """The state that the files of some pairs were in when they were scored, by pair_id."""
        find = "SELECT stamp FROM pairs WHERE pair_id = ?"
        return {pair: str(stamp) for pair in pairs for (stamp,) in self._rows(find, pair)}

    def add_metric(self, fingerprint: str, description: Mapping[str, Any]) -> int:
        """The number (metric_id) of the metric of this fingerprint, made known if it is new."""
        with self._transaction() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO metrics (fingerprint, description) VALUES (?, ?)",
                (fingerprint, json.dumps(description)),
            )
            return int(sql.execute("SELECT metric_id FROM metrics WHERE fingerprint = ?", (fingerprint,)).fetchone()[0])

    def metrics(self) -> list[StoredMetric]:
        """All metrics that have been at work in this folder, oldest first."""
        rows = self._rows("SELECT metric_id, fingerprint, description, checked FROM metrics ORDER BY metric_id")
        return [StoredMetric(int(a), b, json.loads(c), bool(d)) for a, b, c, d in rows]

    def write(self, scores: Iterable[Score], identical: Mapping[int, bool], pictures: Mapping[str, str]) -> None:
        """Commit values, all or none of them; an earlier value of the same pair and metric is replaced.

        Their metrics have to be checked again. `identical` says by pair_id whether both images are equal, `pictures`
        by name of a picture what opening decided.
        """
        rows = [(s.pair, s.metric, s.value, int(s.value is None), s.message) for s in scores]
        with self._transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", rows)
            sql.executemany("UPDATE metrics SET checked = 0 WHERE metric_id = ?", [(m,) for m in {r[1] for r in rows}])
            same = [(int(equal), pair) for pair, equal in identical.items()]
            sql.executemany("UPDATE pairs SET identical = ? WHERE pair_id = ?", same)
            sql.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?)", list(pictures.items()))

    def mark_checked(self, metric: int) -> None:
        """Note that rows of this metric, computed alone, agreed."""
        with self._transaction() as sql:
            sql.execute("UPDATE metrics SET checked = 1 WHERE metric_id = ?", (metric,))

    def scores(self, metric: int) -> dict[int, Score]:
        """All values of a metric by pair_id, failures included."""
        rows = self._rows("SELECT pair_id, value, message FROM scores WHERE metric_id = ?", metric)
        return {pair: Score(pair, metric, value, message) for pair, value, message in rows}

    def forget(self, metric: int) -> None:
        """Remove all values of a metric."""
        with self._transaction() as sql:
            sql.execute("DELETE FROM scores WHERE metric_id = ?", (metric,))

    def identical(self) -> set[int]:
        """The pairs whose two images are equal in every pixel."""
        return {pair for (pair,) in self._rows("SELECT pair_id FROM pairs WHERE identical = 1")}

    def pictures(self) -> dict[str, str]:
        """What opening decided, by name of the picture."""
        return dict(self._rows("SELECT name, decoding FROM pictures ORDER BY name"))
