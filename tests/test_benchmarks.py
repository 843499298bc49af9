"""Every benchmark runs at its smallest setting; how fast anything is, is not tested."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import codec_judges
import codec_losses
import mutations
import numpy as np
import pytest
from codec_pictures import CROP
from conftest import ROOT
from PIL import Image

from pim.errors import InputError, UsageError

pytestmark = pytest.mark.slow


def benchmark(name: str, *arguments: object) -> str:
    """What a benchmark prints."""
    command = [sys.executable, ROOT / "benchmarks" / name, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=300).stdout


def test_inference_and_the_picture_drawn_from_it(tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    small = ("--case", "64x48x2", "--rounds", 2, "--candidates", 2, "--threads", 1)
    table = benchmark("inference.py", "--metric", "psnr", "--metric", "ssim", *small, "--output", times)
    rows = json.loads(times.read_text())["rows"]
    assert {row["metric"] for row in rows} == {"vgg-16 features", "psnr", "ssim"}
    assert all(0 < row["ms per pair low"] <= row["ms per pair"] <= row["ms per pair high"] for row in rows)
    assert all(row["to vgg-16"] == 1 for row in rows if row["metric"] == "vgg-16 features")
    assert "forward+backward" in table
    shares = {row["metric"]: row["of peak"] for row in rows if row["of peak"] is not None}
    assert set(shares) == {"psnr", "ssim"}
    assert all(0 < share < 1 for share in shares.values())

    ends = {"part": "all", "statistic": "SRCC"}
    figures = [
        {**ends, "metric": "psnr", "value": 0.5, "low": 0.4, "high": 0.6},
        {**ends, "metric": "ssim", "value": 0.7, "low": None, "high": None},
        {**ends, "metric": "elsewhere", "value": 0.9, "low": 0.8, "high": 1.0},
    ]
    summary = {"about": {"dataset": "a<b"}, "rows": 9, "used": 9}
    runs = [tmp_path / name for name in ("first", "second", "elsewhere")]
    for run, own in zip(runs, (figures[:1], figures[1:], figures), strict=True):
        run.mkdir()
        other = {"used": 8} if run.name == "elsewhere" else {}
        (run / "summary.json").write_text(json.dumps({**summary, **other, "figures": own}))
    picture = tmp_path / "picture.svg"
    benchmark("agreement_vs_cost.py", *runs[:2], times, "--case", "64x48x2", "--output", picture)
    with pytest.raises(subprocess.CalledProcessError):
        benchmark("agreement_vs_cost.py", *runs, times, "--case", "64x48x2", "--output", tmp_path / "no.svg")
    assert not (tmp_path / "no.svg").exists()
    drawn = picture.read_text()
    assert drawn.count("<circle") == 2
    assert "elsewhere" not in drawn
    assert "a&lt;b, 9 rows" in drawn


def test_memory_grows_with_the_images(tmp_path: Path) -> None:
    benchmark("memory.py", "--metric", "psnr", "--size", "4000x3000", "--output", tmp_path / "memory.csv")
    with (tmp_path / "memory.csv").open() as stream:
        small, large = csv.DictReader(stream)
    assert float(large["peak MiB"]) - float(small["peak MiB"]) > 2 * 12 * 12e6 / 2**20  # two images of floats


def test_the_harness_and_the_loop_take_turns(tmp_path: Path) -> None:
    small = ("--metric", "psnr", "--pairs", 6, "--size", "64x48", "--rounds", 1, "--threads", 1)
    benchmark("harness.py", *small, "--per-reference", 2, "--output", tmp_path / "harness.csv")
    with (tmp_path / "harness.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["pim eval to loop"]) > 0


def test_a_step_of_training_with_a_metric_against_one_without(tmp_path: Path) -> None:
    small = ("--metric", "ssim", "--case", "16x32x1", "--channels", 4, "--rounds", 2, "--threads", 1)
    benchmark("loss_step.py", *small, "--output", tmp_path / "steps.csv")
    with (tmp_path / "steps.csv").open() as stream:
        alone, both = csv.DictReader(stream)
    assert (alone["loss"], both["loss"], float(alone["to mse"])) == ("mse", "ssim + mse", 1.0)


def test_descents_are_kept_and_drawn(tmp_path: Path) -> None:
    small = ("--metric", "mse", "--metric", "ssim", "--size", 32, "--steps", 20, "--threads", 1)
    arguments = (ROOT / "examples" / "reference.png", tmp_path, *small, "--sheet", tmp_path / "sheet.png")
    first = benchmark("descend.py", *arguments, "--output", tmp_path / "first.csv")
    again = benchmark("descend.py", *arguments, "--output", tmp_path / "again.csv")
    assert "mse-noise: " in first
    assert "mse-noise: " not in again
    rows = list(csv.DictReader((tmp_path / "first.csv").read_text().splitlines()))
    assert rows == list(csv.DictReader((tmp_path / "again.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert all(float(row["metric"]) < float(row["metric before"]) for row in rows)
    of_mse = [row for row in rows if row["descended"] == "mse"]
    assert all(float(row["psnr"]) > float(row["psnr before"]) for row in of_mse)
    assert all(float(row["mirrored"]) == pytest.approx(float(row["metric"]), rel=1e-3) for row in of_mse)
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.width == 4 * 32 + 3 * 4


def test_the_anchor_and_the_weights_are_measured_on_videos(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        for number in range(21):
            noise = np.random.default_rng(number).integers(0, 256, (180, 200, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "videos" / folder / f"{number}.png")
    measured = benchmark("loss_calibration.py", tmp_path / "videos", "--metric", "ssim", "--count", 1)
    assert "cosine" in measured
    small = ("--metric", "ssim", "--steps", 2, "--crops", 2, "--held-out", 2)
    files = ("--output", tmp_path / "anchor.csv", "--picture", tmp_path / "a.png")
    small = (tmp_path / "videos", tmp_path / "kept", *small, *files)
    benchmark("anchor.py", *small)
    with (tmp_path / "anchor.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["loss"] for row in rows] == ["MSE", "ssim + anchor", "ssim alone"]
    assert all(row["steps not finite"] == "0" for row in rows)
    assert not benchmark("anchor.py", *small).startswith("MSE\n")
    assert rows == list(csv.DictReader((tmp_path / "anchor.csv").read_text().splitlines()))


def test_the_vgg_metric_and_the_bare_network_take_turns(tmp_path: Path) -> None:
    small = ("--size", "64x48", "--rounds", 1, "--threads", 1, "--head", "lpips-vgg", "--cpu")
    benchmark("vgg.py", *small, "--output", tmp_path / "vgg.json")
    rows = json.loads((tmp_path / "vgg.json").read_text())["rows"]
    names = [row["what"].partition(":")[0] for row in rows]
    bare = ["vgg16().features, both images", "vgg16().features, both images, bfloat16"]
    products = "products of matrices with as many multiply-adds"
    assert names == ["lpips.LPIPS(net='vgg'), a pair", *bare, products, *["lpips-vgg"] * 4]
    assert rows[0]["to lpips"] == 1
    assert all(row["ms"] > 0 for row in rows)


def test_files_of_every_kind_of_codec_come_back(tmp_path: Path) -> None:
    small = ("--sizes", "2x3", "--rows", 70, "--columns", 90, "--widths", "4,4,4", "--latents", 4, "--hyper", 4)
    benchmark("codec_files.py", *small, "--output", tmp_path / "files.csv")
    with (tmp_path / "files.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["codec"] for row in rows] == ["factorised", "scale", "mean-scale", "joint"]
    assert all((row["sizes that fail"], row["exact"]) == ("0", "True") for row in rows)


def test_the_stages_of_coding_add_up(tmp_path: Path) -> None:
    picture = ROOT / "examples" / "reference.png"
    benchmark("codec_stages.py", picture, "--threads", 1, "--rounds", 1, "--output", tmp_path / "stages.json")
    rows = json.loads((tmp_path / "stages.json").read_text())["rows"]
    for way, count in (("encode", 4), ("decode", 3)):
        whole, *stages = (row["ms"] for row in rows if row["way"] == way)
        assert len(stages) == count
        assert 0 < sum(stages) < whole


def test_a_study_of_codecs_compares_pairs_and_trains_nothing_twice(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        noise = np.random.default_rng(ord(folder)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 80)).save(tmp_path / "videos" / folder / "0.png")
    small = ("--steps", 2, "--batch", 2, "--widths", "4,4,4", "--latents", 4, "--hyper", 4, "--seeds", 2)
    chosen = ("--judged", 2, "--lambdas", 0.02, "--only", "ReLU", "--only", "factorised")
    command = (tmp_path / "videos", tmp_path / "kept", *small, *chosen, "--output", tmp_path / "study.csv")
    benchmark("codec_study.py", *command)
    with (tmp_path / "study.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["variant"] for row in rows] == ["base: scale, GDN, Adam", "ReLU instead of GDN", "factorised prior"]
    assert float(rows[0]["change %"]) == 0
    for row in rows[1:]:
        each = [float(change) for change in row["seeds"].split()]
        assert float(row["change %"]) == pytest.approx(sum(each) / 2, abs=0.06)
        assert float(row["low"]) < float(row["change %"]) < float(row["high"])
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}
    assert len(made) == 6
    benchmark("codec_study.py", *command)
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}


def test_losses_of_codecs_are_compared_and_shown_from_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> str:
        codec_losses.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    (tmp_path / "videos").mkdir()
    for number in range(21):
        noise = np.random.default_rng(number).integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "videos" / f"{number}.png")
    small = ("--steps", 1, "--batch", 2, "--window", 64, "--count", 1, "--loss", "mse", "--loss", "pim-weak")
    train = ("train", tmp_path / "videos", ROOT / "examples", kept := tmp_path / "kept", *small, "--judge", "psnr")
    assert "measured" in run(*train)
    made = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert {path.stem for path in kept.glob("*-[0-9].json")} == {"mse-0", "mse-1", "mse-2", "pim-weak-0"}
    assert "measured" not in run(*train)
    assert made == {path: path.stat().st_mtime_ns for path in kept.iterdir()}

    assert "pim-weak" in run("table", kept, "--output", tmp_path / "table.json")
    found = json.loads((tmp_path / "table.json").read_text())
    assert {(row["loss"], row["judge"]) for row in found["changes"]} == {("mse", "psnr"), ("pim-weak", "psnr")}
    run("page", ROOT / "examples", kept, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as drawn:
        assert drawn.width >= 3 * 2 * CROP
    said = run("kit", ROOT / "examples", kept, tmp_path / "kit")
    assert said.startswith("pim rate serve")
    assert all(Path(folder).is_dir() for folder in said.split()[3:6])


def test_losses_are_compared_on_groups_of_photographs_apart_and_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(share: float, pictures: str) -> dict[str, Any]:
        curve = ((0.1, 30.0), (0.2, 33.0), (0.4, 36.0), (0.8, 39.0))
        return {p: {str(q): {"bpp": share * rate, "psnr": q} for rate, q in curve} for p in pictures}

    shares = {"kodak": {"mse-0": 1.0, "pim-0": 0.5, "old-0": 0.8}, "sr": {"mse-0": 1.0, "pim-0": 0.25, "old-0": 1.0}}
    shares["sr"]["pim-1"] = 0.1  # a seed that the other group lacks, with nothing to compare it with
    for group, pictures in (("kodak", "ab"), ("sr", "c")):
        (tmp_path / group).mkdir()
        for name, share in shares[group].items():
            (tmp_path / group / f"{name}.json").write_text(json.dumps(measured(share, pictures)))
    told = ("--loss", "pim", "--against", "mse", "--against", "old", "--output", str(tmp_path / "found.json"))
    codec_losses.main(["groups", str(tmp_path / "kodak"), str(tmp_path / "sr"), *told])
    assert "| kodak (2): pim | -50.0 [-50.0, -50.0] |" in capsys.readouterr().out
    against = json.loads((tmp_path / "found.json").read_text())["against"]
    changes = {
        (base, group): against[base][group]["changes"][0]["change"] for base in against for group in against[base]
    }
    expected = {"kodak": -50, "sr": -75, "all": 100 * (1.25 / 3 - 1)}
    assert {group: changes["mse", group] for group in expected} == pytest.approx(expected)
    assert changes["old", "kodak"] == pytest.approx(-37.5)
    assert against["mse"]["all"]["pictures"] == ["a", "b", "c"]
    with pytest.raises(UsageError, match="not every folder has a codec of 'odl'; did you mean 'old'"):
        codec_losses.main(["groups", str(tmp_path / "kodak"), "--loss", "pim", "--against", "odl"])
    with pytest.raises(InputError, match="same name, such as c"):
        codec_judges.together([{("mse", 0): measured(1, "ac")}, {("mse", 0): measured(1, "c")}])


def test_every_deliberate_fault_can_be_planted_and_names_a_test() -> None:
    for mutation in mutations.MUTATIONS:
        planted = mutations.mutated((ROOT / mutation.file).read_text(encoding="utf-8"), mutation)
        if mutation.file.endswith(".py"):
            compile(planted, mutation.file, "exec")
        file, _, function = mutation.test.partition("::")
        assert f"def {function}" in (ROOT / file).read_text(encoding="utf-8"), mutation


def test_the_script_for_a_gpu_runs_without_one(tmp_path: Path) -> None:
    parts = ("parity", "tf32", "crossings", "training", "distributed", "memory")
    benchmark("gpu.py", "--device", "cpu", "--tiny", "--output", tmp_path / "gpu.json", *(f"--part={p}" for p in parts))
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found) == {"setting", *parts}
    assert all(found[part]["good"] for part in parts)
    assert found["parity"]["apart"]["pim"] == {"value": 0, "gradient": 0, "map": 0}  # the CPU against itself
    assert found["training"]["pairs per s"] > 0


def test_a_part_that_fails_on_the_gpu_is_told_and_the_others_run() -> None:
    import gpu
    import torch

    def broken(device: torch.device, sizes: gpu.Sizes) -> gpu.Found:
        raise RuntimeError("no such kernel")

    found = gpu.attempt(broken, torch.device("cpu"), gpu.TINY)
    assert not found["good"]
    assert "no such kernel" in found["error"]
    assert gpu.attempt(gpu.memory, torch.device("cpu"), gpu.TINY)["good"]
