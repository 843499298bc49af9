"""Tables in parts: the rows of a CSV, made here or on Ray, killed and continued."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import many_pairs
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Ran
from harness import write_pairs

from pim.errors import UsageError
from pim.metrics.custom import CustomMetric
from pim.scoring.cluster import Actor, Cluster
from pim.scoring.engine import batches, numbered
from pim.scoring.parts import in_order, on_ray, parts_of
from pim.scoring.pictures import Reading

pytest.importorskip("pyarrow")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")

Cli = Callable[..., Ran]
METRIC = """
import os, time

def slow(reference, distorted):
    time.sleep(float(os.environ.get("SLOW", 0)))
    return (reference - distorted).square().mean((1, 2, 3))
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pairs of 130 pictures of 33 references, one of them broken, with further columns; mine.py is a metric."""
    pairs = write_pairs(tmp_path, 130, 4, (32, 32))
    rows = [(a.name, b.name, number % 4, "a, b") for number, (a, b) in enumerate(pairs)]
    pd.DataFrame(rows, columns=["reference", "distorted", "level", "note"]).to_csv(tmp_path / "pairs.csv", index=False)
    broken = pairs[70][1]
    broken.write_bytes(broken.read_bytes()[:-40])
    (tmp_path / "mine.py").write_text(METRIC)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pairs.csv"


def rows_of(path: str) -> list[dict[str, Any]]:
    """The rows of a CSV or of all parts, with None where there is nothing."""
    if path.endswith(".csv"):  # by Python's float: that of pandas may be off by the last bit
        with Path(path).open(newline="", encoding="utf-8") as stream:
            return [{name: _cell(name, text) for name, text in row.items()} for row in csv.DictReader(stream)]
    frame = pd.read_parquet(path)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _cell(name: str, text: str) -> object:
    if not text or name in ("level", "note", "error", "picture"):
        return text or None
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def test_a_table_in_parts_has_the_rows_of_a_csv(cli: Cli, table: Path) -> None:
    asked = ("score", "--pairs", table, "-m", "psnr", "-m", "ssim", "--batch-size", 4)
    first, second = cli(*asked, "-o", "out.csv"), cli(*asked, "-o", "out.parquet")
    assert (first.code, second.code) == (1, 1)
    assert first.err == second.err  # the broken picture, and how many failed
    assert rows_of("out.parquet") == rows_of("out.csv")
    assert len(rows_of("out.csv")) == 260
    assert sorted(path.name for path in Path("out.parquet").iterdir()) == [f"part-00000{i}.parquet" for i in range(3)]
    assert not Path(".out.parquet.partial").exists()


def test_changes_and_sizes_of_folders_are_columns_too(cli: Cli, table: Path, tmp_path: Path) -> None:
    for folder in ("originals", "coded"):
        (tmp_path / folder).mkdir()
        (tmp_path / f"{'r' if folder == 'originals' else 'd'}0.png").rename(tmp_path / folder / "0.png")
    asked = ("score", "originals", "coded", "-m", "psnr", "--align", "--resize")
    cli(*asked, "-o", "out.csv")
    assert cli(*asked, "-o", "out.parquet").code == 0
    (row,), (expected,) = rows_of("out.parquet"), rows_of("out.csv")
    assert row == expected
    assert row["bytes"] == (tmp_path / "coded" / "0.png").stat().st_size


def test_columns_of_the_pairs_are_text_whatever_they_are_called(cli: Cli, table: Path) -> None:
    table.write_text("reference,distorted,bytes,contrast\nr0.png,d0.png,12 kB,low\n")
    assert cli("score", "--pairs", table, "-m", "psnr", "-o", "out.parquet").code == 0
    (row,) = rows_of("out.parquet")
    assert (row["bytes"], row["contrast"]) == ("12 kB", "low")


def test_what_is_there_is_not_computed_again_and_what_differs_is(cli: Cli, table: Path) -> None:
    asked = ("score", "--pairs", table, "-m", "psnr", "-o", "out.parquet")
    cli(*asked)
    expected = rows_of("out.parquet")
    Path("out.parquet").rename(".out.parquet.partial")  # as a command leaves it that is killed at its very end
    parts = [Path(".out.parquet.partial", f"part-00000{i}.parquet") for i in range(3)]
    before = [path.stat().st_ino for path in parts]
    parts[0].write_bytes(parts[0].read_bytes()[:-9])  # damaged
    Path("d120.png").touch()  # of the last part
    Path(".out.parquet.partial", "part-000009.parquet").touch()  # of a longer table
    assert cli(*asked).code == 1
    after = [Path("out.parquet", path.name).stat().st_ino for path in parts]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, False]
    assert rows_of("out.parquet") == expected


def test_a_complete_table_is_told_again_and_another_is_refused(cli: Cli, table: Path) -> None:
    asked = ("score", "--pairs", table, "-o", "out.parquet")
    first = cli(*asked, "-m", "psnr")
    again = cli(*asked, "-m", "psnr")
    assert (again.code, again.err) == (first.code, first.err)
    other = cli(*asked, "-m", "ssim")
    assert other.code == 2
    assert "out.parquet is there, with other pairs, metrics or settings" in other.err
    assert {row["metric"] for row in rows_of("out.parquet")} == {"psnr"}
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:53]))  # the pairs of its first part
    assert cli(*asked, "-m", "psnr").err == other.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "pairs.parquet"), "is a file"),
        (("-o", "out.parquet", "--report", "page.html"), "without --report"),
        (("-o", "out.parquet", "--actors", "2"), "--actors is for --engine ray"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, table: Path, options: tuple[str, ...], said: str) -> None:
    Path("pairs.parquet").write_bytes(b"a file")
    ran = cli("score", "--pairs", table, "-m", "psnr", *options)
    assert ran.code == 2
    assert said in ran.err


def test_a_limit_looks_at_tables_in_parts(
    cli: Cli, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ("score", "--pairs", table, "-m", "mine:slow", "-o", "out.parquet", "--quiet")
    cli(*asked)
    values = [row["value"] for row in rows_of("out.parquet") if row["value"] is not None]
    limit = float(np.sort(values)[-3])
    ran = cli(*asked, "--fail-above", repr(limit))
    assert ran.err.count("is above") == 2


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_parts_hold_the_batches_of_the_whole_list(table: Path, batch_size: int) -> None:
    pairs = [("r0.png" if number % 5 else f"r{4 * number}.png", f"d{number}.png") for number in range(130)]
    whole = list(batches((numbered(pair, at) for at, pair in enumerate(pairs)), batch_size))
    parts = list(parts_of(pairs, batch_size, 20))
    assert len(parts) > 3
    assert [pair for part in parts for pair in part.pairs] == pairs
    found = [batch for part in parts for batch in part.batches]
    assert [[pair.both() for pair in b.pairs] for b in found] == [[pair.both() for pair in b.pairs] for b in whole]
    assert [batch.recurring for batch in found] == [batch.recurring for batch in whole]


def test_parts_that_come_in_any_order_are_put_in_theirs() -> None:
    found: Any = [(2, ["e"]), (0, ["a", "b"]), (3, ["f"]), (1, ["c", "d"])]
    assert "".join(in_order(found)) == "abcdef"  # type: ignore[arg-type]


@needs_ray
def test_ray_gets_no_pixels() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match=r"pair 0\[distorted\] is held by this process"):
        next(on_ray(parts_of([("a.png", image)], 1), [], "cpu", None, 1))  # type: ignore[arg-type]


@needs_ray
@pytest.mark.slow
def test_a_driver_and_an_actor_are_killed_and_the_table_is_that_of_one_process(
    cli: Cli, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ("-m", "mine:slow", "-m", "psnr")
    cli("score", "--pairs", table.name, *asked, "-o", "local.parquet")
    told = many_pairs.killed(table, tmp_path / "ray.parquet", [1], *asked, "--actors", "2", SLOW="0.1")
    assert told["parts at start 1"] == 0
    assert 1 <= told["parts at start 2"] < 3
    assert told["exit code"] == 1  # the broken picture
    assert rows_of("ray.parquet") == rows_of("local.parquet")


@needs_ray
def test_a_metric_that_cannot_go_to_actors_is_refused() -> None:
    metric = CustomMetric(lambda x, y: (x - y).square().mean((1, 2, 3)), "mine")
    metric.lock = threading.Lock()
    with pytest.raises(UsageError, match="mine cannot be sent to actors of Ray: cannot pickle"):
        list(Cluster(1).ask([0], Actor, [metric], "cpu", Reading()))


@pytest.mark.slow
def test_what_a_pair_costs_is_counted_without_the_start(table: Path, tmp_path: Path) -> None:
    Path("d70.png").write_bytes(Path("d71.png").read_bytes())
    pd.read_csv(table)[:10].to_csv("start.csv", index=False)
    found = many_pairs.timed(table, tmp_path / "start.csv", tmp_path / "out.parquet", "-m", "psnr")
    assert found["start s"] > 0
    assert 0 < found["start CPU s"] < 100
    assert len(rows_of("pairs-out.parquet")) == 130


FROM_PYTHON = """
import pim
from pim.metrics.classics import PSNR

class Mine(PSNR):
    name = "mine"

pairs = [("r0.png", f"d{number}.png") for number in range(130)]
asked = {"metrics": ["psnr", "ssim", "mine.py:slow", Mine()], "align": False}
local = list(pim.score(pairs, **asked))
shared = list(pim.score(pairs, **asked, engine="ray", actors=2))
assert [s.pair for s in shared] == pairs
assert [(s.values, [str(e) for e in s.errors.values()], s.decodings) for s in shared] == [
    (s.values, [str(e) for e in s.errors.values()], s.decodings) for s in local
]
print(len(shared))
"""


@needs_ray
@pytest.mark.slow
def test_scores_from_python_come_in_order(table: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FROM_PYTHON],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_ADDRESS": "local"}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "130\n"), done.stderr
