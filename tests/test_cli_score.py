"""`pim score`: values, forms, failures, folders, tables, odd names."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pim
from pim.metrics.classics import PSNR

Cli = Callable[..., Any]
ODD = ["with space.png", 'it\'s "quoted".png', "=1+1.png", "-x.png", "Straße 写真.png", "two\nlines\tand tab.png"]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (70, 83), noise: float = 0.1) -> Path:
    """A seeded picture, (height, width); different seeds differ by noise only."""
    ramp = np.linspace(0.2, 0.8, size[0])[:, None, None] * np.linspace(1, 0.6, size[1])[:, None] * [1, 0.9, 0.7]
    values = ramp + noise * np.random.default_rng(seed).standard_normal((*size, 3))
    Image.fromarray(np.round(255 * values.clip(0, 1)).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with ref.png, a.png and b.png."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("ref", "a", "b")):
        picture(tmp_path / f"{name}.png", seed)
    return tmp_path


def records(text: str) -> list[dict[str, Any]]:
    """The records of a JSON output, which must be strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: list[dict[str, Any]] = json.loads(text, parse_constant=refuse)["records"]
    return found


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV output."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_two_files_print_value_tab_name(cli: Cli, here: Path) -> None:
    ran = cli("score", "ref.png", "a.png", "-m", "psnr")
    a, b = (np.asarray(Image.open(here / name), float) / 255 for name in ("ref.png", "a.png"))
    assert ran.out == f"{-10 * np.log10(((a - b) ** 2).mean()):.6g}\ta.png\n"
    assert (ran.code, ran.err) == (0, "")


def test_several_metrics_print_value_metric_name_in_the_order_typed(cli: Cli, here: Path) -> None:
    lines = cli("score", "ref.png", "b.png", "a.png", "-m", "ssim", "-m", "psnr", "-m", "ssim").out.splitlines()
    assert [line.split("\t")[1:] for line in lines] == [[m, d] for d in ("b.png", "a.png") for m in ("ssim", "psnr")]


def test_a_value_is_the_one_of_pim_distance_to_the_last_digit(cli: Cli, here: Path, tiny_pim: Path) -> None:
    for metric in ("psnr", "ssim", "nlpd", str(tiny_pim)):
        (record,) = records(cli("score", "ref.png", "a.png", "-m", metric, "--format", "json").out)
        assert record["value"] == pim.distance("ref.png", "a.png", metric), metric


