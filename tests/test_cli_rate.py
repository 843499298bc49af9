"""`pim rate plan`, `export` and `report` on the command line; `serve` has tests with its server and its page."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rating_toys import pictures

from pim.datasets import table
from pim.rating import store
from pim.rating.prepare import prepare
from pim.rating.study import Answer, Study
from pim.rating.triplets import from_folders

Cli = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study of 12 triplets: Ann and Ben prefer the name that comes first, =Zoe the right one."""
    first, *others = pictures(tmp_path / "pictures", 2, levels=4)
    path = tmp_path / "ratings.sqlite"
    with store.serving(path) as opened:
        study = prepare(opened, from_folders(first, others), {}, lambda total: nullcontext(lambda count: None)).study
        names = {picture.token: picture.name for picture in store.pictures(opened).values()}
        names |= {picture.coarse_token: "zzz" for picture in store.pictures(opened).values()}
        for rater in ("Ann", "Ben", "=Zoe"):
            _rate(study, rater, names)
    return path


def _rate(study: Study, rater: str, names: dict[str, str]) -> None:
    at = study.enter(rater)
    while at.trial is not None:
        right = rater == "=Zoe" or names[at.trial.right] < names[at.trial.left]
        at = study.answer(at.rater, Answer(at.trial.token, at.trial.token, right, 900, 1, {"whole": 1, "zoom": 1}))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_plan_from_folders_can_be_read_again(cli: Cli, tmp_path: Path) -> None:
    folders = pictures(tmp_path, 2, levels=4)
    assert cli("rate", "plan", *folders, "-o", tmp_path / "t.csv").code == 0
    again = cli("rate", "plan", tmp_path / "t.csv", "-o", tmp_path / "u.csv")
    assert (again.code, again.err) == (0, "")
    first, second = ((tmp_path / name).read_text() for name in ("t.csv", "u.csv"))
    assert first == second
    assert len(rows(first)) == 12
    assert rows(first)[0] == {
        "reference": "originals/scene0.png",
        "a": "blur0/scene0.png",
        "b": "blur1/scene0.png",
        "group": "originals/scene0.png",
    }


def test_a_plan_does_not_replace_its_own_source(cli: Cli, tmp_path: Path) -> None:
    folders = pictures(tmp_path, 1, levels=2)
    cli("rate", "plan", *folders, "-o", tmp_path / "t.csv")
    ran = cli("rate", "plan", tmp_path / "t.csv", "-o", tmp_path / "t.csv")
    assert (ran.code, "would overwrite an input" in ran.err) == (2, True)


