"""The file of a study: what is asked, who was asked what, and every answer, withdrawn ones included.

One SQLite file. A trial belongs to a rater and has a place in that rater's order; an answer belongs to a
trial. That a trial has one answer at most, and that nobody is asked a question twice except as a repeat,
is kept by the file itself, whatever pages and servers do.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pim.core.database import Database, Layout, alone, to_read
from pim.errors import DataError
from pim.rating.gallery import Facts
from pim.rating.triplets import Triplet, TripletSet

_SCHEMA = """
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    picture_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, sha256 TEXT NOT NULL,
    stamp TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, clear INTEGER,
    token TEXT NOT NULL UNIQUE, coarse_token TEXT NOT NULL UNIQUE);
CREATE TABLE triplets (
    triplet_id INTEGER PRIMARY KEY, reference INTEGER NOT NULL REFERENCES pictures,
    a INTEGER NOT NULL REFERENCES pictures, b INTEGER NOT NULL REFERENCES pictures, family TEXT NOT NULL,
    UNIQUE (reference, a, b));
CREATE TABLE raters (
    rater_id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE,
    created TEXT NOT NULL, kinds TEXT NOT NULL);
CREATE TABLE trials (
    trial_id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, rater_id INTEGER NOT NULL REFERENCES raters,
    place INTEGER NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('main', 'repeat', 'catch')),
    triplet_id INTEGER REFERENCES triplets, picture_id INTEGER REFERENCES pictures,
    flipped INTEGER NOT NULL CHECK (flipped IN (0, 1)), issued TEXT NOT NULL,
    UNIQUE (rater_id, place), CHECK ((triplet_id IS NULL) = (kind = 'catch')),
    CHECK ((picture_id IS NULL) = (kind != 'catch')));
CREATE UNIQUE INDEX once ON trials (rater_id, triplet_id, kind) WHERE kind != 'catch';
CREATE TABLE answers (
    answer_id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, trial_id INTEGER NOT NULL REFERENCES trials,
    right INTEGER CHECK (right IN (0, 1)), milliseconds INTEGER NOT NULL, looks INTEGER NOT NULL,
    screen TEXT NOT NULL, received TEXT NOT NULL, withdrawn TEXT);
CREATE UNIQUE INDEX one_answer ON answers (trial_id) WHERE withdrawn IS NULL;
"""
_JOINERS = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_LAYOUT = Layout(_SCHEMA, 2, "choose another --db", synchronous="FULL")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the study."""

    picture: int  # picture_id
    name: str
    path: Path
    facts: Facts
    token: str  # under which pages ask for it
    coarse_token: str  # and for its coarse version


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer that stands, and how it came about."""

    rater: str
    place: int  # in the order of the rater, from 0
    kind: str
    triplet: int | None  # index into `Content.triplets`; None for a catch trial
    second: bool | None  # chose candidate b, in a catch trial the coarse picture, which is wrong; None: no difference
    right: bool | None  # chose what was on the right
    milliseconds: int
    looks: int  # how often the reference was held over the candidates
    screen: Mapping[str, float]


@dataclass(frozen=True)
class Content:
    """All of a study."""

    triplets: tuple[Triplet, ...]
    paths: Mapping[str, Path]  # of pictures, by name
    answers: tuple[Answered, ...]  # in the order in which they came
    raters: Mapping[str, int]  # names, and how many trials each is asked
    withdrawn: Mapping[str, int]  # answers taken back, by rater
    settings: Mapping[str, Any]


@contextmanager
def serving(path: Path) -> Iterator[Database]:
    """The file of a study, made if it is not there, for this process alone to write.

    Raises:
        UsageError: if another process serves it.
        DataError: if it is damaged, something else, or of another version.
    """
    path = path.resolve()  # a link is the same study
    busy = f"another pim rate serve is at work on {path}; stop it, or choose another --db"
    with alone(path.with_name(f".{path.name}.lock"), busy), closing(Database(path, _LAYOUT, any_thread=True)) as file:
        yield file


def content(path: Path) -> Content:
    """Read a study; a server may be writing it.

    Raises:
        DataError: if there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; pim rate serve makes it")
    with to_read(path, _LAYOUT) as file, file.snapshot():
        triplets = stored_triplets(file)
        places = {triplet: place for place, triplet in enumerate(triplets)}
        rows = file.rows(
            "SELECT r.name, t.place, t.kind, t.triplet_id, a.right != t.flipped, a.right, a.milliseconds, a.looks, "
            "a.screen FROM answers a JOIN trials t USING (trial_id) JOIN raters r USING (rater_id) "
            "WHERE a.withdrawn IS NULL ORDER BY a.answer_id"
        )
        answers = tuple(
            Answered(name, place, kind, places.get(triplet), _choice(second), _choice(right), ms, looks, json.loads(s))
            for name, place, kind, triplet, second, right, ms, looks, s in rows
        )
        withdrawn = file.rows(
            "SELECT r.name, count(*) FROM answers a JOIN trials t USING (trial_id) JOIN raters r USING (rater_id) "
            "WHERE a.withdrawn IS NOT NULL GROUP BY r.rater_id"
        )
        return Content(
            tuple(triplets.values()),
            {picture.name: picture.path for picture in pictures(file).values()},
            answers,
            {name: len(kinds) for name, kinds in file.rows("SELECT name, kinds FROM raters ORDER BY rater_id")},
            dict(withdrawn),
            noted(file, "settings") or {},
        )


