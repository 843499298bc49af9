"""Which images of folders belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from pim.errors import InputError
from pim.scoring.folders import from_folders, image_files
from pim.scoring.pairs import Pairs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(pairs: Pairs) -> list[tuple[str, str]]:
    return [(pair.reference, pair.distorted) for pair in pairs.items]


def test_candidates_of_a_picture_stand_together_in_the_order_of_the_folders(here: Path) -> None:
    make("ref/b.png", "ref/a.png", "y/a.jpg", "y/b.jpg", "x/a.webp", "x/b.WEBP")
    found = from_folders("ref", ["y", "x/"])
    assert [pair.distorted for pair in found.items] == ["y/a.jpg", "x/a.webp", "y/b.jpg", "x/b.WEBP"]
    assert [pair.extra for pair in found.items[:2]] == [
        {"picture": "a", "candidate": "y"},
        {"picture": "a", "candidate": "x"},
    ]
    assert (found.skipped, found.notes) == (0, ())


def test_sub_folders_are_part_of_the_name(here: Path) -> None:
    make("ref/one/a.png", "ref/two/a.png", "dist/two/a.jpg", "dist/one/a.jpg", "dist/.hidden/a.jpg")
    make("ref/@eaDir/a.png/SYNOPHOTO_THUMB.jpg", "dist/__MACOSX/two/b.jpg", "dist/one/Thumbs.db")
    assert names(from_folders("ref", ["dist"])) == [
        ("ref/one/a.png", "dist/one/a.jpg"),
        ("ref/two/a.png", "dist/two/a.jpg"),
    ]
    assert from_folders("ref", ["dist"]).ignored == ()


def test_folders_inside_the_folder_of_references_are_no_references(here: Path) -> None:
    make("a.png", "q30/a.jpg", "q50/a.jpg")
    assert len(from_folders(".", ["q30", "q50"]).items) == 2


def test_a_circle_of_links_ends(here: Path) -> None:
    make("ref/a.png", "dist/a.png")
    (here / "ref" / "again").symlink_to(here / "ref")
    (here / "elsewhere").mkdir()
    make("elsewhere/b.png", "dist/linked/b.png")
    (here / "ref" / "linked").symlink_to(here / "elsewhere")
    assert names(from_folders("ref", ["dist"])) == [
        ("ref/a.png", "dist/a.png"),
        ("ref/linked/b.png", "dist/linked/b.png"),
    ]


@pytest.mark.parametrize("name", ["kodim01_q30", "kodim01-q30", "kodim01.png", "rec_kodim01", "out kodim01 (q 30)"])
def test_what_encoders_add_is_seen_and_told(here: Path, name: str) -> None:
    make("ref/kodim01.png", "ref/kodim02.png", "dist/kodim02.jpg", f"dist/{name}.jpg")
    found = from_folders("ref", ["dist"])
    assert names(found)[0] == ("ref/kodim01.png", f"dist/{name}.jpg")
    assert found.notes == (f"dist: taken {name}.jpg for kodim01",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kodim011", "ref lacks 'kodim011'"),  # no mark between
        ("a_b", "which may be any of 'a', 'b'"),
        ("kodim01_q30 kodim01_q50", "more than one file for 'kodim01': 'kodim01_q30.jpg', 'kodim01_q50.jpg'"),
        ("a a_map", "ref lacks 'a_map'"),  # the exact name goes first
    ],
)
def test_what_could_be_several_is_refused_and_listed(here: Path, name: str, said: str) -> None:
    make("ref/kodim01.png", "ref/a.png", "ref/b.png", *(f"dist/{part}.jpg" for part in name.split(" ")))
    with pytest.raises(InputError, match="--allow-unmatched") as refused:
        from_folders("ref", ["dist"])
    assert said in str(refused.value)


def test_what_does_not_fit_in_one_folder_stays_in_the_others(here: Path) -> None:
    make("ref/a.png", "ref/b.png", "x/a.jpg", "x/b.jpg", "y/a.jpg", "y/c.jpg")
    found = from_folders("ref", ["x", "y"], allow_unmatched=True)
    assert [pair.distorted for pair in found.items] == ["x/a.jpg", "y/a.jpg", "x/b.jpg"]
    assert found.skipped == 2


def test_folders_of_one_name_are_called_by_their_path_and_none_is_given_twice(here: Path) -> None:
    make("ref/a.png", "one/out/a.jpg", "two/out/a.jpg")
    assert [pair.extra["candidate"] for pair in from_folders("ref", ["one/out", "two/out"]).items] == [
        "one/out",
        "two/out",
    ]
    with pytest.raises(InputError, match="given twice: 'one/out', 'one/out/'"):
        from_folders("ref", ["one/out", "one/out/"])


def test_names_in_another_case_are_taken_and_told_unless_several_are(here: Path) -> None:
    make("ref/Kodim01.png", "ref/a.png", "ref/A.png", "x/kodim01.JPG", "x/a.jpg", "x/A.jpg", "y/kodim01.jpg", "y/À.jpg")
    found = from_folders("ref", ["x"])
    assert names(found)[1:2] == [("ref/Kodim01.png", "x/kodim01.JPG")]
    assert found.notes == ("x: taken kodim01.JPG for Kodim01",)
    with pytest.raises(InputError, match="y lacks 'A', 'a'"):
        from_folders("ref", ["y"])


def test_files_and_the_images_of_folders(here: Path) -> None:
    make("x/b.png", "x/a/c.JPG", "x/notes.txt", "other.bin")
    assert image_files(["other.bin", "x"]) == ["other.bin", "x/a/c.JPG", "x/b.png"]
