"""Numbers, names and tables in text, CSV and JSON; progress."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pim.cli import progress as progress_module
from pim.cli.common import csv_line, destination, finite, guarded, json_text, one_line, progress, short, table
from pim.cli.progress import describe
from pim.errors import PimError

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(names.filter(lambda name: "\r" not in name and "\0" not in name), min_size=1))
def test_any_reader_of_csv_gets_the_cells_back(cells: list[str]) -> None:
    assert next(csv.reader(io.StringIO(csv_line(cells), newline=""))) == [guarded(cell) for cell in cells]


@given(names)
def test_no_csv_cell_is_a_formula(name: str) -> None:
    cell = guarded(name)
    assert cell in (name, f"'{name}")
    if cell[0] in "=+-@\t\r":
        float(cell)


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-x.png", "@sum", "-", "=", "+-1"])
def test_formulas_are_quoted(name: str) -> None:
    assert guarded(name) == f"'{name}"


@given(st.text())
def test_a_name_in_text_keeps_to_its_line_and_column(name: str) -> None:
    shown = one_line(name)
    assert len((shown + "x").splitlines()) == 1
    assert "\t" not in shown


def test_printable_names_are_left_alone() -> None:
    assert one_line("Straße 'x' \"y\" 写真.png") == "Straße 'x' \"y\" 写真.png"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_in_full_in_csv_and_json(value: float) -> None:
    assert float(csv_line([value])) == value
    assert json.loads(json_text({"value": value}))["value"] == value


def test_numbers_have_six_digits_in_text() -> None:
    assert [short(v) for v in (1 / 3, 12345678.9, 1e-9 / 3, math.inf)] == [
        "0.333333",
        "1.23457e+07",
        "3.33333e-10",
        "inf",
    ]


def test_json_knows_neither_nan_nor_infinity_at_any_depth() -> None:
    document = {"a": math.nan, "b": [math.inf, {"c": (-math.inf, 1.5)}], "d": "inf"}
    assert finite(document) == {"a": None, "b": [None, {"c": [None, 1.5]}], "d": "inf"}


def test_a_table_aligns_its_columns_and_says_yes_no_and_dash() -> None:
    rows = [{"name": "x", "ok": True, "cost": 1.25}, {"name": "longer", "ok": False, "cost": None}]
    assert table(rows, "text") == "name    ok   cost\nx       yes  1.25\nlonger  no   -\n"
    assert table(rows, "csv") == "name,ok,cost\nx,true,1.25\nlonger,false,\n"


def test_an_output_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), destination(path) as stream:
        stream.write("half" + "\ud800")
    assert path.read_text() == "old"
    with destination(path) as stream:
        stream.write("new\n\udcff")
    assert path.read_bytes() == b"new\n\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PimError, match="nowhere"), destination(tmp_path / "nowhere" / "out.csv"):
        pass


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((50, 200, "pairs", 2.5), "50 of 200 pairs, 2.5 per second, 1:00 left"),
        ((3, None, "files", 1 / 3), "3 files, 0.333 per second"),
        ((5_000_000, 20_000_000, "bytes", 2_000.0), "5.0 of 20.0 MB, 0.002 per second, 2:05:00 left"),
        ((0, 10, "pairs", 0.0), "0 of 10 pairs, 0 per second"),
    ],
)
def test_progress_tells_count_rate_and_time_left(arguments: Any, text: str) -> None:
    assert describe(*arguments) == text


def test_progress_off_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 40.0, 50.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with progress("score", 100, done=20) as advance:
        for _ in range(3):
            advance(10, note="loss 0.5")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "pim: score: 40 of 100 pairs, 0.5 per second, 2:00 left; loss 0.5\n"


@pytest.mark.parametrize(("total", "quiet"), [(100, True), (1, False)])
def test_progress_is_silent_when_quiet_and_for_a_single_item(
    total: int, quiet: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "EVERY", 0.0)
    with progress("score", total, quiet=quiet) as advance:
        advance()
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar_that_leaves_stdout_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("score", 4) as advance:
        advance(2)
        sys.stdout.write("data\tkept\n")
        advance(2)
    captured = capsys.readouterr()
    assert captured.out == "data\tkept\n"
    assert "4 of 4 pairs" in captured.err