def test_the_export_holds_one_vote_per_rater_and_says_where_it_comes_from(cli: Cli, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "ratings.csv"
    target.parent.mkdir()
    ran = cli("rate", "export", file, "-o", target)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "pim: 36 answers to 12 of 12 triplets\n"
    found = rows(target.read_text())
    assert list(found[0]) == ["reference", "a", "b", "prefer_b", "n", "group"]
    assert {row["n"] for row in found} == {"3"}
    assert {row["prefer_b"] for row in found} == {"0.0", repr(1 / 3)}, "two of three prefer a"
    rated = table.read(target)
    rated.require_whole()
    assert len(rated) == 12
    about = json.loads(target.with_suffix(".json").read_text())["ratings"]
    assert (about["answers"], about["raters"], about["excluded"]) == (36, 3, [])


def test_leaving_out_is_explicit_and_recorded(cli: Cli, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "ratings.csv"
    ran = cli("rate", "export", file, "-o", target, "--exclude", "=zoe")
    assert ran.err == "pim: 24 answers to 12 of 12 triplets; left out: =Zoe\n"
    assert {(row["prefer_b"], row["n"]) for row in rows(target.read_text())} == {("0.0", "2")}
    assert json.loads(target.with_suffix(".json").read_text())["ratings"]["excluded"] == ["=Zoe"]
    ran = cli("rate", "export", file, "--exclude", "Zoe")
    assert (ran.code, ran.out) == (2, "")
    assert "no rater 'Zoe'" in ran.err


def test_the_export_refuses_to_replace_the_study(cli: Cli, file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    for target in (file, tmp_path / "x.json"):
        assert cli("rate", "export", file, "-o", target).code == 2
    assert file.read_bytes() == before


def test_the_report_says_it_in_text_json_and_csv(cli: Cli, file: Path) -> None:
    text = cli("rate", "report", file).out
    assert "36 answers to 12 of 12 triplets, 12 of them judged by two raters or more" in text
    assert "Krippendorff's alpha" in text
    assert "=Zoe: " in text.partition("look at these raters")[2]
    assert "originals/scene0.png, Bradley-Terry scores" in text
    assert "blur0/scene0.png" in text
    found = json.loads(cli("rate", "report", file, "--format", "json", "--exclude", "=Zoe").out)
    assert (found["alpha"], found["answers"], found["excluded"]) == (None, 24, ["=Zoe"])
    assert found["raters"][0]["catch"]["value"] == 1
    assert found["raters"][2]["excluded"] is True
    raters = rows(cli("rate", "report", file, "--format", "csv").out)
    assert [row["name"] for row in raters] == ["Ann", "Ben", "'=Zoe"]
    assert (raters[2]["left"], raters[2]["left_n"]) == ("0", "15")
    scores = rows(cli("rate", "report", file, "--format", "csv", "--table", "scores").out)
    assert len(scores) == 8
    assert float(scores[0]["low"]) < float(scores[0]["score"]) < float(scores[0]["high"])


def test_a_file_that_is_no_study_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database at all, but long enough to look like one " * 40)
    for command in ("export", "report"):
        ran = cli("rate", command, tmp_path / "none.sqlite")
        assert (ran.code, ran.err) == (1, f"pim: {tmp_path / 'none.sqlite'} is not there; pim rate serve makes it\n")
        ran = cli("rate", command, tmp_path / "x.sqlite")
        assert ran.code == 1
        assert "x.sqlite is damaged (file is not a database)" in ran.err


def test_without_answers_there_is_a_report_but_no_export(cli: Cli, tmp_path: Path) -> None:
    first, *others = pictures(tmp_path / "pictures", 1, levels=2)
    with store.serving(tmp_path / "r.sqlite") as opened:
        prepare(opened, from_folders(first, others), {}, lambda total: nullcontext(lambda count: None))
    assert cli("rate", "report", tmp_path / "r.sqlite").out.startswith("0 answers to 0 of 1 triplets")
    assert cli("rate", "report", tmp_path / "r.sqlite", "--format", "csv").code == 0
    ran = cli("rate", "export", tmp_path / "r.sqlite")
    assert (ran.code, "holds no answers to export yet" in ran.err) == (1, True)


def test_serve_without_its_packages_names_the_extra(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    ran = cli("rate", "serve", *pictures(tmp_path, 1, levels=2), "--db", tmp_path / "r.sqlite")
    assert (ran.code, ran.err) == (1, "pim: pim rate serve needs starlette: pip install 'pim-metric[rate]'\n")


def test_pictures_that_cannot_be_asked_about_stop_serve_before_it_listens(cli: Cli, tmp_path: Path) -> None:
    folders = pictures(tmp_path, 1, levels=2)
    (folders[1] / "scene0.png").write_text("no picture")
    ran = cli("rate", "serve", *folders, "--db", tmp_path / "r.sqlite")
    assert (ran.code, ran.out) == (1, "")
    assert "pictures cannot be shown (1)" in ran.err
    assert "blur0/scene0.png" in ran.err


@pytest.mark.parametrize("command", ["plan", "serve", "export", "report"])
def test_every_command_shows_an_example(cli: Cli, command: str) -> None:
    assert f"\n    pim rate {command} " in cli("rate", command, "--help").out
