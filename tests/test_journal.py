"""An interrupted `pim score` goes on where it was, to the same table."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pim.scoring import engine

Cli = Callable[..., Any]
PARTIAL = ".out.csv.partial"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three references with three candidates each, one of them torn, and the table of all pairs."""
    monkeypatch.chdir(tmp_path)
    lines = ["reference,distorted"]
    for number in range(3):
        pixels = np.random.default_rng(number).uniform(0, 255, (72, 80, 3))
        for name, noise in (("ref", 0), ("a", 9), ("b", 30), ("c", 60)):
            noisy = pixels + noise * np.random.default_rng(9).standard_normal(pixels.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(f"{name}{number}.png")
        lines += [f"ref{number}.png,{name}{number}.png" for name in "abc"]
    Path("b1.png").write_bytes(b"torn")
    Path("pairs.csv").write_text("\n".join(lines))
    return tmp_path


def score(cli: Cli, *more: object, metrics: tuple[str, ...] = ("pim", "psnr")) -> Any:
    asked = [part for metric in metrics for part in ("-m", metric)]
    return cli("score", "--pairs", "pairs.csv", "-o", "out.csv", *asked, *more)


@pytest.fixture
def whole(cli: Cli, here: Path) -> tuple[str, str]:
    """What an undisturbed command writes, and says."""
    ran = score(cli)
    assert ran.code == 1
    assert not Path(PARTIAL).exists()
    text = Path("out.csv").read_text()
    Path("out.csv").unlink()
    return text, ran.err


@pytest.fixture
def stopped(cli: Cli, whole: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[list[str]]]:
    """`stopped(5)`: Ctrl-C ends a command at its sixth pair; what comes back fills with the pairs scored after that."""
    real, seen, ends = engine.Scorer.scores, [], []

    def scores(self: Any, batch: Any, *rest: Any) -> Any:
        if ends and len(seen) == ends[0]:
            raise KeyboardInterrupt
        seen.append([pair.pair.given.distorted for pair in batch.pairs])
        return real(self, batch, *rest)

    def stop_after(count: int) -> list[list[str]]:
        Path(PARTIAL).unlink(missing_ok=True)
        seen.clear()
        ends.append(count)
        ran = score(cli)
        assert ran.code == 130
        assert f"stopped after {count} of 9 pairs; out.csv is not written; the same command goes on" in ran.err
        ends.clear()
        seen.clear()
        return seen

    monkeypatch.setattr(engine.Scorer, "scores", scores)
    return stop_after


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_the_same_command_goes_on_to_the_same_table(
    cli: Cli, whole: tuple[str, str], stopped: Callable[[int], list[list[str]]], count: int
) -> None:
    seen = stopped(count)
    count_again = score(cli)
    assert (Path("out.csv").read_text(), count_again.err) == whole
    assert len(seen) == min(9, 9 - count + 1)  # what was missing, and the neighbour before
    assert not Path(PARTIAL).exists()


def test_other_files_settings_or_metrics_are_scored_anew(
    cli: Cli, whole: tuple[str, str], stopped: Callable[[int], list[list[str]]]
) -> None:
    seen = stopped(8)
    os.utime("a0.png", ns=(1, 1))
    score(cli)
    assert ["a0.png"] in seen
    assert ["a2.png"] not in seen
    stopped(8)
    score(cli, metrics=("psnr",))
    assert len(seen) == 9
    stopped(8)
    score(cli, "--no-align")
    assert len(seen) == 9


def test_a_torn_line_counts_for_nothing(
    cli: Cli, whole: tuple[str, str], stopped: Callable[[int], list[list[str]]]
) -> None:
    stopped(5)
    content = Path(PARTIAL).read_bytes()
    Path(PARTIAL).write_bytes(content[:-10])
    score(cli)
    assert Path("out.csv").read_text() == whole[0]


@pytest.mark.parametrize("name", ["own:f", "psnr"])  # of a built-in metric
def test_values_of_code_of_ones_own_are_never_kept(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Path("own.py").write_text(f"def f(a, b):\n    raise KeyboardInterrupt\nf.name = {name!r}\n")
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.syspath_prepend(str(here))
    ran = score(cli, metrics=("own:f",))
    assert ran.code == 130
    assert "goes on" not in ran.err
    assert not Path(PARTIAL).exists()


@pytest.mark.slow
def test_kill_9_changes_no_byte_of_a_table(process: Callable[..., Any], here: Path) -> None:
    names = sorted(path.name for path in here.glob("*.png"))
    Path("all.csv").write_text("\n".join(["reference,distorted", *(f"{a},{b}" for a in names for b in names)]))
    asked = ("score", "--pairs", "all.csv", "-m", "nlpd", "--format", "csv", "--quiet")
    expected, _ = process(*asked, cwd=here).communicate(timeout=300)
    for kills in range(2):
        running = process(*asked, "-o", "out.csv", cwd=here)
        while _done(here) < 40 * (kills + 1):
            assert running.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        assert not Path("out.csv").exists()
    process(*asked, "-o", "out.csv", cwd=here).communicate(timeout=300)
    assert Path("out.csv").read_bytes() == expected
    assert not Path(PARTIAL).exists()


def _done(folder: Path) -> int:
    path = folder / PARTIAL
    return path.read_bytes().count(b"\n") if path.exists() else 0
