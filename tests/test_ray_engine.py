"""`--engine ray`: the table of a single process, made by many; killed, continued, and gone without a trace."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Ran
from eval_toys import MeanAbsolute, make_plan, make_toy

from pim.core.metric import Metric
from pim.errors import PimError, UsageError
from pim.eval.judgements import PlannedPair
from pim.eval.ray_engine import JobActor, pieces
from pim.eval.run import RunOptions, recurring, score
from pim.eval.scoring import InThisProcess, Job, Scored, waves
from pim.eval.store import reading, writing
from pim.images.opener import OpenOptions
from pim.scoring.fingerprint import describe
from pim.scoring.pictures import Reading

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")

Values = dict[tuple[str, str], tuple[float | None, str | None]]


def values(folder: Path) -> Values:
    """Every value and message of a run by pair and metric, however they are numbered."""
    with reading(folder) as store:
        keys = dict(store._rows("SELECT pair_id, key FROM pairs"))
        return {
            (keys[pair], metric.fingerprint): (row.value, row.message)
            for metric in store.metrics()
            for pair, row in store.scores(metric.metric).items()
        }


def job_of(pairs: Sequence[PlannedPair], batch_size: int, wanted: frozenset[int]) -> Job:
    every = tuple(waves([pair.reference.name for pair in pairs], batch_size))
    return Job(every, pairs, (wanted,), recurring(pairs), OpenOptions(), "cpu")


class Dealt:
    """An engine that deals a job out as the actors get it, and lets one after the other do its part."""

    def perform(self, job: Job, metrics: Sequence[Metric]) -> Iterator[Scored]:
        for piece in pieces(job, 2):
            yield from InThisProcess(0).perform(piece, metrics)


@pytest.mark.parametrize("actors", [1, 2, 7])
def test_pieces_hold_every_wave_once_and_only_what_belongs_to_it(tmp_path: Path, actors: int) -> None:
    plan = make_plan(tmp_path, references=9, levels=3)
    job = job_of(plan.pairs, 4, frozenset(range(0, len(plan.pairs), 2)))
    parts = list(pieces(job, actors))
    assert len(parts) >= min(actors, len(job.waves))
    assert tuple(wave for part in parts for wave in part.waves) == job.waves
    for part in parts:
        places = {place for wave in part.waves for place in wave}
        assert part.pairs == {place: plan.pairs[place] for place in places}
        assert part.wanted == (job.wanted[0] & places,)
        assert part.recurring == {p for pair in part.pairs.values() for p in pair.both()} & job.recurring


def test_pieces_of_a_large_job_are_of_bounded_size(tmp_path: Path) -> None:
    pair = make_plan(tmp_path, references=1, levels=1, types=("noise",)).pairs[0]
    job = job_of([replace(pair, key=str(number)) for number in range(1000)], 4, frozenset(range(1000)))
    assert {len(part.pairs) for part in pieces(job, 2)} == {16, 8}


def test_a_divided_plan_gives_the_same_bits(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "set", references=9)
    (tmp_path / "set" / "r1_shift_2.png").write_bytes(b"no picture")

    def run(folder: Path, engine: Dealt | None = None) -> tuple[str, ...]:
        with writing(folder) as store:
            ids = store.add_pairs([(pair.key, pair.stamp(False)) for pair in plan.pairs])
            options = RunOptions(batch_size=4)
            return score(store, plan.pairs, ids, [MeanAbsolute()], options, lambda *_: nullcontext(_ignore), engine)

    assert run(tmp_path / "whole") == run(tmp_path / "dealt", engine=Dealt())
    assert values(tmp_path / "whole") == values(tmp_path / "dealt")


def _ignore(count: int = 1, note: str = "") -> None:
    """Progress that nobody looks at."""


def asked(metric: Metric, job: Job, **changed: object) -> object:
    expected = describe(metric, job.device, job.opening) | changed
    (answer,) = JobActor([metric], [expected], job.device, Reading(workers=0))({"question": [job]})["answer"]
    return answer


def test_an_actor_with_other_versions_says_so_instead_of_computing(tmp_path: Path) -> None:
    job = job_of(make_plan(tmp_path, references=1).pairs, 4, frozenset({0}))
    assert not isinstance(asked(MeanAbsolute(), job), PimError)
    answer = asked(MeanAbsolute(), job, libraries={"torch": "0.1"})
    assert isinstance(answer, PimError)
    assert "would compute mean-absolute with another libraries than this process" in str(answer)


def test_a_metric_that_cannot_be_used_is_an_answer_too(tmp_path: Path) -> None:
    class Shapeless(MeanAbsolute):
        def _compare(self, features: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
            return super()._compare(features, distorted)[:, None]

    job = job_of(make_plan(tmp_path, references=1).pairs, 4, frozenset({0}))
    assert isinstance(asked(Shapeless(), job), UsageError)


def test_without_ray_the_command_says_what_to_install(
    cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = cli("eval", "table", tmp_path / "t.csv", "-m", "psnr", "--engine", "ray")
    assert (ran.code, ran.out) == (2, "")
    assert "pip install 'pim-metric[ray]'" in ran.err
    assert ran.err.count("\n") == 1


def test_actors_belong_to_ray(cli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cli("eval", "table", tmp_path / "t.csv", "-m", "psnr", "--actors", 2)
    assert ran.code == 2
    assert "--actors is for --engine ray" in ran.err


METRIC = """
import os, time

