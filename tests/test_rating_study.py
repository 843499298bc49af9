"""Who is asked what, and what becomes of answers: order, repeats, catch trials, undo, kills, choice."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_toys import pictures

from pim.core.database import Database
from pim.errors import DataError, InputError, PimError, UsageError
from pim.rating import store
from pim.rating.choosing import LeastJudged, MostInformative, Tally
from pim.rating.export import choices, votes
from pim.rating.plan import APART, Settings, apart_in, order_of
from pim.rating.prepare import Ready, prepare
from pim.rating.report import report
from pim.rating.study import Answer, Stale, Standing, Study, UnknownRater
from pim.rating.triplets import TripletSet, from_folders

SCREEN = {"whole": 1.0}
_numbers = itertools.count()


def quiet(total: int) -> Any:
    return nullcontext(lambda count: None)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> TripletSet:
    """12 triplets of 2 references and 4 candidates each."""
    first, *others = pictures(tmp_path_factory.mktemp("pictures"), 2, levels=4)
    return from_folders(first, others)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Database]:
    with store.serving(tmp_path / "r.sqlite") as opened:
        yield opened


def begin(file: Database, asked: TripletSet, **named: Any) -> Ready:
    return prepare(file, asked, named, quiet)


def say(study: Study, at: Standing, right: bool | None, **more: Any) -> Standing:
    assert at.trial is not None
    answer = Answer(at.trial.token, f"{next(_numbers):032x}", right, 1000, 0, SCREEN)
    return study.answer(at.rater, Answer(**{**{k: getattr(answer, k) for k in answer.__slots__}, **more}))


def finish(study: Study, name: str, side: Callable[[Standing], bool | None] = lambda at: True) -> Standing:
    at = study.enter(name)
    while at.trial is not None:
        at = say(study, at, side(at))
    return at


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 80),
    st.sampled_from([0, 0.05, 0.3]),
    st.sampled_from([0, 0.1, 0.5]),
    st.booleans(),
    st.integers(0, 9),
)
def test_every_order_has_what_was_asked_for_and_repeats_come_late(
    main: int, catch: float, repeats: float, can_catch: bool, rater: int
) -> None:
    order = order_of(main, Settings(catch=catch, repeats=repeats), can_catch, rater)
    count = Counter(order)
    assert order[0] == "m"
    assert (count["m"], count["r"]) == (main, np.ceil(repeats * main))
    assert count["c"] == (np.ceil(catch * main) if can_catch else 0)
    for place, kind in enumerate(order):
        if kind == "r":
            before = Counter(order[:place])
            assert before["m"] - apart_in(main) > before["r"], order
    assert order == order_of(main, Settings(catch=catch, repeats=repeats), can_catch, rater)


def test_a_rater_judges_every_triplet_once_with_repeats_and_catch_trials(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, repeats=0.25, catch=0.2).study
    at = finish(study, "Ann")
    assert (at.done, at.total, at.trial) == (18, 18, None)
    rows = file.rows("SELECT kind, triplet_id, picture_id, flipped, place FROM trials ORDER BY place")
    main = {triplet: (place, flipped) for kind, triplet, _, flipped, place in rows if kind == "main"}
    assert sorted(main) == [triplet for (triplet,) in file.rows("SELECT triplet_id FROM triplets")]
    again = [(triplet, place, flipped) for kind, triplet, _, flipped, place in rows if kind == "repeat"]
    assert len({triplet for triplet, _, _ in again}) == len(again) == 3
    assert all(main[triplet][1] != flipped for triplet, _, flipped in again), "sides are exchanged"
    mains = sorted(place for place, _ in main.values())
    for triplet, place, _ in again:
        assert sum(main[triplet][0] < other < place for other in mains) >= min(APART, 6)
    assert sum(kind == "catch" for kind, *_ in rows) == 3


def test_sides_are_chosen_at_random_and_recorded(file: Database, asked: TripletSet, tmp_path: Path) -> None:
    study = begin(file, asked, repeats=0, catch=0).study
    tokens = {picture.token: picture.name for picture in store.pictures(file).values()}
    shown = {}

    def prefer_blur(at: Standing) -> bool:
        assert at.trial is not None
        names = [tokens[at.trial.left], tokens[at.trial.right]]
        shown[at.trial.token] = tuple(names)
        return names[1].startswith("blur")

    for name in ("Ann", "Ben", "Cleo"):
        finish(study, name, prefer_blur)
    content = store.content(tmp_path / "r.sqlite")
    flips = file.rows("SELECT token, triplet_id, flipped FROM trials")
    triplets = store.stored_triplets(file)
    for token, number, flipped in flips:
        candidates = (triplets[number].a, triplets[number].b)
        assert shown[token] == (candidates[::-1] if flipped else candidates)
    assert 8 < sum(flipped for *_, flipped in flips) < 28
    for answer in content.answers:
        triplet = content.triplets[answer.triplet if answer.triplet is not None else -1]
        if triplet.a[:4] != triplet.b[:4]:
            assert (triplet.b if answer.second else triplet.a).startswith("blur")


def test_a_catch_trial_shows_the_reference_itself_and_its_coarse_copy(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, catch=0.5, repeats=0).study
    pictures_ = {p.token: p for p in store.pictures(file).values()}
    seen = []

    def look(at: Standing) -> bool:
        assert at.trial is not None
        if at.trial.reference in (at.trial.left, at.trial.right):
            other = at.trial.left if at.trial.reference == at.trial.right else at.trial.right
            seen.append(other == pictures_[at.trial.reference].coarse_token)
        return at.trial.right == at.trial.reference

    finish(study, "Ann", look)
    assert seen == [True] * 6
    found = [answer.second for answer in store.content(file.path).answers if answer.kind == "catch"]
    assert found == [False] * 6


def test_no_difference_is_kept_where_it_is_offered_and_is_half_a_vote(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, no_difference=True, repeats=0, catch=0.1).study
    finish(study, "Ann", lambda at: None)
    finish(study, "Ben", lambda at: True)
    content = store.content(file.path)
    ties = [answer for answer in content.answers if answer.rater == "Ann"]
    assert {(answer.second, answer.right) for answer in ties} == {(None, None)}
    assert votes(content, ties).tolist() == [[0, 0, 1]] * 12
    assert sorted({choice.prefer_b for choice in choices(content, content.answers)}) == [0.25, 0.75]
    found = report(content)
    assert (found.answers, found.ties) == (24, 12)
    assert [(rater.ties, rater.catch.hits, rater.left.n) for rater in found.raters[:1]] == [(14, 0, 0)]
    assert any(note.startswith("12 answers saw no difference") for note in found.notes)
    tally = study._count()
    assert (tally.first + tally.second == 2).all()
    assert set(tally.first) == {0.5, 1.5}


def test_no_difference_is_refused_where_it_is_not_offered(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    with pytest.raises(InputError, match="asks for one of the two"):
        say(study, study.enter("Ann"), None)
    with pytest.raises(UsageError, match="no_difference is False, not True"):
        begin(file, asked, no_difference=True)
    with pytest.raises(UsageError, match="question may have 120 characters; got 121"):
        Settings(question="?" * 121)
    with pytest.raises(UsageError, match="instructions holds nothing but spaces"):
        Settings(instructions=" \n")


def test_undo_asks_the_last_question_again_once(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    first = study.enter("Ann")
    assert first.trial is not None
    assert first.undo is None
    second = say(study, first, True)
    third = say(study, second, False)
    assert third.trial is not None
    assert second.trial is not None
    assert third.undo == second.trial.token
    back = study.undo(third.rater, third.undo)
    assert (back.done, back.trial, back.undo) == (1, second.trial, None)
    assert study.undo(third.rater, third.undo) == back, "asking twice undoes once"
    with pytest.raises(Stale, match="only the last answer"):
        study.undo(third.rater, first.trial.token)
    again = say(study, back, True)
    assert (again.done, again.trial, again.undo) == (2, third.trial, second.trial.token)
    content = store.content(file.path)
    assert [answer.right for answer in content.answers] == [True, True]
    assert content.withdrawn == {"Ann": 1}


def test_the_very_last_answer_can_be_taken_back_but_no_more(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, judgements=3, catch=0, repeats=0).study
    end = finish(study, "Ann")
    assert end.undo is not None
    back = study.undo(end.rater, end.undo)
    assert (back.done, back.undo) == (2, None)
    assert say(study, back, False).trial is None


def test_stale_and_foreign_answers_change_nothing(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    first = study.enter("Ann")
    sent: dict[str, Any] = {"token": "a" * 32}
    second = say(study, first, True, **sent)
    assert say(study, first, True, **sent) == second
    with pytest.raises(Stale, match="given before, to something else"):
        say(study, first, False, **sent)
    with pytest.raises(Stale, match="answered already"):
        say(study, first, False)
    other = study.enter("Ben")
    with pytest.raises(Stale):
        say(study, Standing(**{**{k: getattr(second, k) for k in second.__slots__}, "rater": other.rater}), True)
    with pytest.raises(UnknownRater, match="enter your name again"):
        study.standing("nobody")
    assert store.count(file) == 1
    assert study.standing(first.rater) == second


def test_a_name_goes_on_whatever_its_case_and_spaces(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    at = say(study, study.enter("Ann  Lee"), True)
    assert study.enter(" ANN lee ") == at
    assert study.enter("Ann Lee\u0301").rater != at.rater
    for wrong in ("", " \n ", "x" * 41, "a\u0007b", "\u202ename"):
        with pytest.raises(InputError, match="printable"):
            study.enter(wrong)


def test_the_file_itself_refuses_a_second_answer(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    say(study, study.enter("Ann"), True)
    insert = (
        "INSERT INTO answers (token, trial_id, right, milliseconds, looks, screen, received) VALUES (?,1,0,1,0,'','')"
    )
    with pytest.raises(PimError, match="UNIQUE"), file.transaction() as sql:
        sql.execute(insert, ("x",))
    twice = "INSERT INTO trials (token, rater_id, place, kind, triplet_id, flipped, issued) "
    with pytest.raises(PimError, match="UNIQUE"), file.transaction() as sql:
        sql.execute(f"{twice} SELECT 'y', rater_id, 99, kind, triplet_id, 0, '' FROM trials WHERE place = 0")
    assert store.count(file) == 1


def test_two_raters_in_turn_get_each_triplet_equally_often(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, judgements=6, catch=0, repeats=0).study
    ann, ben = study.enter("Ann"), study.enter("Ben")
    while ann.trial is not None:
        ann, ben = say(study, ann, True), say(study, ben, True)
    judged = Counter(triplet for (triplet,) in file.rows("SELECT triplet_id FROM trials"))
    assert len(judged) == 12
    assert set(judged.values()) == {1}


def test_a_restart_goes_on_with_the_same_question(tmp_path: Path, asked: TripletSet) -> None:
    with store.serving(tmp_path / "r.sqlite") as file:
        at = say(begin(file, asked, seed=3).study, begin(file, asked).study.enter("Ann"), True)
    with store.serving(tmp_path / "r.sqlite") as file:
        study = begin(file, asked).study
        assert study.enter("ann") == at
        with pytest.raises(UsageError, match="seed is 3, not 4; choose another --db"):
            begin(file, asked, seed=4)


def test_no_acknowledged_answer_is_lost_when_the_server_is_killed(tmp_path: Path, asked: TripletSet) -> None:
    path = tmp_path / "r.sqlite"
    with store.serving(path) as file:
        begin(file, asked, judgements=12)
    code = textwrap.dedent(f"""
        from pathlib import Path
        from pim.rating import store
        from pim.rating.plan import Settings
        from pim.rating.study import Answer, Study
        with store.serving(Path({str(path)!r})) as file:
            study = Study(file, Settings(**store.noted(file, "settings")))
            for rater in range(1000):
                at = study.enter(f"rater {{rater}}")
                while at.trial is not None:
                    answer = Answer(at.trial.token, at.trial.token, True, 1, 0, {{}})
                    at = study.answer(at.rater, answer)
                    print(answer.trial, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(40)]
    process.kill()
    said += process.communicate()[0].split()
    with sqlite3.connect(path) as database:
        kept = [token for (token,) in database.execute("SELECT t.token FROM answers JOIN trials t USING (trial_id)")]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(set(kept)) == len(kept)
    assert set(said) <= set(kept)
    assert len(kept) <= len(said) + 1


