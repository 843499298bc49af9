"""The tutorials: their commands are typed as they stand, on a few small pictures, and end in what the pages promise."""

from __future__ import annotations

import csv
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Ran
from PIL import Image
from rated_toys import rated_table
from story_codecs import write_folders
from test_docs import blocks, commands, save_files

Cli = Callable[..., Ran]
pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader, who keeps nothing of earlier commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def typed(name: str) -> list[list[str]]:
    """The words of the commands of a tutorial, which are three at most."""
    (only,) = [code for _, code in blocks(ROOT / "docs" / name, "sh")]
    assert 2 <= len(only.replace("\\\n", "").splitlines()) <= 3
    return commands(ROOT / "docs" / name)


def texture(seed: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Something soft with edges, 8 bits."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def write(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_the_story_of_codecs(desk: Path, cli: Cli) -> None:
    for number in range(5):
        write(desk / "photos" / f"{number}.png", texture(number, 72, 80))
    write_folders(sorted((desk / "photos").iterdir()), desk)
    score, curves = typed("tutorial-codecs.md")
    ran = cli(*score)
    assert ran.code == 0, ran.err
    with (desk / "scores.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["candidate"] for line in lines} == {"jpeg30", "webp30", "avif50", "mine28"}
    assert len(lines) == 5 * 4 * 2
    said = r"(pim|psnr): \w+ \(.* bpp\) (is closer than|.*no clear difference).*of 5 pictures"
    assert re.search(said, ran.err), ran.err
    page = (desk / "page.html").read_text(encoding="utf-8")
    assert "is closer than" in page or "no clear difference" in page
    ran = cli(*curves)
    assert ran.code == 0, ran.err
    assert re.search(r"At equal pim .* in the mean of 5 pictures\.\n", ran.out)
    assert {line.split()[0] for line in ran.out.split("\n\n")[0].splitlines()[1:]} == {"mine", "jpeg", "webp", "avif"}
    assert (desk / "curves.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_story_of_ratings(desk: Path, cli: Cli) -> None:
    table = rated_table(desk, photos=4, versions=3)
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("".join(f"{','.join(row[:3])}\n" for row in rows))  # three columns, as the page shows
    evaluate, fit, report = typed("tutorial-ratings.md")
    ran = cli(*evaluate)
    assert ran.code == 0, ran.err
    told = " ".join(ran.out.split())
    assert re.search(r"agrees best with people: SRCC [\d.]+( \[[^]]*\])? on 12 rows\.", told)
    assert "With 4 references this is uncertain" in told
    ran = cli(*fit)
    assert ran.code == 0, ran.err
    assert re.search(r"(The fitted head (beats|is not shown to beat) vgg|speaks against vgg)", ran.out)
    assert cli("score", "images/0.png", "images/0_1.png", "-m", "mine.safetensors").code == 0
    assert cli(*report).code == 0
    assert "agrees best with people" in (desk / "report.html").read_text(encoding="utf-8")


def test_the_story_of_a_codec_of_ones_own(desk: Path, cli: Cli) -> None:
    """Fewer steps than the page takes; everything else is as it stands."""
    for clip in range(3):
        for t in range(2):
            write(desk / "footage" / f"clip{clip}" / f"{t}.png", texture(clip, 150, 160))
    for number in range(2):
        write(desk / "originals" / f"{number}.png", texture(9 + number, 170, 180))
    train, curves = typed("tutorial-own-codec.md")
    shorter = ("--steps", 2, "--batch-size", 2, "--patches-per-source", 2, "--largest-reduction", 1, "--held-out", 0.4)
    ran = cli(*train, *shorter, "--threads", torch.get_num_threads())
    assert (ran.code, ran.out) == (0, "mine.safetensors\n"), ran.err
    assert len(re.findall(r"lambda [\d.]+: [\d.]+ bits per pixel, [\d.]+ dB on held-out patches", ran.err)) == 5
    ran = cli(*curves)
    assert ran.code == 0, ran.err
    assert re.search(r"At equal ms-ssim \S+ needs the fewest bits, .* in the mean of 2 pictures\.\n", ran.out)
    assert (desk / "rd.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_story_of_a_network(desk: Path, cli: Cli) -> None:
    """Fewer steps than the page takes; everything else is as it stands."""
    for clip in range(3):
        still = texture(clip, 120, 140)
        for t in range(6):
            write(desk / "footage" / f"clip{clip}" / f"{t}.png", still[t : t + 100, 3 * t : 3 * t + 110])
    for number in range(5):
        write(desk / "originals" / f"{number}.png", texture(9 + number, 64, 72))
    page = ROOT / "docs" / "tutorial-network.md"
    train, score = typed(page.name)
    ran = cli(*train, "--steps", 2, "--batch-size", 16)
    assert ran.code == 0, ran.err
    assert re.search(r"the bound on 1024 pairs of 1 held-out video", ran.err)
    save_files(page, desk)
    script = (desk / "denoise.py").read_text()
    assert "python denoise.py\n" in page.read_text(encoding="utf-8")
    assert "STEPS = 1000\n" in script
    (desk / "denoise.py").write_text(script.replace("STEPS = 1000\n", "STEPS = 40\n"))
    with torch.random.fork_rng():
        runpy.run_path("denoise.py")
    ran = cli(*score)
    assert ran.code == 0, ran.err
    assert re.search(r"psnr: \w+ \(.*\) is closer than \w+ \(.*\) on \d of 5 pictures, mean difference", ran.out), (
        ran.out
    )
    assert (desk / "page.html").is_file()
