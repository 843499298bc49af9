"""A study that goes on: who is asked what next, and what becomes of an answer.

Every call is one transaction. An answer is known by a name that the page gave it, so that it can be sent
again until it is acknowledged and still counts once; a trial takes one answer, and only the trial that a
rater is at. What a page shows that is no longer true leads to `Stale`, and nothing changes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pim.core.database import Database
from pim.errors import InputError, PimError
from pim.rating import store
from pim.rating.choosing import Tally, chooser
from pim.rating.plan import Kind, Settings, apart_in, kinds_of, order_of

LONGEST_NAME = 40  # characters of a rater's name


class Stale(PimError):
    """A page that is behind: what it sent changes nothing."""


class UnknownRater(PimError):
    """A page whose rater is not in this study."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rater sees: tokens of three pictures, and their size."""

    token: str
    reference: str
    left: str
    right: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a rater is."""

    rater: str  # token
    name: str
    done: int  # trials with an answer
    total: int
    trial: Trial | None  # what is asked now; None: all is done
    undo: str | None  # token of the trial whose answer can be taken back
    rest: bool  # a break is due


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page sends."""

    trial: str  # token
    token: str  # made by the page, once per choice
    right: bool | None  # None: no difference
    milliseconds: int  # from all three pictures shown to the choice
    looks: int  # how often the reference was held over the candidates
    screen: Mapping[str, float]  # how the pictures were shown


@dataclass(frozen=True, slots=True)
class _Asked:
    """A trial as stored."""

    trial: int
    token: str
    triplet: int | None
    picture: int | None  # of a catch trial
    flipped: int  # the second candidate is on the left
    answered: int  # answers that stand: 0 or 1
    withdrawn: int  # answers that were taken back


