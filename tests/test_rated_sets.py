"""TID2013, KADID-10k, CSIQ, LIVE and PIPAL: miniatures of their layouts, and their published tables in full."""

from __future__ import annotations

import contextlib
import csv
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import miniatures
import numpy as np
import pytest
from scipy.io import savemat

from pim.datasets import csiq, kadid10k, live, pipal, tid2013
from pim.datasets.dataset import Dataset, ManifestError, Record


def texts(dataset: Dataset, level: str) -> str:
    return "\n".join(f.sentence() for f in dataset.findings if f.level == level)


def records(dataset: Dataset) -> list[Record]:
    return list(dataset.records())


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.fixture
def tid(tmp_path: Path) -> Path:
    return miniatures.tid2013(tmp_path / "tid2013")


def test_tid2013_pairs_names_of_any_case(tid: Path) -> None:
    dataset = tid2013.read(tid)
    dataset.require_whole()
    rows = records(dataset)
    assert len(rows) == 30
    first = rows[0]
    assert (first.key, first.group, first.level) == ("i01_01_1", "i01", 1)
    assert (first.value, first.deviation) == (5.51, 0.13013)
    assert (first.pairs[0][0].name, first.pairs[0][1].name) == ("I01.BMP", "i01_01_1.bmp")
    assert first.distortion == "additive Gaussian noise"
    assert first.subsets == ("noise", "actual", "simple", "full")
    assert dataset.higher_is_better is True
    assert "2 rows" not in texts(dataset, "error")
    assert "spelled in another case than their files, which does no harm (2)" in texts(dataset, "note")


def test_tid2013_subsets_have_their_published_sizes() -> None:
    published = {"noise": 1375, "actual": 1375, "simple": 375, "exotic": 1125, "new": 875, "color": 750, "full": 3000}
    assert {"": 3000, **published} == tid2013.EXPECTED
    assert len(tid2013.TYPES) == 24


def test_tid2013_that_is_not_complete_is_marked_partial(tid: Path) -> None:
    dataset = tid2013.read(tid)
    assert "the whole set has 30 rows; published are 3000" in texts(dataset, "warning")
    assert set(dataset.partial) == {"", *tid2013.SUBSETS}


def test_tid2013_names_what_is_missing_and_what_is_too_much(tid: Path) -> None:
    (tid / "distorted_images" / "i02_08_3.bmp").unlink()
    (tid / "reference_images" / "I01.BMP").unlink()
    miniatures.picture(tid / "distorted_images" / "i03_01_1.bmp")
    dataset = tid2013.read(tid)
    assert "reference pictures are missing (1): i01.bmp" in texts(dataset, "missing")
    assert "distorted pictures are missing (1): i02_08_3.bmp" in texts(dataset, "missing")
    assert "have no score (1): i03_01_1.bmp" in texts(dataset, "warning")
    assert [record.group for record in records(dataset)] == ["i02"] * 14


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace("5.51000 I01", "9.50000 I01"), r"MOS are not in 0 to 9 \(1\): i01_01_1 \(9.5\)"),
        (lambda text: text.replace("5.51000 I01", "nan I01"), r"i01_01_1 \(nan\)"),
        (lambda text: text + "5.1 I01_01_1.bmp\n", r"listed more than once .*: i01_01_1.bmp"),
        (lambda text: text.replace("5.51000", "5,51"), None),
        (lambda text: "\ufeff" + text, None),
    ],
)
def test_tid2013_labels_are_checked(tid: Path, change: Callable[[str], str], match: str | None) -> None:
    rewrite(tid / "mos_with_names.txt", change)
    if match is None:
        assert records(tid2013.read(tid))[0].value == 5.51
        return
    (tid / "mos_std.txt").unlink()
    with pytest.raises(ManifestError, match=match):
        tid2013.read(tid).require_whole(allow_missing=True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("i01_01_1.bmp 5.5\n", "line 1: .*the columns are swapped"),
        ("5.5 i01_01_1.bmp more\n", "line 1: expected '5.51 i01_01_1.bmp'"),
        ("5.5 i26_01_1.bmp\n", "no name of TID2013"),
        ("", "is empty"),
        ("".join(f"5 i01_{k:02}_{v}.bmp\n" for k in range(1, 18) for v in range(1, 5)), "this is TID2008"),
    ],
)
def test_tid2013_refuses_tables_of_another_form(tid: Path, text: str, match: str) -> None:
    (tid / "mos_with_names.txt").write_text(text)
    with pytest.raises(ManifestError, match=match):
        tid2013.read(tid)


