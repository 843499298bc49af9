"""What all readers share: finding roots, listing files, reading labels and sheets, reporting defects."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from miniatures import xlsx

import pim
from pim.datasets.dataset import Dataset, Finding, ManifestError, Record, count_findings, finding
from pim.datasets.folder import find_root, listing
from pim.datasets.numerals import number
from pim.datasets.opinions import range_findings, text_lines
from pim.datasets.sheet import read_sheet, read_xlsx
from pim.datasets.sources import SOURCES, source
from pim.errors import UsageError
from pim.eval.rated import NAMES, RatedSet

ROW = Record(key="a", group="r", pairs=((Path("r.png"), Path("a.png")),), value=1)


def dataset(*findings: Finding, rows: tuple[Record, ...] = (ROW,)) -> Dataset:
    return Dataset("tid2013", "opinion", Path("data"), rows, higher_is_better=True, findings=findings)


def test_missing_pictures_forbid_scoring_unless_they_are_allowed() -> None:
    holed = dataset(*finding("missing", "pictures are missing", {"b.png", "c.png"}))
    with pytest.raises(ManifestError, match=r"pictures are missing \(2\): b.png, c.png. --allow-missing") as caught:
        holed.require_whole()
    assert caught.value.exit_code == 2
    holed.require_whole(allow_missing=True)


def test_errors_forbid_scoring_even_if_missing_pictures_are_allowed() -> None:
    broken = dataset(Finding("error", "scores are wrong"), *finding("missing", "pictures are missing", ["b"]))
    with pytest.raises(ManifestError, match="scores are wrong") as caught:
        broken.require_whole(allow_missing=True)
    assert "missing" not in str(caught.value)


def test_warnings_and_notes_do_not_forbid_scoring_but_an_empty_set_does() -> None:
    odd = dataset(Finding("warning", "few rows"), Finding("note", "names in capitals", 2, ("A", "B")))
    odd.require_whole()
    assert odd.notes == ("few rows", "names in capitals (2): A, B")
    with pytest.raises(ManifestError, match="no records"):
        dataset(rows=()).require_whole()


def test_the_first_twenty_cases_are_named_in_order_and_the_rest_counted() -> None:
    (found,) = finding("missing", "pictures are missing", [f"p{i:02}" for i in reversed(range(33))])
    assert found.count == 33
    assert found.sentence().startswith("pictures are missing (33): p00, p01, ")
    assert found.sentence().endswith("p19 and 13 more")
    assert found.sentence(2) == "pictures are missing (33): p00, p01 and 31 more"
    assert finding("error", "nothing", []) == ()


def test_subsets_of_other_size_than_published_are_partial() -> None:
    expected = {"": 10, "noise": 4, "blur": 6, "mix": None}
    found = {"": 9, "noise": 4, "blur": 5, "mix": 3}
    assert Dataset("x", "opinion", Path(), (), expected=expected, found=found).partial == ("", "blur")
    warned = [f.text for f in count_findings({"cnn": None, "noise": 4}, {"noise": 1})]
    assert warned == ["cnn has 0 rows; published are some", "noise has 1 rows; published are 4"]


def test_the_root_is_found_up_to_two_levels_away_in_both_directions(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    (root / "c" / "d").mkdir(parents=True)
    (root / "table.txt").touch()
    for start in (root, root.parent, tmp_path, root / "c", root / "c" / "d"):
        assert find_root(start, lambda folder: (folder / "table.txt").exists(), "X").resolve() == root.resolve()


def test_a_wrong_folder_is_told_what_was_found_and_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ManifestError, match=r"holds holiday.jpg; expected TID2013, a folder"):
        find_root(tmp_path, lambda _: False, "TID2013, a folder")
    with pytest.raises(ManifestError, match="is not a folder"):
        find_root(tmp_path / "no", lambda _: True, "X")
    for name in "pq":
        (tmp_path / name / "t").mkdir(parents=True)
    with pytest.raises(ManifestError, match="more than one"):
        find_root(tmp_path, lambda folder: (folder / "t").exists(), "X")


def test_names_that_differ_in_case_only_are_refused_by_both_names(tmp_path: Path) -> None:
    for name in ("i01.bmp", "I01.BMP", ".hidden"):
        (tmp_path / name).touch()
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("the file system ignores case")
    (found,) = listing(tmp_path).findings()
    assert found.level == "error"
    assert found.examples == ("I01.BMP and i01.bmp",)
    assert listing(tmp_path / "no").files == {}


def test_labels_are_read_with_mark_line_ends_and_decimal_comma(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbf1,5\r\n\r\n2.5\r\n")
    assert [number(line) for line in text_lines(path)] == [1.5, 2.5]
    path.write_bytes(b"\xff\xfe1")
    with pytest.raises(ManifestError, match="no text in utf-16"):
        text_lines(path)


def test_labels_outside_their_range_and_nan_are_named_with_their_value() -> None:
    (found,) = range_findings({"a": 3.0, "b": float("nan"), "c": 9.5}, 0, 9, "MOS")
    assert found.examples == ("b (nan)", "c (9.5)")
    assert "MOS are not in 0 to 9" in found.text


@pytest.mark.parametrize("text", ["A ,b\n1,x y\n", "a;B\n1;x y\n", "a\tb\n1\tx y", '\ufeffa,b\r\n"1",x y\r\n'])
def test_sheets_are_read_with_any_usual_separator(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    table = read_sheet(path, ["b"])
    assert table.columns == ("a", "b")
    assert table.column("a") == ["1"]
    assert table.column("b") == ["x y"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("a,A\n1,2\n", "two columns called 'a'"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, the heading has 2"),
        ("a,b\n", None),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, match: str | None) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    if match is None:
        assert len(read_sheet(path)) == 0
        return
    with pytest.raises(ManifestError, match=match):
        read_sheet(path)


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("dist_img,dmoss\n1,2\n")
    with pytest.raises(ManifestError, match=r"no column 'dmos'; rename 'dmoss' if that is it"):
        read_sheet(path, ["dmos"])


def test_cells_of_a_spreadsheet_stand_in_their_columns(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "t.xlsx", {"first": [["x"]], "second": [["", "a & b", "", 2.5], []]})
    assert read_xlsx(path, "second") == [["", "a & b", "", "2.5"], []]
    with pytest.raises(ManifestError, match="no sheet 'third'; it has first, second"):
        read_xlsx(path, "third")


def test_a_hostile_spreadsheet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(ManifestError, match="cannot be read as .xlsx"):
        read_xlsx(path, "s")
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/_rels/workbook.xml.rels", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(ManifestError, match="declares entities"):
        read_xlsx(path, "s")


def test_unknown_names_and_foreign_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'tid2013'"):
        RatedSet("tid2031", tmp_path)
    with pytest.raises(UsageError, match="images means nothing for tid2013; it belongs to table"):
        RatedSet("tid2013", tmp_path, images=tmp_path)
    with pytest.raises(UsageError, match="did you mean 'bapps'"):
        source("baps")
    assert set(NAMES) == {*SOURCES, "table"}


def test_a_rated_set_takes_paths_as_text_and_evaluate_takes_nothing_else(tmp_path: Path) -> None:
    assert RatedSet("table", str(tmp_path), images=str(tmp_path)) == RatedSet("table", tmp_path, images=tmp_path)
    with pytest.raises(UsageError, match="path must name a folder or a table; got int"):
        RatedSet("table", 3)
    with pytest.raises(UsageError, match="must be a pim.RatedSet, such as .*; got str"):
        pim.evaluate("ratings.csv")


def test_every_file_that_can_be_fetched_comes_over_https_with_terms_and_page() -> None:
    for item in SOURCES.values():
        assert item.terms
        assert item.page.startswith("https://")
        assert item.layout
        for file in item.files:
            assert file.url.startswith("https://")
            assert file.name.endswith((".tar", ".tar.gz", ".zip"))
    assert [file.part for file in SOURCES["bapps"].parts(())] == ["2afc-val", "jnd"]
    with pytest.raises(UsageError, match="did you mean 'jnd'"):
        SOURCES["bapps"].parts(("jdn",))
