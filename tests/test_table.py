"""Plain tables: four sets of columns, a stated direction, and every way in which a table goes wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import miniatures
import pandas as pd
import pytest

from pim.datasets import table
from pim.datasets.dataset import Dataset, ManifestError, Record
from pim.datasets.pictures import check_pictures
from pim.errors import UsageError


def texts(dataset: Dataset, level: str) -> str:
    return "\n".join(f.sentence() for f in dataset.findings if f.level == level)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write lines as a table beside four pictures."""
    for seed, name in enumerate("rabc"):
        miniatures.textured(tmp_path / "images" / f"{name}.png", seed=seed)

    def writer(*lines: str, name: str = "ratings.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return writer


OPINIONS = ("reference,distorted,score", "images/r.png,images/a.png,3.5", "images/r.png,images/b.png,1")


def test_opinions_are_read_with_all_their_columns(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(
        "reference,distorted,score,score_std,n,group,distortion,level,subset",
        "images/r.png,images/a.png,3.5,0.2,12,scene 1,blur,2,hard",
        "images/r.png,images/b.png,1,,,,,,",
    )
    dataset = table.read(path, higher_is_better=True)
    dataset.require_whole()
    first, second = dataset.records()
    assert first == Record(
        key="images/r.png|images/a.png",
        group="scene 1",
        subsets=("hard",),
        distortion="blur",
        level=2,
        pairs=((tmp_path / "images" / "r.png", tmp_path / "images" / "a.png"),),
        value=3.5,
        deviation=pytest.approx(0.2 / 12**0.5),
        people=12,
    )
    assert (second.group, second.subsets, second.distortion, second.level) == ("images/r.png", (), None, None)
    assert dataset.name == f"{tmp_path.name}/ratings"
    assert dataset.higher_is_better is True


def test_forced_choices_quadruples_and_same_or_not_are_told_by_their_columns(write: Callable[..., Path]) -> None:
    i = "images"
    choices = table.read(write("reference,a,b,prefer_b,n", f"{i}/r.png,{i}/a.png,{i}/b.png,0.75,4"))
    (choice,) = choices.records()
    assert (choices.kind, choice.value, choice.people) == ("two_afc", 0.75, 4)
    assert [str(pair[1])[-5:] for pair in choice.pairs] == ["a.png", "b.png"]
    quads = table.read(write("p0,p1,q0,q1,judge,n", f"{i}/r.png,{i}/a.png,{i}/b.png,{i}/c.png,1,2"))
    (quad,) = quads.records()
    assert (quads.kind, quad.value, quad.pairs[1][1]) == ("quadruple", 1.0, quads.root / i / "c.png")
    sames = table.read(write("a,b,same", f"{i}/r.png,{i}/a.png,0.5"))
    (same,) = sames.records()
    assert (sames.kind, same.value, sames.higher_is_better) == ("jnd", 0.5, None)


def test_the_direction_is_never_guessed(write: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="--higher-is-better or --lower-is-better"):
        table.read(write(*OPINIONS))
    assert table.read(write(*OPINIONS), higher_is_better=False).higher_is_better is False


def test_the_direction_may_stand_in_a_column_or_beside_the_table(write: Callable[..., Path]) -> None:
    column = [OPINIONS[0] + ",higher_is_better", *(f"{line},0" for line in OPINIONS[1:])]
    assert table.read(write(*column)).higher_is_better is False
    with pytest.raises(UsageError, match="the option says higher is better but the column higher_is_better says lower"):
        table.read(write(*column), higher_is_better=True)
    with pytest.raises(ManifestError, match="0 in all rows or 1 in all rows; got 0, 1"):
        table.read(write(column[0], column[1], f"{OPINIONS[2]},1"))
    write('{"higher_is_better": true}', name="ratings.json")
    assert table.read(write(*OPINIONS)).higher_is_better is True
    with pytest.raises(UsageError, match="ratings.json says higher is better") as caught:
        table.read(write(*column))
    assert "column" in str(caught.value)
    write('{"higher_is_better": "yes"}', name="ratings.json")
    with pytest.raises(ManifestError, match="must be true or false; got 'yes'"):
        table.read(write(*OPINIONS))
    write("{", name="ratings.json")
    with pytest.raises(ManifestError, match="is no JSON"):
        table.read(write(*OPINIONS))


def test_tabs_semicolons_commas_in_numbers_marks_and_line_ends_are_understood(write: Callable[..., Path]) -> None:
    path = write(OPINIONS[0].replace(",", ";"), "images/r.png;images/a.png;3,5")
    assert [r.value for r in table.read(path, higher_is_better=True).records()] == [3.5]
    path = write(*(line.replace(",", "\t") for line in OPINIONS), name="ratings.tsv")
    assert len(table.read(path, higher_is_better=True)) == 2
    path.write_bytes("\ufeff".encode() + "\r\n".join(OPINIONS).encode())
    assert len(table.read(path, higher_is_better=True)) == 2


def test_pictures_are_looked_for_in_the_image_folder_then_beside_the_table(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(*OPINIONS)
    elsewhere = tmp_path / "elsewhere"
    made = miniatures.textured(elsewhere / "images" / "a.png")
    first, second = table.read(path, images=elsewhere, higher_is_better=True).records()
    assert first.pairs[0][1] == made
    assert second.pairs[0][1] == tmp_path / "images" / "b.png"
    assert first.key == "images/r.png|images/a.png"


def test_missing_pictures_are_listed_and_their_rows_left_out(write: Callable[..., Path]) -> None:
    dataset = table.read(write(*OPINIONS, "images/r.png,images/x.png,2", "images/y.png,,2"), higher_is_better=True)
    assert "(3): (no name), images/x.png, images/y.png" in texts(dataset, "missing")
    assert len(dataset) == 2
    assert dataset.partial == ("",)


def test_another_case_is_found_and_told(write: Callable[..., Path]) -> None:
    dataset = table.read(write(*OPINIONS, "images/R.PNG,images/C.png,2"), higher_is_better=True)
    dataset.require_whole()
    assert "(case, accents, slashes) (2): images/C.png, images/R.PNG" in texts(dataset, "note")


@pytest.mark.parametrize("score", ["", "good", "nan", "inf", "images/a.png"])
def test_scores_that_are_no_numbers_are_named_by_line(write: Callable[..., Path], score: str) -> None:
    dataset = table.read(write(*OPINIONS, f"images/r.png,images/c.png,{score}"), higher_is_better=True)
    assert f"values of score are no numbers (1): line 4 ({score or 'empty'})" in texts(dataset, "error")


def test_shares_outside_their_range_are_named_by_line(write: Callable[..., Path]) -> None:
    for value in ("1.5", "-0.1", "nan"):
        dataset = table.read(write("a,b,same", f"images/r.png,images/a.png,{value}"))
        assert f"values of same are no shares from 0 to 1 (1): line 2 ({value})" in texts(dataset, "error")


def test_repeated_rows_are_errors_and_self_comparisons_notes(write: Callable[..., Path]) -> None:
    dataset = table.read(write(*OPINIONS, OPINIONS[1], "images/r.png,images/r.png,5"), higher_is_better=True)
    assert "more than once; average their judgements (1): images/r.png | images/a.png" in texts(dataset, "error")
    assert "compare a picture with itself (1): images/r.png | images/r.png" in texts(dataset, "note")


def test_a_parquet_file_is_the_same_table(write: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    text = table.read(
        write("reference,distorted,score,n,group", "images/r.png,images/a.png,0.1,12,x", OPINIONS[2] + ",,"), None, True
    )
    columns = {"Reference": ["images/r.png"] * 2, "distorted": ["images/a.png", "images/b.png"], "score": [0.1, 1.0]}
    more = {"n": [12, None], "group": ["x", None], "higher_is_better": [True, True]}
    pd.DataFrame(columns | more).to_parquet(tmp_path / "ratings.parquet")
    dataset = table.read(tmp_path / "ratings.parquet")
    assert list(dataset.records()) == list(text.records())
    assert dataset.higher_is_better is True
    frame = pd.DataFrame(columns | more | {"distorted": [b"images/a.png", b"images/b.png"], "votes": [[1], [2, 3]]})
    frame.set_index("Reference").to_parquet(tmp_path / "odd.parquet")
    assert list(table.read(tmp_path / "odd.parquet").records()) == list(text.records())
    (tmp_path / "no.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(ManifestError, match=r"no\.parquet cannot be read as Parquet"):
        table.read(tmp_path / "no.parquet")
    with pytest.raises(ManifestError, match=r"gone\.parquet cannot be read as Parquet"):
        table.read(tmp_path / "gone.parquet")


def test_other_columns_and_other_files_are_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has the columns reference,mos; expected one of: reference,distorted,sc"):
        table.read(write("reference,mos", "a,1"))
    with pytest.raises(ManifestError, match="is a folder; name the table"):
        table.read(tmp_path)
    with pytest.raises(ManifestError, match="is no table; its name must end in .csv"):
        table.read(tmp_path / "a.xlsx")
    with pytest.raises(ManifestError, match="cannot read"):
        table.read(tmp_path / "no.csv", higher_is_better=True)


def test_pictures_are_looked_at_before_anything_is_scored(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(*OPINIONS, "images/r.png,images/c.png,2")
    miniatures.textured(tmp_path / "images" / "b.png", (64, 47))
    (tmp_path / "images" / "c.png").write_text("no picture")
    dataset = check_pictures(table.read(path, higher_is_better=True))
    assert "pictures cannot be read (1): images/c.png (no picture)" in texts(dataset, "missing")
    assert "pairs differ in size (1): images/r.png and images/b.png" in texts(dataset, "error")
    assert "sizes of pictures: 64 x 48 (2), 64 x 47 (1)" in texts(dataset, "note")


def test_truncated_pictures_are_found_when_decoded(write: Callable[..., Path], tmp_path: Path) -> None:
    dataset = table.read(write(*OPINIONS), higher_is_better=True)
    picture = tmp_path / "images" / "a.png"
    picture.write_bytes(picture.read_bytes()[:-3000])
    assert texts(check_pictures(dataset), "missing") == ""
    seen: list[int] = []
    found = texts(check_pictures(dataset, decode=True, progress=seen.append), "missing")
    assert found.startswith("pictures cannot be read (1): images/a.png (")
    assert len(seen) == 2


@pytest.mark.development_data
def test_the_development_tables_are_read_with_their_direction(shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    expected = {
        "tid2013_dev/table.csv": (887, True),
        "raid_dev/table.csv": (576, False),
        "raid_dev/quads.csv": (13440, None),
    }
    for name, (rows, direction) in expected.items():
        images = tmp_path / Path(name).parts[0]
        with (data / name).open() as stream:
            cells = {cell for row in csv.reader(stream) for cell in row if cell.startswith("images/")}
        for cell in cells:
            (images / cell).parent.mkdir(parents=True, exist_ok=True)
            (images / cell).touch()
        dataset = table.read(data / name, images=images)
        dataset.require_whole()
        assert (len(dataset), dataset.higher_is_better) == (rows, direction)
        assert dataset.partial == ()
        contents = {record.group for record in dataset.records()}
        assert len(contents) in (16, 17)  # 16 photographs; content 25 has one original
