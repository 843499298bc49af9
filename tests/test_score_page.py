"""The page of `pim score --report`: what it says, and how it behaves in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from PIL import Image

import pim
from pim.metrics.ruler import rulers

Cli = Callable[..., Any]
NAMES = ("a", "b<i>", "c", "d", "e", "f")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ref/ with six pictures of growing noise in near/ and far/; one name is markup."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).uniform(60, 200, (9, 12, 3)).repeat(8, 0).repeat(8, 1)
        for folder, noise in (("ref", 0), ("near", 2 + number), ("far", 20 + number)):
            Path(folder).mkdir(exist_ok=True)
            noisy = pixels + noise * np.random.default_rng(9).standard_normal(pixels.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(f"{folder}/{name}.png")
    return tmp_path


def text_of(path: str) -> str:
    """The page without its tags, style and script."""
    body = Path(path).read_text().partition("<body>")[2]
    return " ".join(re.sub(r"<script>.*</script>|<[^>]*>", " ", body, flags=re.DOTALL).split())


def test_a_page_begins_with_what_was_found(cli: Cli, here: Path) -> None:
    ran = cli("score", "ref", "far", "near", "-m", "pim", "-m", "psnr", "--report", "page.html")
    assert (ran.code, ran.err) == (0, "")
    page = text_of("page.html")
    median = float(np.median([pim.distance(f"ref/{n}.png", f"near/{n}.png") for n in NAMES]))
    words = rulers()["pim"].place(median).words
    assert f"By pim, median of 6 pictures, the closest first: near {median:.4g}, {words}; far" in page
    few = "the interval rests on 6 pictures only"
    assert (page.count(few), ran.out.count(few)) == (1, 1)
    assert page.index("By pim") < page.index("is closer than far") < page.index("Means") < page.index("Distribution")
    worst = re.findall(r"<h3><bdi>(.*?)</bdi></h3>", Path("page.html").read_text())
    assert len(worst) == 6
    assert all(title.endswith(", far") for title in worst)
    assert "b&lt;i&gt;, far" in worst


def test_pairs_as_typed_have_a_page_and_failures_are_counted(cli: Cli, here: Path) -> None:
    Path("torn.png").write_bytes(b"torn")
    ran = cli("score", "ref/a.png", "far/a.png", "torn.png", "far/a.png", "-m", "psnr", "--report", "page.html")
    assert ran.code == 1
    page = text_of("page.html")
    assert "3 images against their references" in page
    assert "1 pair failed and counts for nothing" in page
    assert "no interval: 2 pictures" in page
    assert "[low, high]" not in page
    assert "far/a.png (2)" in page
    assert "torn.png" not in page


def test_a_page_of_nothing_but_failures_says_so(cli: Cli, here: Path) -> None:
    Path("torn.png").write_bytes(b"torn")
    assert cli("score", "ref/a.png", "torn.png", "-m", "psnr", "--report", "page.html").code == 1
    assert "No pair has a value." in text_of("page.html")


def test_a_page_has_to_be_one_and_overwrites_no_input(cli: Cli, here: Path) -> None:
    assert cli("score", "ref", "far", "-m", "psnr", "--report", "page.pdf").code == 2
    Path("near/a.html").write_bytes(Path("near/a.png").read_bytes())
    ran = cli("score", "ref/a.png", "near/a.html", "-m", "psnr", "--report", "near/a.html")
    assert ran.code == 2
    assert "overwrite" in ran.err


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no Chromium in PATH")
def test_a_page_in_a_browser_fits_shows_maps_and_loads_nothing(cli: Cli, here: Path, tmp_path: Path) -> None:
    cli("score", "ref", "far", "near", "-m", "pim", "-m", "ssim", "--report", "page.html")
    with browser.page(str(browser.find()), tmp_path / "profile") as page:
        for width in (390, 1280):
            page.open(here / "page.html", width=width, dark=width == 390)
            assert page.run("document.documentElement.scrollWidth") == width
        assert page.complaints == []
        assert [address for address in page.requests if not address.startswith("data:")] == [
            (here / "page.html").as_uri()
        ] * 2
        assert page.run("document.querySelector('[data-map]').classList.contains('shown')") is False
        page.run("document.querySelector('[data-show]').click()")
        seen = "(b => document.elementFromPoint(b.left + b.width / 4, b.top + b.height / 2).alt)"
        stage = "document.querySelector('[data-stage]')"
        page.run(f"{stage}.scrollIntoView()")
        assert page.run(f"{seen}({stage}.getBoundingClientRect())").startswith(
            "map of pim, "
        )  # and not a picture above it
        assert page.run("document.querySelectorAll('.chart .line').length") == 4