def test_tid2013_deviations_must_fit_the_scores(tid: Path) -> None:
    rewrite(tid / "mos_std.txt", lambda text: text.split("\n", 1)[1])
    assert "mos_std.txt must hold 30 numbers" in texts(tid2013.read(tid), "error")
    (tid / "mos_std.txt").unlink()
    dataset = tid2013.read(tid)
    assert "mos_std.txt is not here" in texts(dataset, "note")
    assert records(dataset)[0].deviation is None


def test_tid2013_tells_that_scores_have_another_direction(tmp_path: Path) -> None:
    root = miniatures.tid2013(tmp_path, pictures=25, types=(8, 17))
    assert texts(tid2013.read(root), "error") == ""
    lines = (root / "mos_with_names.txt").read_text().splitlines()
    turned = [f"{9 - float(line.split()[0]):.3f} {line.split()[1]}" for line in lines]
    (root / "mos_with_names.txt").write_text("\n".join(turned))
    problem = texts(tid2013.read(root), "error")
    assert "mean MOS does not fall" in problem
    assert "08 Gaussian blur" in problem
    assert "17" not in problem  # contrast changes need not fall


def test_kadid10k_scores_are_opinions_in_spite_of_their_name(tmp_path: Path) -> None:
    dataset = kadid10k.read(miniatures.kadid10k(tmp_path))
    dataset.require_whole()
    first = records(dataset)[0]
    assert (first.key, first.group, first.level, first.value, first.deviation) == (
        ("i01_01_01", "i01", 1, 4.4, pytest.approx(0.5 / 30**0.5))
    )
    assert first.pairs[0][0].name == "I01.png"
    assert dataset.higher_is_better is True
    assert len(dataset) == 20


def test_kadid10k_defects_are_named(tmp_path: Path) -> None:
    root = miniatures.kadid10k(tmp_path)
    (root / "images" / "I02_01_03.png").unlink()
    rewrite(root / "dmos.csv", lambda text: text.replace("I01_01_01.png,I01.png,4.40", "I01_01_01.png,I01.png,0.20"))
    rewrite(root / "dmos.csv", lambda text: text + "I01_99_01.png,I01.png,3,0\nI01_01_02.png,I01.png,3,0\n")
    dataset = kadid10k.read(root)
    assert "dmos are not in 1 to 5 (1): i01_01_01 (0.2)" in texts(dataset, "error")
    assert "no name and score of KADID-10k (1): I01_99_01.png 3" in texts(dataset, "error")
    assert "more than once (1): i01_01_02.png" in texts(dataset, "error")
    assert "i02_01_03.png" in texts(dataset, "missing")


@pytest.mark.parametrize("spreadsheet", [False, True])
def test_csiq_joins_three_spellings(tmp_path: Path, spreadsheet: bool) -> None:
    dataset = csiq.read(miniatures.csiq(tmp_path, spreadsheet))
    dataset.require_whole()
    rows = {record.key: record for record in records(dataset)}
    assert list(rows) == ["1600.awgn.1", "1600.contrast.3", "1600.jpeg2000.2", "elk.blur.1"]
    noisy = rows["1600.awgn.1"]
    assert (noisy.group, noisy.subsets, noisy.value, noisy.deviation) == (
        ("1600", ("awgn",), 0.0, pytest.approx(0.05 / (5000 / 866) ** 0.5))
    )
    assert noisy.pairs[0][1].name == "1600.AWGN.1.png"
    assert dataset.higher_is_better is False