def test_a_report_can_be_made_while_an_answer_is_being_written(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked).study
    say(study, study.enter("Ann"), True)
    with file.transaction() as sql:
        sql.execute("DELETE FROM answers")
        assert len(store.content(file.path).answers) == 1
    assert store.content(file.path).answers == ()


def test_active_choice_asks_everyone_for_other_triplets(file: Database, asked: TripletSet) -> None:
    study = begin(file, asked, choose="active", judgements=8, catch=0, repeats=0).study
    for name in ("Ann", "Ben", "Cleo"):
        assert finish(study, name).done == 8
    judged = Counter(file.rows("SELECT rater_id, triplet_id FROM trials"))
    assert len(judged) == 24
    with pytest.raises(UsageError, match="choose is active, not all"):
        begin(file, asked, choose="all")


def test_a_study_may_grow_but_not_change(tmp_path: Path) -> None:
    folders = pictures(tmp_path, 2, levels=4)
    with store.serving(tmp_path / "r.sqlite") as file:
        study = begin(file, from_folders(folders[0], folders[1:3])).study
        before = say(study, study.enter("Ann"), True)
        grown = begin(file, from_folders(folders[0], folders[1:])).study
        assert grown.standing(before.rater) == before
        assert grown.enter("Ben").total > before.total
        with pytest.raises(
            DataError, match=r"questions are gone \(10\): originals/scene0.png: .*; choose another --db"
        ):
            begin(file, from_folders(folders[0], folders[1:3]))
        (folders[1] / "scene1.png").write_bytes((folders[2] / "scene1.png").read_bytes())
        with pytest.raises(DataError, match=r"pictures have changed \(1\): blur0/scene1.png"):
            begin(file, from_folders(folders[0], folders[1:]))