def count(file: Database) -> int:
    """How many answers stand."""
    return int(file.rows("SELECT count(*) FROM answers WHERE withdrawn IS NULL")[0][0])


def noted(file: Database, key: str) -> Any:
    """A note about the study; None if there is none."""
    rows = file.rows("SELECT value FROM study WHERE key = ?", key)
    return json.loads(rows[0][0]) if rows else None


def note(file: Database, key: str, value: Any) -> None:
    """Keep a note about the study, in place of an earlier one."""
    with file.transaction() as sql:
        sql.execute("INSERT OR REPLACE INTO study VALUES (?, ?)", (key, json.dumps(value)))


def pictures(file: Database) -> dict[int, Picture]:
    """All pictures by picture_id."""
    rows = file.rows(
        "SELECT picture_id, name, path, sha256, stamp, width, height, clear, token, coarse_token FROM pictures"
    )
    return {
        number: Picture(
            number,
            name,
            Path(path),
            Facts(sha256, stamp, width, height, None if clear is None else bool(clear)),
            token,
            coarse,
        )
        for number, name, path, sha256, stamp, width, height, clear, token, coarse in rows
    }


def stored_triplets(file: Database) -> dict[int, Triplet]:
    """All triplets by triplet_id, in the order in which they were given."""
    rows = file.rows(
        "SELECT t.triplet_id, r.name, a.name, b.name, t.family FROM triplets t "
        "JOIN pictures r ON r.picture_id = t.reference JOIN pictures a ON a.picture_id = t.a "
        "JOIN pictures b ON b.picture_id = t.b ORDER BY t.triplet_id"
    )
    return {number: Triplet(*names) for number, *names in rows}


def keep_set(file: Database, given: TripletSet, facts: Mapping[str, Facts]) -> None:
    """Note the questions and pictures; a study may grow, but nothing in it may change.

    Raises:
        DataError: if a picture is not what it was, or a question is gone.
    """
    before = {picture.name: picture for picture in pictures(file).values()}
    changed = sorted(n for n, p in before.items() if n in facts and facts[n].sha256 != p.facts.sha256)
    missing = [t for t in stored_triplets(file).values() if t not in set(given.triplets)]
    if changed or missing:
        what = [_some("pictures have changed", changed)] if changed else []
        what += [_some("questions are gone", [f"{t.reference}: {t.a} or {t.b}" for t in missing])] if missing else []
        raise DataError(f"{file.path} holds ratings of something else: {'; '.join(what)}; choose another --db")
    with file.transaction() as sql:
        for name, path in sorted(given.paths.items()):
            about = facts[name]
            sql.execute(
                "INSERT INTO pictures (name, path, sha256, stamp, width, height, clear, token, coarse_token) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET path = excluded.path, stamp = excluded.stamp, clear = excluded.clear",
                (name, str(path), about.sha256, about.stamp, about.width, about.height, about.clear, *new_tokens(2)),
            )
        known = {picture.name: picture.picture for picture in pictures(file).values()}
        rows = [(known[t.reference], known[t.a], known[t.b], t.group) for t in given.triplets]
        sql.executemany("INSERT OR IGNORE INTO triplets (reference, a, b, family) VALUES (?, ?, ?, ?)", rows)


def tidy(name: str) -> str:
    """A rater's name as it is kept: composed characters, single spaces, no joiners, which phones put into names."""
    return " ".join(unicodedata.normalize("NFC", name).translate(_JOINERS).split())


def folded(name: str) -> str:
    """A rater's name as it is compared."""
    return tidy(name).casefold()


def new_tokens(count: int) -> list[str]:
    """Names that cannot be guessed."""
    return [secrets.token_hex(16) for _ in range(count)]


def now() -> str:
    """The time as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _choice(stored: int | None) -> bool | None:
    return None if stored is None else bool(stored)


def _some(what: str, cases: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(cases) - most} more" if len(cases) > most else ""
    return f"{what} ({len(cases)}): {', '.join(cases[:most])}{rest}"