def test_csiq_defects_are_named(tmp_path: Path) -> None:
    root = miniatures.csiq(tmp_path)
    (root / "src_imgs" / "elk.png").unlink()
    (root / "dst_imgs" / "contrast" / "1600.contrast.3.png").unlink()
    rewrite(root / "csiq.beta.txt", lambda text: text.replace("0.05 0.0\n", "0.05 1.5\n"))
    dataset = csiq.read(root)
    assert "reference pictures are missing (1): elk" in texts(dataset, "missing")
    assert "distorted pictures are missing (1): 1600.contrast.3" in texts(dataset, "missing")
    assert "DMOS are not in 0 to 1 (1): 1600.awgn.1 (1.5)" in texts(dataset, "error")
    rewrite(root / "csiq.beta.txt", lambda text: text + "elk 1 blurred 2 0.1 0.1\n")
    with pytest.raises(ManifestError, match="line 5: expected"):
        csiq.read(root)


def test_live_drops_undistorted_copies_and_keeps_the_order_of_its_tables(tmp_path: Path) -> None:
    dataset = live.read(miniatures.live(tmp_path))
    assert "99 undistorted copies are left out" in texts(dataset, "note")
    rows = {record.key: record for record in records(dataset)}
    assert "jp2k/img2" not in rows  # row 1 is a copy
    jpeg = rows["jpeg/img1"]  # row 227
    assert (jpeg.value, jpeg.group, jpeg.deviation) == (pytest.approx(10 + 0.05 * 227), "bikes", 1.5)
    assert rows["jp2k/img1"].group == "sailing1"
    assert dataset.higher_is_better is False
    assert "distorted pictures are missing" in texts(dataset, "missing")


def test_live_takes_the_realigned_scores_only(tmp_path: Path) -> None:
    root = miniatures.live(tmp_path)
    shutil.move(root / "dmos_realigned.mat", root / "dmos.mat")
    with pytest.raises(ManifestError, match="lacks dmos_realigned.mat; dmos.mat is there, but"):
        live.read(root)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"dmos_new": np.ones((1, 982))}, "has no 'orgs'; it has dmos_new"),
        ({"dmos_new": np.ones((1, 5)), "orgs": np.ones((1, 5))}, "dmos_new must be 982 numbers; got 5"),
        (None, "cannot be read as a MATLAB file"),
    ],
)
def test_live_tables_of_another_form_are_refused(
    tmp_path: Path, content: dict[str, np.ndarray] | None, match: str
) -> None:
    root = miniatures.live(tmp_path)
    if content is None:
        (root / "dmos_realigned.mat").write_bytes(b"no matlab" * 100)
    else:
        savemat(root / "dmos_realigned.mat", content)
    with pytest.raises(ManifestError, match=match):
        live.read(root)


@pytest.mark.parametrize("place", [0, 126, 135, 200, -300])
def test_damaged_tables_of_live_are_read_or_refused_but_end_nothing(tmp_path: Path, place: int) -> None:
    root = miniatures.live(tmp_path)
    path = root / "refnames_all.mat"
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    with contextlib.suppress(ManifestError):
        assert live.read(root).name == "live"
    path.write_bytes(whole[:place])
    with pytest.raises(ManifestError, match="refnames_all.mat cannot be read as a MATLAB file: |has no 'refnames_all'"):
        live.read(root)


def test_a_table_of_live_larger_than_any_is_not_unpacked(tmp_path: Path) -> None:
    root = miniatures.live(tmp_path)
    with (root / "refnames_all.mat").open("ab") as stream:
        stream.truncate(live.LARGEST + 1)
    with pytest.raises(ManifestError, match="has more than 1048576 bytes"):
        live.read(root)


