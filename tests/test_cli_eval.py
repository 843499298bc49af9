"""`pim eval` from the command line to the tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eval_toys import make_toy, save

from pim.cli.app import run
from pim.eval.judgements import FLOOR

Pim = Callable[..., tuple[int, str, str]]
METRICS = ("-m", "psnr", "-m", "ssim")


@pytest.fixture
def pim(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pim:
    """`pim("eval", ...)` in an empty folder gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--draws", "100", "--quiet"] if arguments[0] == "eval" else arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of opinions of 48 pictures of 6 references."""
    dataset = make_toy(tmp_path / "set")
    path = tmp_path / "set" / "ratings.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("reference", "distorted", "score", "distortion", "level", "subset"))
        for row in dataset.records():
            names = [Path(str(picture)).name for picture in row.pairs[0]]
            writer.writerow((*names, row.value, row.distortion, row.level, row.subsets[0]))
    return path


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    """BAPPS with two patches in each of its six categories; people always prefer the second one."""
    rng = np.random.default_rng(1)
    for category in ("traditional", "cnn", "superres", "deblur", "color", "frameinterp"):
        folder = tmp_path / "bapps" / "2afc" / "val" / category
        for part in ("ref", "p0", "p1", "judge"):
            (folder / part).mkdir(parents=True)
        for i in range(2):
            clean = rng.uniform(0.2, 0.8, (64, 64, 3))
            for part, noise in (("ref", 0.0), ("p0", 0.1), ("p1", 0.02)):
                save(folder / part / f"{i:06}.png", clean + noise * rng.normal(size=clean.shape))
            np.save(folder / "judge" / f"{i:06}.npy", np.array([0.8], dtype=np.float32))
    return tmp_path / "bapps"