class Study:
    """Asks and listens; safe to call from several threads."""

    def __init__(self, file: Database, settings: Settings) -> None:
        self._file, self.settings = file, settings
        self._turn = threading.RLock()
        self._triplets = store.stored_triplets(file)
        self._places = {triplet: place for place, triplet in enumerate(self._triplets)}
        self._numbers = list(self._triplets)
        self._pictures = {picture.name: picture for picture in store.pictures(file).values()}
        references = sorted({triplet.reference for triplet in self._triplets.values()})
        self._catchable = [self._pictures[name] for name in references if self._pictures[name].facts.clear]
        self._chooser = chooser(settings.choose, [(t.reference, t.a, t.b) for t in self._triplets.values()])
        self._tally = Tally.empty(len(self._triplets))

    @property
    def can_catch(self) -> bool:
        """Whether there is a reference that catch trials can be made of."""
        return bool(self._catchable)

    def enter(self, name: str) -> Standing:
        """Begin, or go on where the rater of this name stopped; case and spaces do not matter.

        Raises:
            InputError: if it is no name.
        """
        name = store.tidy(name)
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            raise InputError(f"a name has 1 to {LONGEST_NAME} printable characters")
        with self._turn:
            if not self._file.rows("SELECT 1 FROM raters WHERE folded = ?", store.folded(name)):
                self._add_rater(name)
            return self.standing(self._file.rows("SELECT token FROM raters WHERE folded = ?", store.folded(name))[0][0])

    def standing(self, rater: str) -> Standing:
        """What a rater is asked now; the question is chosen if it is a new one, and stays until it is answered.

        Raises:
            UnknownRater: if there is no such rater.
        """
        with self._turn:
            found = self._file.rows("SELECT rater_id, name, kinds FROM raters WHERE token = ?", rater)
            if not found:
                raise UnknownRater("this study has no such rater; enter your name again")
            number, name, order = found[0][0], found[0][1], kinds_of(found[0][2])
            asked = self._asked(number)
            done = sum(trial.answered for trial in asked)
            waiting = next((trial for trial in asked if not trial.answered), None)
            if waiting is None and len(asked) < len(order):
                self._ask(number, len(asked), order)
                waiting = self._asked(number)[-1]
            again = waiting is not None and waiting.withdrawn > 0
            last = asked[done - 1].token if done and not again else None
            rest = bool(self.settings.rest and waiting and done and done % self.settings.rest == 0)
            shown = None if waiting is None else self._shown(waiting)
            return Standing(rater, name, done, len(order), shown, last, rest)

    def answer(self, rater: str, answer: Answer) -> Standing:
        """Keep an answer; the same one sent again is kept once.

        Raises:
            UnknownRater: if there is no such rater.
            InputError: if it says that there is no difference, which this study does not offer.
            Stale: if the trial is not the one that the rater is at.
        """
        if answer.right is None and not self.settings.no_difference:
            raise InputError("this study asks for one of the two: right must be true or false")
        with self._turn:
            known = self._file.rows(
                "SELECT t.token, a.right FROM answers a JOIN trials t USING (trial_id) WHERE a.token = ?", answer.token
            )
            if known:
                if known[0] != (answer.trial, answer.right):
                    raise Stale("an answer of this name was given before, to something else")
                return self.standing(rater)
            current = self.standing(rater).trial
            if current is None or current.token != answer.trial:
                raise Stale("this question was answered already; here is the next one")
            values = (answer.right, answer.milliseconds, answer.looks, json.dumps(dict(answer.screen)), store.now())
            with self._file.transaction() as sql:
                sql.execute(
                    "INSERT INTO answers (token, trial_id, right, milliseconds, looks, screen, received) "
                    "SELECT ?, trial_id, ?, ?, ?, ?, ? FROM trials WHERE token = ?",
                    (answer.token, *values, answer.trial),
                )
            return self.standing(rater)

    def undo(self, rater: str, trial: str) -> Standing:
        """Take back the last answer, so that its question is asked again; asking twice undoes once.

        Raises:
            UnknownRater: if there is no such rater.
            Stale: if the trial is not the last one answered.
        """
        with self._turn:
            standing = self.standing(rater)
            if standing.trial is not None and standing.trial.token == trial:
                return standing
            if standing.undo != trial:
                raise Stale("only the last answer can be taken back")
            with self._file.transaction() as sql:
                sql.execute(
                    "UPDATE answers SET withdrawn = ? WHERE withdrawn IS NULL AND "
                    "trial_id = (SELECT trial_id FROM trials WHERE token = ?)",
                    (store.now(), trial),
                )
            return self.standing(rater)

    def _add_rater(self, name: str) -> None:
        main = min(self.settings.judgements or len(self._triplets), len(self._triplets))
        with self._file.transaction() as sql:
            values = (*store.new_tokens(1), name, store.folded(name), store.now(), "")
            add = "INSERT INTO raters (token, name, folded, created, kinds) VALUES (?, ?, ?, ?, ?)"
            number = int(sql.execute(add, values).lastrowid or 0)
            order = order_of(main, self.settings, bool(self._catchable), number)
            sql.execute("UPDATE raters SET kinds = ? WHERE rater_id = ?", (order, number))

    def _asked(self, rater: int) -> list[_Asked]:
        """Trials of a rater in order."""
        rows = self._file.rows(
            "SELECT t.trial_id, t.token, t.triplet_id, t.picture_id, t.flipped, "
            "sum(a.withdrawn IS NULL AND a.answer_id IS NOT NULL), sum(a.withdrawn IS NOT NULL) "
            "FROM trials t LEFT JOIN answers a USING (trial_id) WHERE t.rater_id = ? GROUP BY t.trial_id "
            "ORDER BY t.place",
            rater,
        )
        return [_Asked(*row) for row in rows]

    def _ask(self, rater: int, place: int, order: Sequence[Kind]) -> None:
        """Choose the next question of a rater and note it."""
        rng = np.random.default_rng([self.settings.seed, rater, 2, place])
        triplet, picture, flipped = None, None, int(rng.integers(2))
        if order[place] == "catch":
            picture = self._catchable[int(rng.integers(len(self._catchable)))].picture
        elif order[place] == "repeat":
            triplet, flipped = self._to_repeat(rater, order.count("main"), rng)
        else:
            triplet = self._to_judge(rater, rng)
        row = (*store.new_tokens(1), rater, place, order[place], triplet, picture, flipped, store.now())
        with self._file.transaction() as sql:
            sql.execute(
                "INSERT INTO trials (token, rater_id, place, kind, triplet_id, picture_id, flipped, issued) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def _to_judge(self, rater: int, rng: np.random.Generator) -> int:
        """A triplet that the rater was not asked yet."""
        asked = self._file.rows("SELECT triplet_id FROM trials WHERE rater_id = ? AND kind = 'main'", rater)
        open_ = np.ones(len(self._numbers), dtype=bool)
        open_[[self._places[triplet] for (triplet,) in asked]] = False
        return self._numbers[self._chooser.pick(open_, self._count(), rng)]

    def _to_repeat(self, rater: int, main: int, rng: np.random.Generator) -> tuple[int, int]:
        """A triplet that the rater judged a while ago, with the sides exchanged."""
        rows = self._file.rows(
            "SELECT triplet_id, flipped FROM trials WHERE rater_id = ? AND kind = 'main' ORDER BY place", rater
        )
        repeated = self._file.rows("SELECT triplet_id FROM trials WHERE rater_id = ? AND kind = 'repeat'", rater)
        gone = {triplet for (triplet,) in repeated}
        ready = [row for row in rows[: len(rows) - apart_in(main)] if row[0] not in gone]
        triplet, flipped = ready[int(rng.integers(len(ready)))]
        return triplet, 1 - flipped

    def _count(self) -> Tally:
        """What has been said of each triplet, and who is looking at it."""
        for counts in (self._tally.first, self._tally.second, self._tally.pending):
            counts[:] = 0
        rows = self._file.rows(
            "SELECT t.triplet_id, a.answer_id IS NULL, a.right != t.flipped, count(*) FROM trials t "
            "LEFT JOIN answers a ON a.trial_id = t.trial_id AND a.withdrawn IS NULL "
            "WHERE t.kind = 'main' GROUP BY 1, 2, 3"
        )
        for triplet, pending, second, count in rows:
            place = self._places[triplet]
            if pending:
                self._tally.pending[place] += count
            else:
                share = 0.5 if second is None else second
                self._tally.first[place] += (1 - share) * count
                self._tally.second[place] += share * count
        return self._tally

    def _shown(self, asked: _Asked) -> Trial:
        if asked.triplet is None:
            reference = next(p for p in self._catchable if p.picture == asked.picture)
            candidates = (reference.token, reference.coarse_token)
        else:
            names = self._triplets[asked.triplet]
            reference = self._pictures[names.reference]
            candidates = (self._pictures[names.a].token, self._pictures[names.b].token)
        left, right = candidates[::-1] if asked.flipped else candidates
        return Trial(asked.token, reference.token, left, right, reference.facts.width, reference.facts.height)