def test_pipal_finds_pictures_in_all_folders(tmp_path: Path) -> None:
    dataset = pipal.read(miniatures.pipal(tmp_path))
    dataset.require_whole()
    rows = records(dataset)
    assert [record.key for record in rows] == ["a0001_00_03", "a0001_01_03", "a0002_00_03", "a0002_01_03"]
    assert (rows[1].value, rows[1].group, rows[1].distortion, rows[1].level) == (1411.5, "a0001", "type 01", 3)
    assert "published are 23200" in texts(dataset, "warning")
    assert dataset.higher_is_better is True


def test_pipal_defects_are_named(tmp_path: Path) -> None:
    root = miniatures.pipal(tmp_path)
    (root / "Train_Dist" / "Distortion_1" / "A0002_01_03.bmp").unlink()
    rewrite(root / "Train_Label" / "A0001.txt", lambda text: text.replace("1410.5", "14105"))
    dataset = pipal.read(root)
    assert "a0002_01_03.bmp" in texts(dataset, "missing")
    assert "a0001_00_03 (14105)" in texts(dataset, "error")
    (root / "Train_Label" / "A0001.txt").write_text("A0001_00_03.bmp 1400\n")
    with pytest.raises(ManifestError, match="line 1: expected"):
        pipal.read(root)


@pytest.fixture
def published(shared: Path) -> dict[str, list[dict[str, str]]]:
    """All rows of four data sets as published, without their pictures."""
    with gzip.open(shared / "data" / "rated_metric_scores.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row for row in rows if row["dataset"] == name] for name in ("tid2013", "kadid10k", "csiq")}


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.development_data
def test_the_published_table_of_tid2013_is_whole_and_known_quirks_are_notes(
    published: dict[str, list[dict[str, str]]], tmp_path: Path
) -> None:
    rows = published["tid2013"]
    for number in range(1, 25):
        touch(tmp_path / "reference_images" / f"I{number:02}.BMP")
    touch(tmp_path / "reference_images" / "i25.bmp")
    for row in rows:
        touch(tmp_path / "distorted_images" / row["distorted"].lower())
    (tmp_path / "mos_with_names.txt").write_text("".join(f"{r['score']} {r['distorted']}\r\n" for r in rows))
    (tmp_path / "mos_std.txt").write_text("".join(f"{r['score_std']}\r\n" for r in rows))
    dataset = tid2013.read(tmp_path)
    dataset.require_whole()
    assert dataset.partial == ()
    assert dict(dataset.found) == tid2013.EXPECTED
    assert texts(dataset, "warning") == ""
    assert "which does no harm (75)" in texts(dataset, "note")
    found = records(dataset)
    assert np.mean([record.value for record in found]) == pytest.approx(4.4747, abs=1e-4)
    assert len({record.value for record in found}) == 1457
    assert len({record.group for record in found}) == 25


@pytest.mark.development_data
def test_the_published_tables_of_kadid10k_and_csiq_are_whole(
    published: dict[str, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder = tmp_path / "kadid"
    lines = ["dist_img,ref_img,dmos,var"]
    for row in published["kadid10k"]:
        touch(folder / "images" / row["distorted"])
        touch(folder / "images" / f"{row['reference']}.png")
        lines.append(f"{row['distorted']},{row['reference']}.png,{row['score']},{row['score_std']}")
    (folder / "dmos.csv").write_text("\n".join(lines))
    dataset = kadid10k.read(folder)
    dataset.require_whole()
    assert dataset.partial == ()

    folder = tmp_path / "csiq"
    lines = []
    for row in published["csiq"]:
        kind = "noise" if row["type"] == "AWGN" else row["type"].lower()
        touch(folder / "src_imgs" / f"{row['reference']}.png")
        touch(folder / "dst_imgs" / row["type"].lower() / f"{row['distorted'].removesuffix('.png')}.png")
        lines.append(f"{row['reference']},1,{kind},{row['level']},{row['score_std']},{row['score']}")
    (folder / "csiq.beta.txt").write_text("\n".join(lines))
    dataset = csiq.read(folder)
    dataset.require_whole()
    assert dataset.partial == ()
    assert dict(dataset.found) == csiq.EXPECTED