def figures(out: str) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of the CSV by part, statistic and metric."""
    rows = csv.DictReader(io.StringIO(out))
    return {(r["part"], r["statistic"], r["metric"]): r for r in rows if r["published"] == "false"}


def test_a_rated_table_gives_tables_with_intervals(pim: Pim, table: Path) -> None:
    code, out, err = pim("eval", "table", str(table), *METRICS, "--higher-is-better")
    assert (code, err) == (0, "")
    assert "48 rows; agreement with opinion scores" in out
    assert "95% percentile bootstrap interval over 6 references, 100 draws" in out
    assert "mean of types" in out
    assert "psnr - ssim" in out
    assert (table.parents[1] / "runs" / "table" / "scores.sqlite").is_file()


def test_formats_hold_the_same_numbers(pim: Pim, table: Path) -> None:
    arguments = ("eval", "table", str(table), *METRICS, "--higher-is-better")
    rows = figures(pim(*arguments, "--format", "csv")[1])
    (document,) = json.loads(pim(*arguments, "--format", "json")[1])["analyses"]
    assert len(document["figures"]) == len(rows)
    for figure in document["figures"]:
        row = rows[figure["part"], figure["statistic"], figure["metric"]]
        assert float(row["value"]) == figure["value"]
        assert float(row["low"]) == figure["low"] <= figure["value"] <= figure["high"]
        assert int(row["n"]) == figure["n"]
    text = pim(*arguments)[1]
    assert f"{float(rows['all', 'SRCC', 'ssim']['value']):.3f} [" in text


def test_a_finished_run_is_analysed_again_without_pictures(pim: Pim, table: Path) -> None:
    first = pim("eval", "table", str(table), *METRICS, "--higher-is-better", "--run", "kept")
    for file in table.parent.glob("*.png"):
        file.unlink()
    assert pim("eval", "run", "kept") == first
    assert "BCa" in pim("eval", "run", "kept", "--bca")[1]


def test_single_values_can_be_written(pim: Pim, table: Path, tmp_path: Path) -> None:
    code, out, _ = pim("eval", "table", str(table), *METRICS, "--higher-is-better", "--values", "values.csv")
    assert code == 0
    assert "48 rows" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "values.csv").read_text())))
    assert [row["metric"] for row in rows] == ["psnr"] * 48 + ["ssim"] * 48
    scored = run_score(pim, table.parent / "r0.png", table.parent / "r0_noise_1.png")
    assert float(rows[0]["value"]) == pytest.approx(scored, rel=1e-6)
    assert (rows[0]["key"], rows[0]["second_value"]) == ("r0.png|r0_noise_1.png", "")


def run_score(pim: Pim, reference: Path, distorted: Path) -> float:
    (record,) = json.loads(pim("score", str(reference), str(distorted), "-m", "psnr", "--format", "json")[1])["records"]
    return float(record["value"])


def test_rows_are_chosen_by_subset_type_and_level(pim: Pim, table: Path) -> None:
    start = ("eval", "table", str(table), "-m", "psnr", "--higher-is-better", "--format", "csv")

    def rows(*chosen: str) -> str:
        return figures(pim(*start, *chosen)[1])["all", "SRCC", "psnr"]["n"]

    assert rows("--subset", "mild") == "24"
    assert rows("--distortion", "noise") == "24"
    assert rows("--level", "1", "--level", "4") == "24"
    assert rows("--level", "1", "--distortion", "shift") == "6"
    code, _, err = pim(*start, "--level", "9")
    assert code == 2
    assert "none of the 48 rows" in err


def test_an_unreadable_picture_is_named_and_the_rest_is_measured(pim: Pim, table: Path) -> None:
    broken = table.parent / "r2_noise_3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    code, out, err = pim("eval", "table", str(table), "-m", "psnr", "--higher-is-better")
    assert code == 1
    assert str(broken) in err
    assert "47 rows of 48" in out


def test_a_constant_metric_is_an_error_that_names_it(pim: Pim, table: Path, tmp_path: Path) -> None:
    text = "def flat(reference, distorted):\n    return reference.new_full((len(reference),), 0.25)\n"
    (tmp_path / "plain_metrics.py").write_text(text)
    code, out, err = pim("eval", "table", str(table), "-m", "plain_metrics:flat", "-m", "psnr", "--higher-is-better")
    assert code == 1
    assert err == "pim: plain_metrics:flat has one value, 0.25, for all pairs; it cannot agree with anybody\n"
    assert "n/a" in next(line for line in out.splitlines() if line.startswith("all"))


def test_a_missing_picture_stops_everything_unless_allowed(pim: Pim, table: Path) -> None:
    (table.parent / "r2_noise_3.png").unlink()
    start = ("eval", "table", str(table), "-m", "psnr", "--higher-is-better")
    code, out, err = pim(*start)
    assert (code, out) == (2, "")
    assert "r2_noise_3.png" in err
    assert not (table.parents[1] / "runs").exists()
    code, out, _ = pim(*start, "--allow-missing")
    assert code == 0
    assert "47 rows (the complete set has 48)" in out


def test_a_direction_is_required_and_never_guessed(pim: Pim, table: Path) -> None:
    code, _, err = pim("eval", "table", str(table), "-m", "psnr")
    assert code == 2
    assert "--higher-is-better or --lower-is-better" in err


def test_forced_choices_show_people_beside_metrics(pim: Pim, choices: Path) -> None:
    code, out, err = pim("eval", "bapps", str(choices), "-m", "psnr", "--format", "csv")
    assert (code, err) == (0, "")
    found = figures(out)
    assert float(found["all", "2AFC", "psnr"]["value"]) == pytest.approx(0.8)
    assert float(found["all", "2AFC", "(a person)"]["value"]) == pytest.approx(0.68)
    assert float(found["all", "2AFC", "(best possible)"]["value"]) == pytest.approx(0.8)
    published = [row for row in csv.DictReader(io.StringIO(out)) if row["published"] == "true"]
    assert any(row["metric"] == "LPIPS-VGG-scratch" and row["source"] for row in published)


def test_a_missing_category_leaves_no_line_called_all(pim: Pim, choices: Path) -> None:
    for file in (choices / "2afc" / "val" / "color").rglob("*.*"):
        file.unlink()
    for folder in sorted((choices / "2afc" / "val" / "color").iterdir()):
        folder.rmdir()
    (choices / "2afc" / "val" / "color").rmdir()
    out = pim("eval", "bapps", str(choices), "-m", "psnr")[1]
    assert "no mean over all categories: color missing" in out
    assert "\nall " not in out


def test_rank_flips_are_counted_for_every_shift(pim: Pim, choices: Path) -> None:
    code, out, _ = pim("eval", "bapps", str(choices), "-m", "psnr", "--shift", "1", "--shift", "2", "--format", "json")
    assert code == 0
    document = json.loads(out)
    assert [f["shift"] for f in document["flips"]] == [1, 2]
    assert len(document["analyses"]) == 3
    assert all(f["n"] == 12 and 0 <= f["mean"] <= 1 for f in document["flips"])


def test_corruptions_are_ordered_by_severity_and_never_called_agreement(pim: Pim, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    (tmp_path / "photos").mkdir()
    for i in range(6):
        save(tmp_path / "photos" / f"p{i}.png", rng.uniform(0.2, 0.8, (40, 48, 3)))
    chosen = ("--corruption", "gaussian_noise", "--corruption", "contrast")
    arguments = ("eval", "imagenet-c", "photos", "--generate", *chosen, *METRICS)
    code, out, err = pim(*arguments)
    assert (code, err) == (0, "")
    assert "this is not agreement with people" in out
    assert "psnr and ssim: SRCC" in out
    found = figures(pim(*arguments, "--format", "csv")[1])
    assert float(found["gaussian_noise", "Kendall", "psnr"]["value"]) == pytest.approx(1)
    assert (FLOOR, "mean 0", "psnr") in found


def test_options_of_another_data_set_are_refused(pim: Pim, table: Path) -> None:
    code, _, err = pim("eval", "table", str(table), "--shift", "1")
    assert code == 2
    assert "shifts mean nothing for table; they belong to bapps" in err


def test_a_wrong_folder_says_what_was_expected(pim: Pim, tmp_path: Path) -> None:
    code, _, err = pim("eval", "tid2013", str(tmp_path), "-m", "psnr")
    assert code == 2
    assert "TID2013" in err
    code, _, err = pim("eval", "run", str(tmp_path))
    assert code == 1
    assert "is not the folder of a run" in err


@pytest.mark.development_data
@pytest.mark.slow
def test_psnr_on_rebuilt_tid2013_agrees_with_the_measured_table(pim: Pim, shared: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    source = shared / "data" / "tid2013_dev"
    lines = (source / "table.csv").read_text().splitlines()
    wanted = [lines[0], *(line for line in lines[1:] if ",rebuilt," in line and ("_07_" in line or "_17_" in line))]
    (tmp_path / "table.csv").write_text("\n".join(wanted) + "\n")
    script = [sys.executable, str(source / "make_images.py"), str(shared / "data" / "kodak"), str(tmp_path / "images")]
    subprocess.run([*script, "--table", str(tmp_path / "table.csv")], check=True, capture_output=True)
    found = figures(pim("eval", "table", "table.csv", "-m", "psnr", "--format", "csv")[1])
    assert float(found["quantisation noise", "SRCC", "psnr"]["value"]) == pytest.approx(0.898, abs=6e-4)
    assert float(found["contrast change", "SRCC", "psnr"]["value"]) == pytest.approx(0.479, abs=6e-4)
