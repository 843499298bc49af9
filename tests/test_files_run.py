"""How much of the code runs for a command: what one has to read to know what it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

COUNT = """
import os, sys
{code}
ours = {{
    module.__file__
    for name, module in sys.modules.items()
    if name.partition(".")[0] in ("pim", "vggmetric", "ntc") and getattr(module, "__file__", None)
}}
print(*sorted(os.path.relpath(file) for file in ours if os.path.getsize(file)), sep="\\n", file=sys.stderr)
"""
RUN = "from pim.cli.app import run; assert run(sys.argv[1:]) == 0"


def files(code: str, *arguments: str | Path) -> list[str]:
    """The files of the project, but for empty ones, of which code runs."""
    command = [sys.executable, "-c", COUNT.format(code=code), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if line.endswith(".py")]


def test_ssim_needs_few_modules() -> None:
    found = files("import pim; pim.load('ssim')")
    assert len(found) <= 12, found


@pytest.mark.parametrize(("metric", "most"), [("psnr", 25), ("pim", 25)])
def test_a_score_runs_few_files(metric: str, most: int) -> None:
    found = files(RUN, "score", "examples/reference.png", "examples/distorted.png", "-m", metric)
    assert len(found) <= most, found


def test_an_evaluation_of_a_table_runs_few_files(tmp_path: Path) -> None:
    images = [ROOT / "examples" / name for name in ("reference.png", "distorted.png")]
    (tmp_path / "ratings.csv").write_text(f"reference,distorted,score\n{images[0]},{images[1]},3\n")
    found = files(
        RUN,
        *("eval", "table", tmp_path / "ratings.csv", "--higher-is-better", "-m", "psnr"),
        *("--run", tmp_path / "run", "--draws", "100", "--quiet"),
    )
    assert len(found) <= 60, found


def test_the_count_sees_what_runs() -> None:
    assert "pim/metrics/registry.py" in files("import pim.metrics.registry")
    assert len(files("import pim.eval.evaluate")) > len(files("import pim"))