def test_the_least_judged_come_first() -> None:
    tally = Tally.empty(4)
    tally.first[:] = [2, 0, 1, 0]
    tally.second[1] = tally.pending[3] = 1
    tally.first[2] = 0
    rng = np.random.default_rng(0)
    everything = np.ones(4, dtype=bool)
    assert {LeastJudged().pick(everything, tally, rng) for _ in range(20)} == {2}
    some = np.array([True, True, False, True])
    assert {LeastJudged().pick(some, tally, rng) for _ in range(40)} == {1, 3}


def test_the_most_informative_is_what_is_least_settled_and_what_nobody_looks_at() -> None:
    triplets = [("r", a, b) for a, b in itertools.combinations("wxyz", 2)]
    chooser, rng, tally = MostInformative(triplets), np.random.default_rng(0), Tally.empty(6)
    everything = np.ones(6, dtype=bool)
    assert {chooser.pick(everything, tally, rng) for _ in range(80)} == set(range(6))
    tally.first[:] = [12, 12, 12, 12, 12, 6]  # w before x before y and z, which are equal
    tally.second[5] = 6
    for settled in range(5):
        tally.second[settled] = 0
    tally.first[3:5] = 1
    assert chooser.pick(everything, tally, rng) in (3, 4)
    tally.pending[3:5] = 1
    assert chooser.pick(everything, tally, rng) not in (3, 4)
    only = np.array([False] * 3 + [True, False, False])
    assert chooser.pick(only, tally, rng) == 3


def test_active_choice_needs_fewer_answers_than_random_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from active_choice import World, shares, simulate

    curves, best = simulate([World(references=2, candidates=12, spread=3, answers=10)], 20, ("random", "active"))
    random, active = curves[3]["random"], curves[3]["active"]
    assert shares(active, random, 10).middle <= 0.6
    assert shares(random, random, 10).middle == pytest.approx(1)
    assert 0.5 < random.mean(axis=0)[0] < active.mean(axis=0).max() < best[3]