def test_a_reference_of_many_is_prepared_and_opened_once(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, opened = [], []
    prepare, open_image = PSNR.prepare, pim.open_image
    monkeypatch.setattr(PSNR, "prepare", lambda self, image: prepared.append(1) or prepare(self, image))
    monkeypatch.setattr(
        "pim.images.opener.open_image", lambda name, options: opened.append(name) or open_image(name, options)
    )
    ran = cli("score", "ref.png", "a.png", "b.png", "ref.png", "a.png", "-m", "psnr")
    assert len(ran.out.splitlines()) == 4
    assert len(prepared) == 1
    assert sorted(opened) == ["a.png", "a.png", "b.png", "ref.png", "ref.png"]


def test_every_reference_of_a_table_is_compared_with_its_own_images(cli: Cli, here: Path) -> None:
    pairs = [(reference, name) for reference in ("ref", "a", "ref") for name in ("a", "b")]
    (here / "pairs.csv").write_text("reference,distorted\n" + "".join(f"{r}.png,{d}.png\n" for r, d in pairs))
    lines = cli("score", "--pairs", "pairs.csv", "-m", "nlpd").out.splitlines()
    expected = [pim.distance(f"{r}.png", f"{d}.png", "nlpd") for r, d in pairs]
    assert [float(line.split()[0]) for line in lines] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_csv_has_the_stated_columns_in_the_order_of_the_input(cli: Cli, here: Path) -> None:
    ran = cli("score", "ref.png", "b.png", "a.png", "-m", "psnr", "-m", "nlpd", "--format", "csv")
    assert ran.out.splitlines()[0] == "reference,distorted,metric,value,lower_is_better"
    found = rows(ran.out)
    assert [(row["distorted"], row["metric"], row["lower_is_better"]) for row in found] == [
        ("b.png", "psnr", "false"),
        ("b.png", "nlpd", "true"),
        ("a.png", "psnr", "false"),
        ("a.png", "nlpd", "true"),
    ]
    assert float(found[3]["value"]) == pytest.approx(pim.distance("ref.png", "a.png", "nlpd"), rel=1e-6)


def test_json_says_what_the_values_depend_on(cli: Cli, here: Path, tiny_pim: Path) -> None:
    document = json.loads(cli("score", "ref.png", "a.png", "-m", tiny_pim, "--format", "json").out)
    assert list(document) == ["records", "metrics", "decoding", "settings", "versions"]
    assert list(document["records"][0]) == ["reference", "distorted", "metric", "value", "lower_is_better"]
    (metric,) = document["metrics"]
    assert metric["name"] == "tiny"
    assert metric["weights_hash"] == pim.load(str(tiny_pim)).weights_hash
    assert metric["settings"]["filters"] == [3, 2]
    assert set(document["decoding"]) == {"ref.png", "a.png"}
    assert document["decoding"]["a.png"]["width"] == 83
    assert document["versions"]["pim"] == pim.__version__


def test_identical_images_have_infinite_psnr_in_words_and_null_in_json(cli: Cli, here: Path) -> None:
    assert cli("score", "ref.png", "ref.png", "-m", "psnr").out == "inf\tref.png\n"
    (record,) = records(cli("score", "ref.png", "ref.png", "-m", "psnr", "--format", "json").out)
    assert record["value"] is None
    assert record["infinite"] is True
    assert "error" not in record


def test_a_value_that_is_no_number_is_a_failure_and_not_a_row(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "odd_metric.py").write_text("def f(a, b):\n    return (a - b).mean((1, 2, 3)) * float('nan')\n")
    monkeypatch.syspath_prepend(str(here))
    ran = cli("score", "ref.png", "a.png", "-m", "odd_metric:f", "-m", "psnr", "--format", "csv")
    assert ran.code == 1
    assert [row["metric"] for row in rows(ran.out)] == ["psnr"]
    assert "a.png" in ran.err.splitlines()[0]
    assert "nan" in ran.err.splitlines()[0]
    ran = cli("score", "ref.png", "a.png", "-m", "odd_metric:f", "--format", "json")
    (record,) = records(ran.out)
    assert record["value"] is None
    assert "nan" in record["error"]


def test_a_failure_in_a_batch_takes_no_neighbour_along(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def f(a, b):\n    return (a - b).mean((1, 2, 3)) / (a != b).any(1).any(1).any(1)\n"
    (here / "equal_fails.py").write_text(code)
    monkeypatch.syspath_prepend(str(here))
    (here / "pairs.csv").write_text("reference,distorted\nref.png,a.png\na.png,a.png\nb.png,a.png\n")
    ran = cli("score", "--pairs", "pairs.csv", "-m", "equal_fails:f", "--format", "csv", "--batch-size", 3)
    assert ran.code == 1
    assert [row["reference"] for row in rows(ran.out) if not row["error"]] == ["ref.png", "b.png"]
    assert "a.png against a.png" in ran.err.splitlines()[0]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_failures_are_named_and_the_others_done(cli: Cli, here: Path, batch_size: int) -> None:
    (here / "torn.png").write_bytes((here / "a.png").read_bytes()[:500])
    picture(here / "small.png", size=(20, 20))
    table = (
        "reference,distorted\nref.png,a.png\nref.png,torn.png\nref.png,missing.png\nref.png,small.png\na.png,b.png\n"
    )
    (here / "pairs.csv").write_text(table)
    ran = cli("score", "--pairs", "pairs.csv", "-m", "psnr", "--format", "csv", "--batch-size", batch_size)
    assert ran.code == 1
    assert [row["distorted"] for row in rows(ran.out) if row["value"]] == ["a.png", "b.png"]
    assert [bool(row["error"]) for row in rows(ran.out)] == [False, True, True, True, False]
    lines = ran.err.splitlines()
    assert len(lines) == 4
    for line, part in zip(lines, ("torn.png", "missing.png", "small.png is 20 x 20", "3 of 5 pairs"), strict=True):
        assert line.startswith("pim: ")
        assert part in line
    found = records(cli("score", "--pairs", "pairs.csv", "-m", "psnr", "--format", "json").out)
    assert [record["value"] is None for record in found] == [False, True, True, True, False]


def test_an_unreadable_reference_is_named_once(cli: Cli, here: Path) -> None:
    ran = cli("score", "missing.png", "a.png", "b.png", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("missing.png") == 1
    assert ran.err.splitlines()[-1] == "pim: 2 of 2 pairs failed"


def test_an_image_too_small_for_one_metric_still_gets_the_others(cli: Cli, here: Path) -> None:
    small = [picture(here / f"s{i}.png", i, (20, 30)) for i in range(2)]
    ran = cli("score", *small, "-m", "nlpd", "-m", "psnr")
    assert ran.code == 1
    assert [line.split("\t")[1] for line in ran.out.splitlines()] == ["psnr"]
    assert "at least 65" in ran.err
    assert "s1.png" in ran.err


def test_workers_and_batches_change_no_value_and_no_order(cli: Cli, here: Path, tiny_pim: Path) -> None:
    lines = ["reference,distorted,number"]
    for i in range(9):
        size = (70, 83) if i not in (3, 4) else (66, 71)
        picture(here / f"r{i}.png", i, size)
        picture(here / f"d{i}.png", 100 + i, size, noise=0.05 * (i + 1))
        lines.append(f"r{i}.png,d{i}.png,{i}")
    lines[6:6] = ["r4.png,d3.png,shared", "r4.png,missing.png,shared"]
    (here / "pairs.csv").write_text("\n".join(lines))
    common = ("score", "--pairs", "pairs.csv", "-m", tiny_pim, "-m", "psnr", "--format", "csv")
    plain = rows(cli(*common, "--workers", 0).out)
    assert len(plain) == 22
    for workers, batch_size in ((1, 1), (3, 1), (0, 4), (3, 4), (2, 100)):
        other = rows(cli(*common, "--workers", workers, "--batch-size", batch_size).out)
        for row, same in zip(plain, other, strict=True):
            assert float(row["value"] or -1) == pytest.approx(float(same["value"] or -1), rel=1e-6)
            assert all(row[name] == same[name] for name in ("distorted", "metric", "number", "error"))


def test_images_of_another_size_are_refused_and_resized_on_demand(cli: Cli, here: Path) -> None:
    with Image.open(here / "ref.png") as reference:
        reference.resize((166, 140), Image.Resampling.BICUBIC).save(here / "large.png")
    ran = cli("score", "ref.png", "large.png", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    assert "166 x 140" in ran.err
    assert "83 x 70" in ran.err
    assert "--resize" in ran.err
    ran = cli("score", "ref.png", "large.png", "a.png", "-m", "psnr", "--resize", "--format", "json")
    first, second = records(ran.out)
    with Image.open(here / "large.png") as large:
        large.resize((83, 70), Image.Resampling.BICUBIC).save(here / "expected.png")
    assert first["value"] == pytest.approx(pim.distance("ref.png", "expected.png", "psnr"), abs=0.3)
    assert (first["resized_from"], second["resized_from"]) == ("166x140", None)
    assert "1 of 2 distorted images scaled" in ran.err


def test_sixteen_bits_are_scored_at_full_precision(cli: Cli, here: Path) -> None:
    exact = (np.arange(64 * 64, dtype=np.uint16) * 16 + 7).reshape(64, 64)
    Image.fromarray(exact).save(here / "deep.png")
    Image.fromarray(np.round(exact / 257).astype(np.uint8)).save(here / "flat.png")
    value = float(cli("score", "deep.png", "flat.png", "-m", "psnr").out.split()[0])
    error = exact / 65535 - np.round(exact / 257) / 255
    assert value == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)


def test_transparent_images_need_a_background(cli: Cli, here: Path) -> None:
    pixels = np.asarray(Image.open(here / "a.png"))
    alpha = np.full((*pixels.shape[:2], 1), 128, np.uint8)
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(here / "glass.png")
    ran = cli("score", "ref.png", "glass.png", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    assert "--background" in ran.err
    values = [
        float(cli("score", "ref.png", "glass.png", "-m", "psnr", "--background", color).out.split()[0])
        for color in ("black", "white", "#ffffff")
    ]
    assert values[1] == values[2] != values[0]
    assert values[1] == pytest.approx(pim.distance("ref.png", "glass.png", "psnr", background="white"), rel=1e-5)
    ran = cli("score", "ref.png", "glass.png", "-m", "psnr", "--background", "wihte")
    assert (ran.code, ran.out) == (2, "")


def test_too_many_pixels_are_refused_before_decoding(cli: Cli, here: Path) -> None:
    ran = cli("score", "ref.png", "a.png", "-m", "psnr", "--max-pixels", 1000)
    assert (ran.code, ran.out) == (1, "")
    assert "ref.png" in ran.err


def test_odd_names_stay_one_line_of_text_and_exact_in_json(cli: Cli, here: Path) -> None:
    for name in ODD:
        picture(here / name, 5)
    ran = cli("score", "-m", "psnr", "--", "ref.png", *ODD)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line.count("\t") for line in lines] == [1] * len(ODD)
    assert lines[-1].endswith("\ttwo\\nlines\\tand tab.png")
    ran = cli("score", "-m", "psnr", "--format", "json", "--", "ref.png", *ODD)
    assert [record["distorted"] for record in records(ran.out)] == ODD
    ran = cli("score", "-m", "psnr", "--format", "csv", "--", "ref.png", *ODD)
    names = [row["distorted"] for row in rows(ran.out)]
    assert names == [f"'{name}" if name[0] in "=-" else name for name in ODD]


def test_a_name_in_an_error_keeps_to_one_line(cli: Cli, here: Path) -> None:
    (here / "two\nlines.png").write_bytes(b"")
    ran = cli("score", "ref.png", "two\nlines.png", "-m", "psnr")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2


def test_an_output_file_gets_the_form_of_its_ending(cli: Cli, here: Path) -> None:
    for name, start in (("out.csv", "reference,"), ("out.json", "{"), ("out.txt", "17."), ("out", "17.")):
        ran = cli("score", "ref.png", "a.png", "-m", "psnr", "-o", name)
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        assert (here / name).read_text().startswith(start)
    cli("score", "ref.png", "a.png", "-m", "psnr", "-o", "out.csv", "--format", "json")
    assert (here / "out.csv").read_text().startswith("{")


def test_an_input_is_never_overwritten(cli: Cli, here: Path) -> None:
    before = (here / "a.png").read_bytes()
    ran = cli("score", "ref.png", "a.png", "-m", "psnr", "-o", here / "a.png")
    assert (ran.code, (here / "a.png").read_bytes()) == (2, before)
    assert "overwrite" in ran.err
    (here / "pairs.csv").write_text("reference,distorted\nref.png,a.png\n")
    for target in ("pairs.csv", "a.png"):
        assert "overwrite" in cli("score", "--pairs", "pairs.csv", "-m", "psnr", "--format", "csv", "-o", target).err


def test_two_metrics_of_one_name_are_refused(cli: Cli, here: Path, tiny_pim: Path) -> None:
    (here / tiny_pim.name).write_bytes(tiny_pim.read_bytes())
    ran = cli("score", "ref.png", "a.png", "-m", tiny_pim, "-m", tiny_pim.name)
    assert (ran.code, ran.out) == (2, "")
    assert "'tiny'" in ran.err


def test_notes_about_files_come_once_and_not_with_quiet(cli: Cli, here: Path) -> None:
    frames = [Image.open(here / name).convert("RGB") for name in ("a.png", "b.png")]
    for name in ("one.webp", "two.webp"):
        frames[0].save(here / name, save_all=True, append_images=frames[1:], lossless=True)
    ran = cli("score", "ref.png", "one.webp", "two.webp", "-m", "psnr")
    assert ran.code == 0
    assert ran.err.startswith("pim: one.webp: ")
    assert len(ran.err.splitlines()) == 1
    quiet = cli("score", "ref.png", "one.webp", "two.webp", "-m", "psnr", "--quiet")
    assert (quiet.out, quiet.err) == (ran.out, "")


def test_a_frame_can_be_chosen(cli: Cli, here: Path) -> None:
    frames = [Image.open(here / f"{name}.png") for name in ("ref", "a", "b")]
    for name, first, second in (("one.webp", 0, 1), ("two.webp", 0, 2)):
        frames[first].save(here / name, save_all=True, append_images=[frames[second]], lossless=True)
    assert cli("score", "one.webp", "two.webp", "-m", "psnr").out == "inf\ttwo.webp\n"
    value = cli("score", "one.webp", "two.webp", "-m", "psnr", "--frame", 1).out.split()[0]
    assert value == cli("score", "a.png", "b.png", "-m", "psnr").out.split()[0]


# Folders


@pytest.fixture
def folders(here: Path) -> Path:
    """ref/ and dist/ with k1 and k2 in different formats, and a hidden file."""
    for folder in ("ref", "dist"):
        (here / folder).mkdir()
        (here / folder / ".DS_Store").write_bytes(b"x")
    for i in (2, 1):
        picture(here / "ref" / f"k{i}.png", i)
        picture(here / "dist" / f"k{i}.BMP", i + 10)
    return here


def test_folders_are_paired_by_name_without_extension(cli: Cli, folders: Path) -> None:
    ran = cli("score", "ref", "dist/", "-m", "psnr", "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    assert [(row["reference"], row["distorted"]) for row in rows(ran.out)] == [
        ("ref/k1.png", "dist/k1.BMP"),
        ("ref/k2.png", "dist/k2.BMP"),
    ]


def test_unmatched_and_doubled_names_are_listed_and_skipped_only_on_demand(cli: Cli, folders: Path) -> None:
    picture(folders / "ref" / "alone.png")
    picture(folders / "dist" / "other.png")
    picture(folders / "dist" / "k2.png")
    for folder, ending in itertools.product(("ref", "dist"), ("png", "bmp")):
        picture(folders / folder / f"twice.{ending}")
    ran = cli("score", "ref", "dist", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    for part in ("ref lacks 'other'", "dist lacks 'alone'", "dist has more than one file for 'k2', 'twice'"):
        assert part in ran.err
    ran = cli("score", "ref", "dist", "-m", "psnr", "--allow-unmatched", "--format", "csv")
    assert ran.code == 0
    assert [row["picture"] for row in rows(ran.out)] == ["k1"]
    assert "4 names" in ran.err
    document = json.loads(cli("score", "ref", "dist", "-m", "psnr", "--allow-unmatched", "--format", "json").out)
    assert document["settings"]["skipped"] == 4


def test_many_unmatched_names_are_counted_after_the_first_five(cli: Cli, folders: Path) -> None:
    for i in range(12):
        picture(folders / "ref" / f"x{i:02}.png", size=(8, 8))
    assert "'x04' and 7 more" in cli("score", "ref", "dist", "-m", "psnr").err


def test_files_without_an_image_name_are_left_out_aloud(cli: Cli, folders: Path) -> None:
    (folders / "ref" / "readme.txt").write_text("x")
    ran = cli("score", "ref", "dist", "-m", "psnr", "--format", "csv")
    assert len(rows(ran.out)) == 2
    assert "ref/readme.txt" in ran.err


@pytest.mark.parametrize(
    ("paths", "code", "said"),
    [
        (("ref", "ref.png"), 2, "ref is a folder and ref.png is a file"),
        (("ref.png", "dist"), 2, "dist is a folder and ref.png is a file"),
        (("ref", "dist", "dist"), 1, "given twice"),
        (("ref", "empty"), 1, "empty holds no images"),
        (("ref", "nowhere"), 2, "nowhere is not there"),
        (("nowhere", "dist"), 2, "nowhere is not there"),
    ],
)
def test_folders_that_cannot_be_paired_are_refused(
    cli: Cli, folders: Path, paths: tuple[str, ...], code: int, said: str
) -> None:
    (folders / "empty").mkdir()
    ran = cli("score", *paths, "-m", "psnr")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


@pytest.fixture
def codecs(here: Path) -> Path:
    """ref/ with six pictures, and the same with little noise in near/ and with much in far/."""
    for folder, noise in (("ref", 0.0), ("near", 0.02), ("far", 0.1)):
        (here / folder).mkdir()
        for i in range(6):
            picture(here / folder / f"k{i}.png", i + 10, noise=noise)
    return here


def test_folders_become_a_table_of_pictures_and_candidates(cli: Cli, codecs: Path) -> None:
    ran = cli("score", "ref", "far", "near", "-m", "psnr", "-m", "ssim")
    assert (ran.code, ran.err) == (0, "")
    blocks = ran.out.split("\n\n")
    assert [block.splitlines()[0] for block in blocks[::2][:4]] == [
        "bytes",
        "bits per pixel",
        "psnr, higher is closer",
        "ssim, higher is closer",
    ]
    heading, *lines = [line.split() for line in blocks[4].splitlines()[1:]]
    assert heading == ["far", "near"]
    assert [line[0] for line in lines] == [f"k{i}" for i in range(6)]
    expected = [[pim.distance(f"ref/k{i}.png", f"{c}/k{i}.png", "psnr") for c in ("far", "near")] for i in range(6)]
    assert [[float(cell) for cell in line[1:]] for line in lines] == [pytest.approx(row, rel=1e-3) for row in expected]
    mean = next(line.split() for line in blocks[5].splitlines() if line.startswith("mean"))
    assert [float(cell) for cell in mean[1:]] == pytest.approx(np.mean(expected, axis=0), rel=1e-3)
    size = (codecs / "near" / "k0.png").stat().st_size
    assert blocks[0].splitlines()[2].split()[2] == str(size)
    said = [line for line in ran.out.splitlines() if " is closer than " in line]
    assert [line.partition(":")[0] for line in said] == ["psnr", "ssim"]
    assert all(" bpp) is closer than far (" in line and "on 6 of 6 pictures, mean difference" in line for line in said)


def test_the_csv_of_folders_has_sizes_and_keeps_what_failed(cli: Cli, codecs: Path) -> None:
    (codecs / "far" / "k3.png").write_bytes(b"torn")
    ran = cli("score", "ref", "far", "near", "-m", "psnr", "--format", "csv")
    assert ran.code == 1
    assert ran.out.splitlines()[0] == (
        "reference,distorted,metric,value,lower_is_better,picture,candidate,bytes,bits_per_pixel,error"
    )
    found = rows(ran.out)
    assert [(row["picture"], row["candidate"]) for row in found[:3]] == [("k0", "far"), ("k0", "near"), ("k1", "far")]
    failed = [row for row in found if row["error"]]
    assert [(row["distorted"], row["value"], row["bytes"]) for row in failed] == [("far/k3.png", "", "")]
    assert int(found[1]["bytes"]) == (codecs / "near" / "k0.png").stat().st_size
    assert float(found[1]["bits_per_pixel"]) == pytest.approx(8 * int(found[1]["bytes"]) / (70 * 83))
    assert "near" in ran.err
    assert "is closer than far" in ran.err
    document = json.loads(cli("score", "ref", "far", "near", "-m", "psnr", "--format", "json").out)
    psnr = [entry for entry in document["candidates"] if entry["quantity"] == "psnr"]
    assert [(entry["candidate"], entry["n"]) for entry in psnr] == [("far", 5), ("near", 6)]
    assert [(c["first"], c["n"], c["closer"]) for c in document["comparisons"]] == [("near", 5, 5)]


# Tables


def test_a_table_is_relative_to_its_folder_and_keeps_its_columns(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "sub").mkdir()
    content = (
        '\ufeffquality,reference,distorted,comment\r\n-10,ref.png,a.png,"a ""b"", c"\r\n\r\n90,ref.png,b.png,=1+1\r\n'
    )
    (here / "pairs.csv").write_bytes(content.encode())
    monkeypatch.chdir(here / "sub")
    ran = cli("score", "--pairs", "../pairs.csv", "-m", "psnr", "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "reference,distorted,metric,value,lower_is_better,quality,comment,error"
    first, second = rows(ran.out)
    assert (first["reference"], first["quality"], first["comment"]) == ("ref.png", "-10", 'a "b", c')
    assert second["comment"] == "'=1+1"
    found = records(cli("score", "--pairs", "../pairs.csv", "-m", "psnr", "--format", "json").out)
    assert [record["comment"] for record in found] == ['a "b", c', "=1+1"]


@pytest.mark.parametrize(("output", "code", "said"), [("-", 2, "would be a file called -"), ("", 1, "Is a directory")])
def test_an_output_that_is_no_file_is_refused_in_words(cli: Cli, here: Path, output: str, code: int, said: str) -> None:
    ran = cli("score", "ref.png", "ref.png", "-m", "psnr", "-o", output)
    assert (ran.code, ran.out, said in ran.err, "should not happen" in ran.err) == (code, "", True, False)


@pytest.mark.parametrize(("column", "form"), [("contrast", "csv"), ("change", "json")])
def test_a_column_that_the_output_of_a_metric_has_too_is_refused(cli: Cli, here: Path, column: str, form: str) -> None:
    (here / "pairs.csv").write_text(f"reference,distorted,{column}\nref.png,ref.png,5\n")
    ran = cli("score", "--pairs", "pairs.csv", "-m", "psnr", "--align", "--format", form)
    assert (ran.code, ran.out) == (1, "")
    assert f"column {column!r}, which the output also has; rename it" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("reference,distorted\n", "no pairs"),
        ("reference,distort\na,b\n", "no column 'distorted'; rename 'distort' if that is it"),
        ("reference,distorted,reference\na,b,c\n", "two columns called 'reference'"),
        ("reference,distorted,value\na,b,1\n", "rename"),
        ("reference,distorted\na,b\na\n", "line 3: the column distorted is empty"),
        ("reference,distorted\na,b,c\n", "line 2: 3 cells"),
        ("reference,distorted\na,\n", "line 2: the column distorted is empty"),
        ("reference,distorted\na,-\n", "line 2: the column distorted is empty"),
        ('reference,distorted\n"a,b\n', "line"),
        ("reference,distorted\n\0,b\n", "not a text"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_before_scoring(cli: Cli, here: Path, content: str, said: str) -> None:
    (here / "pairs.csv").write_bytes(content.encode("latin-1"))
    ran = cli("score", "--pairs", "pairs.csv", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    assert "pairs.csv" in ran.err
    assert said in ran.err
    assert ran.err.count("\n") == 1
