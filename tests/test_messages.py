"""Messages that name the right thing, before anything slow is imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

import pim
from pim.errors import InputError, UsageError
from pim.metrics.registry import built_in, check_name, spelled

Cli = Callable[..., Any]
PAIR = ("examples/reference.png", "examples/distorted.png")
WRONG = [
    ("score", *PAIR, "-m", "psrn"),
    ("score", *PAIR, "-m", "psnr,ssim"),
    ("score", *PAIR, "-o", "out.xlsx"),
    ("score", *PAIR, "--report", "page.pdf"),
    ("score", "examples", "nowhere"),
    ("score", *PAIR, "--metrik", "psnr"),
    ("compare", *PAIR, PAIR[0], "-m", "psrn"),
    ("compare", *PAIR, PAIR[0], "-o", "out.xlsx"),
    ("map", *PAIR, "-o", "map.png", "-m", "psrn"),
    ("map", *PAIR, "-o", "map.doc"),
    ("metrics", "-o", "out.xlsx"),
]
CODE = """
import sys
from pim.cli.app import run
for line in {wrong!r}:
    assert run(line) == 2, line
    assert "torch" not in sys.modules, line
"""


def test_typing_errors_are_found_before_torch_is_imported() -> None:
    command = [sys.executable, "-c", CODE.format(wrong=WRONG)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(WRONG)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("-m", "psnr,ms_ssim"), "name each on its own: -m psnr -m ms_ssim"),
        (("-o", "out.xlsx"), "out.xlsx may end in .txt, .json or .csv; for .xlsx say --format too"),
    ],
)
def test_the_message_says_what_to_type(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(ROOT)
    ran = cli("score", *PAIR, *line)
    assert ran.code == 2
    assert said in ran.err


def test_a_format_makes_any_ending_right(cli: Cli, tmp_path: Path) -> None:
    pair = [ROOT / name for name in PAIR]
    assert cli("score", *pair, "-m", "psnr", "--format", "csv", "-o", tmp_path / "out.log").code == 0
    assert (tmp_path / "out.log").read_text().startswith("reference,")


@pytest.mark.parametrize(
    ("usual", "name"),
    [
        ("PSNR", "psnr"),
        ("ms_ssim", "ms-ssim"),
        ("MSSSIM", "ms-ssim"),
        ("LPIPS", "lpips-alex"),
        ("Lpips_VGG", "lpips-vgg"),
    ],
)
def test_usual_spellings_are_understood(usual: str, name: str) -> None:
    check_name(usual)
    assert spelled(usual) == name
    assert name in built_in()


def test_a_spelling_gives_the_metric_everywhere(cli: Cli) -> None:
    images = torch.rand(2, 3, 32, 32)
    assert pim.load("PSNR").name == "psnr"
    assert pim.distance(images[0], images[1], "PSNR") == pim.distance(images[0], images[1], "psnr")
    pair = [ROOT / name for name in PAIR]
    assert [
        line.split("\t")[1] for line in cli("score", *pair, "-m", "PSNR", "-m", "psnr", "-m", "SSIM").out.splitlines()
    ] == [
        "psnr",
        "ssim",
    ]


@pytest.mark.parametrize("name", ["psrn", "ssim-2", "ps nr"])
def test_what_is_no_spelling_stays_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="unknown metric"):
        check_name(name)


def test_a_loss_called_in_the_order_of_torch_says_so() -> None:
    reference, loss = torch.rand(1, 3, 32, 32), pim.loss.Distortion("ssim")
    made = (reference + 0.5).requires_grad_()
    loss(reference, made).backward()  # what overshoots is allowed where it was made
    with pytest.raises(
        InputError, match="reference must lie in .* the reference comes first, what a network made second"
    ):
        loss(made, reference)
    with pytest.raises(InputError) as plain:
        loss(made.detach(), reference)
    assert "comes first" not in str(plain.value)


def test_the_list_of_metrics_fits_a_terminal_and_ends_with_what_is_for_what(cli: Cli) -> None:
    lines = cli("metrics").out.splitlines()
    assert max(map(len, lines)) <= 80
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in lines[-5:]:
        job, metrics = [part.strip() for part in line.split("  ") if part.strip()][:2]
        row = next(row for row in readme.splitlines() if row.startswith(f"| {job} |"))
        assert all(f"`{name}`" in row or name == "any" for name in metrics.split(", "))