def slow(reference, distorted):
    time.sleep(float(os.environ.get("SLOW", 0)))
    return (reference - distorted).square().mean((1, 2, 3))
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in an actor, which has one CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Opinions of 320 pictures of 20 references, one of them broken; mine.py with a metric lies beside the folder."""
    dataset = make_toy(tmp_path / "set", references=20, levels=8)
    path = tmp_path / "set" / "ratings.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("reference", "distorted", "score", "distortion", "level"))
        for row in dataset.records():
            names = [Path(str(picture)).name for picture in row.pairs[0]]
            writer.writerow((*names, row.value, row.distortion, row.level))
    picture = tmp_path / "set" / "r3_shift_2.png"
    picture.write_bytes(picture.read_bytes()[:-40])
    (tmp_path / "mine.py").write_text(METRIC)
    return path


def processes_with(mark: str) -> list[int]:
    """Processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:  # gone meanwhile
            continue
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"waited two minutes until {what}")


@needs_ray
@pytest.mark.slow
def test_a_killed_run_on_ray_ends_in_the_table_of_a_single_process(
    table: Path,
    tmp_path: Path,
    cli: Callable[..., Ran],
    process: Callable[..., subprocess.Popen[bytes]],
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = (
        "eval",
        "table",
        "set/ratings.csv",
        "--higher-is-better",
        "-m",
        "mine:slow",
        "-m",
        "psnr",
        "--draws",
        100,
    )
    local = cli(*command, "--run", "local", "--quiet")
    assert local.code == 1
    on_ray = (*command, "--run", "shared out", "--engine", "ray", "--actors", 2, "--quiet")
    mark = f"PIM_TEST_MARK={tmp_path}"
    environment = {"RAY_ADDRESS": "local", "OMP_NUM_THREADS": "1", "PIM_TEST_MARK": str(tmp_path)}

    killed = process(*on_ray, cwd=tmp_path, SLOW="0.3", **environment)
    folder = tmp_path / "shared out"
    wait_until(lambda: (folder / "scores.sqlite").exists() and bool(values(folder)), "a value came")
    killed.kill()
    killed.wait()
    assert 0 < len(values(folder)) < len(values(tmp_path / "local"))
    wait_until(lambda: not processes_with(mark), "all that the killed process began was gone")

    again = process(*on_ray, cwd=tmp_path, **environment)
    out, err = again.communicate()
    assert (again.returncode, out.decode()) == (local.code, local.out)
    assert err.decode() == local.err
    assert values(folder) == values(tmp_path / "local")  # bit for bit, and the same message for the broken picture
    wait_until(lambda: not processes_with(mark), "Ray was gone")


OTHER_TABLES = """
import json, sys
from pathlib import Path
from contextlib import nullcontext
from pim.datasets import table
from pim.eval.analysis import AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import plan_of
from pim.eval.ray_engine import OnRay
from pim.eval.run import RunOptions
from pim.eval.scoring import InThisProcess
from pim.eval.session import evaluate
from pim.metrics.registry import load

root = Path(sys.argv[1])
with OnRay(actors=1) as ray:
    for name in ("choices", "quadruples"):
        plan = plan_of(table.read(root / f"{name}.csv"))
        for engine in (InThisProcess(1), ray):
            outcome = evaluate(
                root / f"{name}-{type(engine).__name__}", plan, [load("psnr"), load("ssim")], {"table": name},
                RunOptions(), AnalysisOptions(IntervalOptions(draws=100)),
                lambda *_: nullcontext(lambda count=1, note="": None), engine,
            )
            print(json.dumps([str(figure) for figure in outcome.analysis.figures]))
"""


@needs_ray
@pytest.mark.slow
def test_choices_and_quadruples_on_ray_equal_those_of_a_single_process(tmp_path: Path) -> None:
    make_toy(tmp_path, references=12, levels=6)
    rng = np.random.default_rng(0)
    choices, quadruples = ["reference,a,b,prefer_b"], ["p0,p1,q0,q1,judge"]
    for r in range(12):
        for level in range(1, 6):
            names = [f"r{r}.png", f"r{r}_noise_{level}.png", f"r{r}_shift_{level}.png"]
            choices.append(",".join([*names, f"{rng.uniform():.2f}"]))
            quadruples.append(",".join([names[0], names[1], names[2], f"r{r}_noise_6.png", f"{rng.uniform():.2f}"]))
    (tmp_path / "choices.csv").write_text("\n".join(choices))
    (tmp_path / "quadruples.csv").write_text("\n".join(quadruples))
    done = subprocess.run(
        [sys.executable, "-c", OTHER_TABLES, str(tmp_path)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_ADDRESS": "local"}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(figures) == 4
    assert figures[0] == figures[1] != []
    assert figures[2] == figures[3] != []
    for name in ("choices", "quadruples"):
        found = values(tmp_path / f"{name}-InThisProcess")
        assert len(found) == 2 * 120
        assert values(tmp_path / f"{name}-OnRay") == found
