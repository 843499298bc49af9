"""`pim score --fail-above`: what is too far is named, and ends a build."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from PIL import Image
from test_docs import blocks

from pim.cli.common import short

Cli = Callable[..., Any]


@pytest.fixture
def shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of approved and new screenshots; `orders` has its button elsewhere, `help` another shade of green."""
    namespace: dict[str, Any] = {}
    ((_, code),) = blocks(ROOT / "docs" / "screenshots.md", "python")
    exec(code.partition("\napproved =")[0], namespace)
    page: Callable[..., Image.Image] = namespace["page"]
    for folder, moved in (("approved", 20), ("now", 28)):
        (tmp_path / "screenshots" / folder).mkdir(parents=True)
        page(20, colour="#00aa66" if moved == 20 else "#00aa77").save(tmp_path / "screenshots" / folder / "help.png")
        page(moved).save(tmp_path / "screenshots" / folder / "orders.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "screenshots"


def values(cli: Cli, *asked: object) -> list[float]:
    return [float(line.split(",")[3]) for line in cli("score", *asked, "--format", "csv").out.splitlines()[1:]]


def test_a_pair_fails_above_the_limit_and_not_at_it(cli: Cli, shots: Path) -> None:
    pair = ("screenshots/approved/orders.png", "screenshots/now/orders.png", "-m", "nlpd")
    (value,) = values(cli, *pair)
    ran = cli("score", *pair, "--fail-above", repr(value))
    assert (ran.code, ran.err) == (0, "")
    below = 0.999 * value
    ran = cli("score", *pair, "--fail-above", repr(below))
    assert (ran.code, ran.out) == (1, f"{short(value)}\t{pair[1]}\n")
    assert ran.err == (
        f"pim: {pair[1]}: nlpd {short(value)} is above {short(below)}\n"
        f"pim: 1 of 1 pairs differ by more than {short(below)}\n"
    )


def test_equal_pictures_pass_even_at_nothing(cli: Cli, shots: Path) -> None:
    same = "screenshots/now/orders.png"
    assert cli("score", same, same, "-m", "nlpd", "--fail-above", 0).code == 0


def test_of_a_table_those_above_are_named_and_the_output_is_whole(cli: Cli, shots: Path) -> None:
    rows = [f"approved/{name}.png,now/{name}.png" for name in ("help", "orders", "gone")]
    (shots / "pairs.csv").write_text("\n".join(["reference,distorted", *rows]))
    (shots / "now" / "gone.png").write_bytes(b"no picture")
    asked = ("--pairs", shots / "pairs.csv", "-m", "nlpd", "-o", "out.csv")
    ran = cli("score", *asked, "--fail-above", 0.02)
    assert ran.code == 1
    assert re.findall(r"pim: (now/\w+).*is above", ran.err) == ["now/orders"]
    assert "1 of 3 pairs failed" in ran.err
    assert "1 of 3 pairs differ" in ran.err
    assert len(Path("out.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "psnr", "--fail-above", "30"), "for distances, and psnr is higher where pictures are alike"),
        (("-m", "nlpd", "-m", "pim-1", "--fail-above", "1"), "one metric; got nlpd, pim-1"),
        (("-m", "nlpd", "--fail-above", "nan"), "at least 0; got nan"),
        (("-m", "nlpd", "--fail-above", "-1"), "at least 0; got -1"),
    ],
)
def test_a_limit_without_a_sense_is_refused_before_scoring(
    cli: Cli, shots: Path, options: tuple[str, ...], said: str
) -> None:
    ran = cli("score", "screenshots/approved", "screenshots/now", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["workflow.yml", "pre-commit-config.yaml"])
def test_the_command_of_an_example_fails_for_what_moved(cli: Cli, shots: Path, name: str) -> None:
    text = (ROOT / "examples" / "screenshots" / name).read_text()
    (line,) = re.findall(r"(?:run|entry): pim (.*)", text)
    ran = cli(*shlex.split(line))
    assert ran.code == 1
    assert re.findall(r"pim: (\S+): pim \S+ is above 0.05", ran.err) == ["screenshots/now/orders.png"]
    (shots / "now" / "orders.png").replace(shots / "approved" / "orders.png")  # approved
    Image.open(shots / "approved" / "orders.png").save(shots / "now" / "orders.png")
    assert cli(*shlex.split(line)).code == 0
