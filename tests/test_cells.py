"""The one reader of tables: encodings, separators, odd headings, ragged rows; and what a number means."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import miniatures
import numpy as np
import pandas as pd
import pytest

from pim.cli.common import csv_line
from pim.datasets import table
from pim.datasets.cells import read_rows
from pim.datasets.numerals import numbers
from pim.errors import InputError
from pim.scoring.folders import from_folders
from pim.scoring.pairs import from_table

PLAIN = "Codec,Bit rate\nzoé,1.5\nb,2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_usual_encoding_gives_the_same_cells(tmp_path: Path, encoding: str, packed: bool) -> None:
    path = tmp_path / "t.csv"
    content = PLAIN.encode(encoding)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_rows(path)
    assert found.columns == ("codec", "bit_rate")
    assert found.headings == ("Codec", "Bit rate")
    assert found.column("codec") == ["zoé", "b"]
    assert [note for note in found.notes if "Windows-1252" in note] == list(found.notes)
    assert bool(found.notes) == (encoding == "cp1252")


@pytest.mark.parametrize("mark", ["\t", ";", ",", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_may_stand_in_quoted_cells(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "t.csv"
    rows = [["a", "b"], ["1", f'"x{mark}{end}y"'], [], ["\u2028z\u0085", "\x0c"]]
    path.write_bytes(end.join(mark.join(row) for row in rows).encode())
    found = read_rows(path)
    assert [row.cells for row in found.rows] == [("1", f"x{mark}{end}y"), ("\u2028z\u0085", "\x0c")]
    assert [row.line for row in found.rows] == [2, 5]


def test_a_spreadsheet_may_state_its_separator_and_leave_the_ends_of_rows_out(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sep=;\na;b;c;;\n1,5;2\n;;;;\n3;4;5;;\n")
    found = read_rows(path)
    assert (found.separator, found.columns) == (";", ("a", "b", "c"))
    assert [(row.line, row.cells) for row in found.rows] == [(3, ("1,5", "2", "")), (5, ("3", "4", "5"))]


def test_the_index_of_a_data_frame_is_no_column_and_other_nameless_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["1", "2"]})
    frame.to_csv(path)
    assert (read_rows(path).columns, read_rows(path).notes) == (("a", "b"), ())
    pd.read_csv(path).to_csv(path)  # twice: "Unnamed: 0" now
    assert (read_rows(path).columns, read_rows(path).notes) == (("a", "b"), ())
    frame.to_csv(path, sep="\t")
    assert read_rows(path).column("a") == ["x", "y"]
    path.write_text("a,\n1,seen\n")
    (note,) = read_rows(path).notes
    assert "column without a heading" in note


def test_formulas_that_were_quoted_are_read_as_they_were(tmp_path: Path) -> None:
    cells = ("=1+1", "-x", "@a", "'quoted'", "it's", "-1.5")
    (tmp_path / "t.csv").write_text(csv_line("abcdef") + csv_line(cells))
    assert read_rows(tmp_path / "t.csv").rows[0].cells == cells


def test_a_blank_before_a_quote_belongs_to_no_cell(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"a", "b, c"\n1, "x, y"\n')
    assert (read_rows(path).columns, read_rows(path).rows[0].cells) == (("a", "b,_c"), ("1", "x, y"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \r\n\t\n", "is empty"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 cells, the heading has 2"),
        (b"A,a \n1,2\n", "two columns called 'a'"),
        (b"a,b\n\x00\x01,2\n", "is not a text"),
        (b'{\n "records": []}', "is JSON and no table"),
        (b'a,b\n"1,2\n', "line 2: its quotes do not match"),
        (b'a,b\n1,2\n"27" screen",2\n', "line 3: its quotes do not match; one inside a cell is written twice"),
        (b"\xff\xfea\x00b", "no text in utf-16"),
        (gzip.compress(b"a,b\n" * 99, mtime=0)[:-12], "is damaged"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_rows(path)


@pytest.mark.parametrize(
    ("cells", "separator", "values"),
    [
        (["1,260", "960"], ",", [None, 960.0]),
        (["1,260", "960"], ";", [None, 960.0]),
        (["1.260", "960"], ";", [None, 960.0]),
        (["1.260", "960"], ",", [1.26, 960.0]),
        (["2,125", "0,5"], ";", [2.125, 0.5]),
        (["2,125", "3,250"], ";", [2.125, 3.25]),
        (["1,260.5", "2,000"], ",", [1260.5, 2000.0]),
        (["1.260,5", "2.000"], ";", [1260.5, 2000.0]),
        (["1,234,567"], ",", [1234567.0]),
        (["1 260", "12\u202f345,5", "1'000"], ";", [1260.0, 12345.5, 1000.0]),
        (["\u22121.5", "1e-3", "1_000", "", "two"], ",", [-1.5, 0.001, None, None, None]),
    ],
)
def test_a_decimal_mark_is_one_of_the_column_or_nothing_is_read(
    cells: list[str], separator: str, values: list[float | None]
) -> None:
    assert list(numbers(cells, separator).values) == values


def test_an_unclear_number_is_named_by_its_line_in_a_rated_table(tmp_path: Path) -> None:
    miniatures.textured(tmp_path / "r.png")
    miniatures.textured(tmp_path / "d.png", seed=1)
    path = tmp_path / "t.csv"
    path.write_text(
        'reference,distorted,score,n,score_std,level\nr.png,d.png,"1,100",0,-1,1.5\nr.png,r.png,7,x,nan,2\n'
    )
    told = "\n".join(f.sentence() for f in table.read(path, None, True).findings)
    assert "score can be read in two ways" in told
    assert "line 2 (1,100)" in told
    assert "values of n are no numbers of people (2): line 2 (0), line 3 (x)" in told
    assert "values of score_std are no deviations (2): line 2 (-1), line 3 (nan)" in told
    assert "values of level are no whole numbers (1): line 2 (1.5)" in told


def test_one_file_is_one_reference_whatever_it_is_called(tmp_path: Path) -> None:
    for seed, name in enumerate(("Été/r.png", "Été/d.png", "Été/e.png")):
        miniatures.textured(tmp_path / name, seed=seed)
    os.symlink("r.png", tmp_path / "Été" / "link.png")
    path = tmp_path / "t.csv"
    decomposed = "E\u0301te\u0301"
    path.write_text(
        f"reference,distorted,score\nÉté/r.png,Été/d.png,1\n{decomposed}\\R.PNG,./Été/e.png,2\nÉté/link.png,Été/d.png,3\n"
    )
    found = table.read(path, None, True)
    assert {record.group for record in found.records()} == {"Été/r.png"}
    assert "more than once" in "".join(f.text for f in found.problems)  # the third row is the first
    assert any("count as one" in note for note in found.notes)


def test_pairs_are_found_in_another_case_and_normal_form_and_keep_their_headings(tmp_path: Path) -> None:
    miniatures.textured(tmp_path / "a" / "caf\u00e9.png")
    miniatures.textured(tmp_path / "b" / "cafe\u0301.png", seed=1)
    path = tmp_path / "p.csv"
    path.write_text("Reference; Distorted; My Note\na/CAFE\u0301.png;b\\caf\u00e9.png;1,5\n")
    (pair,) = from_table(path).items
    assert Path(pair.reference_path).is_file()
    assert Path(pair.distorted_path).is_file()
    assert pair.extra == {"My Note": "1,5"}
    assert len(from_folders(str(tmp_path / "a"), [str(tmp_path / "b")]).items) == 1


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with some bytes changed, lost or doubled."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(len(changed)))
        kind = rng.integers(4)
        if kind == 0:
            changed[at] = int(rng.integers(256))
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 9))]
        elif kind == 2:
            changed[at:at] = bytes(changed[at : at + int(rng.integers(1, 30))])
        else:
            changed[at:at] = rng.choice([b'"', b";", b"\x00", b"\r", b"\xff\xfe", b"\xe2\x80\xa8", b",,,"])
        changed = changed or bytearray(b"x")
    return bytes(changed)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_damaged_tables_are_read_whole_or_refused_in_a_sentence(tmp_path: Path, encoding: str) -> None:
    content = "reference;distorted;score\né.png;b.png;1,5\n'c d.png';e.png;\"2\"\n".encode(encoding)
    rng, path = np.random.default_rng(5), tmp_path / "t.csv"
    refused: list[str] = []
    for _ in range(700):
        path.write_bytes(mutated(content, rng))
        try:
            found = read_rows(path)
        except InputError as error:
            refused.append(str(error))
            continue
        assert all(len(row.cells) == len(found.columns) for row in found.rows)
    assert 0 < len(refused) < 700
    assert all("\n" not in text and str(path) in text for text in refused)
