"""`pim compare`, `pim metrics` and `pim weights`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pim
from pim.core.files import sha256_of
from pim.metrics.registry import DEFAULT, built_in

Cli = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ref.png; near.png and far.png with little and much noise."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    pixels = random.uniform(50, 200, (80, 90, 3))
    for name, noise in (("ref", 0), ("near", 5), ("far", 25)):
        noisy = pixels + noise * random.standard_normal(pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(f"{name}.png")
    return tmp_path


@pytest.mark.parametrize(("a", "b", "closer"), [("near.png", "far.png", "a"), ("far.png", "near.png", "b")])
def test_the_closer_image_is_named_for_distances_and_similarities(
    cli: Cli, here: Path, a: str, b: str, closer: str
) -> None:
    ran = cli("compare", "ref.png", a, b, "-m", "psnr", "-m", "nlpd")
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first.startswith("psnr: near.png is closer than far.png by ")
    assert second.startswith("nlpd: near.png is closer than far.png by ")
    assert "higher is closer" in first
    assert "lower is closer" in second
    document = json.loads(cli("compare", "ref.png", a, b, "-m", "psnr", "-m", "nlpd", "--format", "json").out)
    for record in document["records"]:
        values = [pim.distance("ref.png", name, record["metric"]) for name in (a, b)]
        assert [record["value_a"], record["value_b"]] == pytest.approx(values, rel=1e-6)
        assert record["difference"] == pytest.approx(abs(values[0] - values[1]), rel=1e-5)
        assert record["closer"] == closer
    found = list(csv.DictReader(io.StringIO(cli("compare", "ref.png", a, b, "-m", "nlpd", "--format", "csv").out)))
    assert [row["closer"] for row in found] == [closer]


def test_equal_images_are_equally_close_and_infinity_is_said_in_json(cli: Cli, here: Path) -> None:
    assert cli("compare", "ref.png", "far.png", "far.png", "-m", "ssim").out.startswith("ssim: both are equally close")
    (record,) = json.loads(cli("compare", "ref.png", "ref.png", "far.png", "-m", "psnr", "--format", "json").out)[
        "records"
    ]
    assert (record["value_a"], record["closer"]) == (None, "a")
    assert record["infinite"] == ["value_a", "difference"]


def test_a_comparison_that_fails_gives_no_verdict(cli: Cli, here: Path) -> None:
    ran = cli("compare", "ref.png", "near.png", "missing.png", "-m", "psnr")
    assert (ran.code, ran.out) == (1, "")
    assert "missing.png" in ran.err


def test_metrics_are_the_catalogue_with_the_default_first(cli: Cli) -> None:
    found = json.loads(cli("metrics", "--format", "json").out)["metrics"]
    assert [record["name"] for record in found] == list(built_in())
    assert [record["name"] for record in found if record["default"]] == [DEFAULT] == [found[0]["name"]]
    by_name = {record["name"]: record for record in found}
    assert by_name["psnr"]["value_range"] == [0.0, None]
    assert by_name["psnr"]["lower_is_better"] is False
    table = list(csv.DictReader(io.StringIO(cli("metrics", "--format", "csv").out)))
    assert [row["name"] for row in table] == list(built_in())
    assert {row["licence"] for row in table} == {info.licence for info in built_in().values()}
    text = cli("metrics").out
    assert all(f"\n{name}: " in text for name in built_in())


def test_metrics_without_weights_say_why_they_are_not_available(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pim.core.weights.shipped", dict)
    assert "Not available: the weights of pim-1" in " ".join(cli("metrics").out.split())
    ran = cli("score", "a", "b", "-m", "pim-1")
    assert (ran.code, ran.out) == (1, "")
    assert "pim-1.safetensors" in ran.err


def test_weights_are_listed_with_path_hash_and_story(cli: Cli, tiny_pim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pim.core.weights.shipped", lambda: {"tiny": tiny_pim})
    (record,) = json.loads(cli("weights", "list", "--format", "json").out)["weights"]
    assert record["path"] == str(tiny_pim)
    assert record["sha256"] == sha256_of(tiny_pim)
    assert record["training"] == {"steps": 0}
    (row,) = csv.DictReader(io.StringIO(cli("weights", "list", "--format", "csv").out))
    assert json.loads(row["config"])["filters"] == [3, 2]
    text = cli("weights", "list").out
    assert f"  path: {tiny_pim}\n  sha256: {sha256_of(tiny_pim)}\n" in text
    assert "  training: steps 0\n" in text
    assert "  config: " in text
    assert max(len(line) for line in text.splitlines() if str(tiny_pim) not in line) <= 110


def test_damaged_weights_are_named_and_whole_ones_confirmed(cli: Cli, tiny_pim: Path, tmp_path: Path) -> None:
    content = tiny_pim.read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[:-10])
    (tmp_path / "other.safetensors").write_bytes(b"not weights")
    ran = cli("weights", "check", tmp_path / "short.safetensors", tiny_pim, tmp_path / "other.safetensors")
    assert ran.code == 1
    assert ran.out == f"{sha256_of(tiny_pim)}\tpim, format 1\t{tiny_pim}\n"
    lines = ran.err.splitlines()
    assert [part in line for line, part in zip(lines, ("short", "other", "2 of 3"), strict=True)] == [True] * 3
