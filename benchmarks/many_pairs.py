"""What a table in parts costs here and on Ray, and whether it survives `kill -9`.

python benchmarks/many_pairs.py --metric psnr --pairs 20000 --output many_pairs.json

Seconds of CPU are those of all processes of a command: on a busy machine they say more than seconds of a clock. A run
of 100 pairs is taken off, as the start.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from harness import write_pairs
from timing import report, setting

ROOT = Path(__file__).resolve().parents[1]
START = 100  # pairs of the run that is taken off
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """What a command came to."""

    code: int
    seconds: float
    cpu: float  # seconds of all its processes
    driver: float  # seconds of CPU of the first one alone
    memory: float  # MiB of the first one, at most


class Command:
    """`pim score --pairs ... -o FOLDER.parquet` in a process of its own, and all that it starts.

    Args:
        table: The pairs.
        output: The folder of parts.
        options: Further ones.
        environment: Further variables.
    """

    def __init__(self, table: Path, output: Path, *options: str, **environment: str) -> None:
        self.parts = output.with_name(f".{output.name}.partial")
        self._mark = f"PIM_MANY_PAIRS={output.resolve()}"
        marked = dict([self._mark.split("=", 1)])
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pim", "score", "--pairs", table.name, "-o", str(output), "--quiet", *options],
            cwd=table.parent,
            env={**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": paths, **marked, **environment},
        )
        self.began = time.perf_counter()

    def wait(self) -> Used:
        """Wait for the end; CPU and memory are those up to half a second before."""
        used, driver, memory = dict[int, float](), 0.0, 0.0
        while self.process.poll() is None:
            for pid in self.processes():
                with suppress(OSError, IndexError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    used[pid] = (int(fields[11]) + int(fields[12])) / TICK
                    if pid == self.process.pid:
                        driver = used[pid]
                        peak = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]
                        memory = int(peak) / 1024
            time.sleep(0.5)
        seconds = time.perf_counter() - self.began
        return Used(self.process.returncode, seconds, sum(used.values()), driver, memory)

    def processes(self, name: str = "") -> list[int]:
        """The processes that this command has started, and itself; of those only some by what they are called."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # gone meanwhile
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found += [int(entry.name)] * (name.encode() in (entry / "cmdline").read_bytes())
        return found

    def kill_after(self, parts: int, whom: Callable[[], int]) -> None:
        """Kill a process once so many parts are there, or nothing if the command ends before; SIGKILL asks nobody."""
        while self.process.poll() is None and len(list(self.parts.glob("part-*"))) < parts:
            time.sleep(0.05)
        if self.process.poll() is None:
            os.kill(whom(), signal.SIGKILL)

    def gone(self) -> None:
        """Wait until no process of this command is left."""
        self.process.wait()
        while self.processes():
            time.sleep(0.1)


def killed(table: Path, output: Path, at: Sequence[int], *options: str, **environment: str) -> dict[str, int]:
    """Kill the command as often as numbers of parts are given, then an actor of the last one; let that end.

    Returns:
        The exit code, and how many parts each command has found.
    """
    found = {}
    for number, parts in enumerate(at):
        command = Command(table, output, "--engine", "ray", *options, **environment)
        found[f"parts at start {number + 1}"] = len(list(command.parts.glob("part-*")))
        command.kill_after(parts, lambda command=command: command.process.pid)  # type: ignore[misc]
        command.gone()
    last = Command(table, output, "--engine", "ray", *options, **environment)
    there = len(list(last.parts.glob("part-*")))
    last.kill_after(there + 1, lambda: last.processes("MapWorker")[0])
    return {**found, f"parts at start {len(at) + 1}": there, "exit code": last.wait().code}


def timed(table: Path, start: Path, output: Path, *options: str) -> dict[str, float | None]:
    """Seconds of a run, without those of one of few pairs."""
    few, all_ = (
        Command(pairs, output.with_name(f"{pairs.stem}-{output.name}"), *options).wait() for pairs in (start, table)
    )
    if all_.code:
        raise SystemExit(f"pim score {' '.join(options)} ended with {all_.code}")
    pairs = len(pd.read_csv(table)) - len(pd.read_csv(start))
    return {
        "start s": few.seconds,
        "start CPU s": few.cpu,
        "ms per pair": 1000 * (all_.seconds - few.seconds) / pairs,
        "CPU ms per pair": 1000 * (all_.cpu - few.cpu) / pairs,
        "of these in the driver": 1000 * (all_.driver - few.driver) / pairs,
        "kB per pair in the driver": 1024 * (all_.memory - few.memory) / pairs,
    }


def main() -> None:
    """Write the files, time, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", action="append", help="may be repeated; by default psnr")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--size", default="64x64", help="width and height")
    parser.add_argument("--actors", type=int, action="append", help="may be repeated; by default 1 and 2")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pairs = write_pairs(home, asked.pairs, 4, (width, height))
        frame = pd.DataFrame([(a.name, b.name) for a, b in pairs], columns=["reference", "distorted"])
        frame.to_csv(home / "pairs.csv", index=False)
        frame[:START].to_csv(home / "start.csv", index=False)
        tables = home / "pairs.csv", home / "start.csv"
        for metric in asked.metric or ["psnr"]:
            engines = {"local": ["--workers", "1"]}
            engines |= {f"ray, {n}": ["--engine", "ray", "--actors", str(n)] for n in asked.actors or [1, 2]}
            for engine, options in engines.items():
                made = timed(*tables, home / f"{engine}-{metric}.parquet", "-m", metric, *options)
                if engine == "local":  # it computes as well
                    made |= dict.fromkeys(("of these in the driver", "kB per pair in the driver"))
                rows.append({"metric": metric, "engine": engine, **made})
                print(rows[-1], flush=True)
            local = pd.read_parquet(home / f"pairs-local-{metric}.parquet")
            parts = len(list((home / f"pairs-local-{metric}.parquet").iterdir()))
            at = [parts // 3, 2 * parts // 3]
            output = home / f"killed-{metric}.parquet"
            told = killed(tables[0], output, at, "-m", metric, "--actors", "2", "--workers", "1")
            others = [pd.read_parquet(home / f"pairs-{engine}-{metric}.parquet") for engine in engines]
            equal = all(local.equals(other) for other in [*others, pd.read_parquet(output)])
            rows[-len(engines) :] = [{**row, **told, "all tables equal": equal} for row in rows[-len(engines) :]]
    report(rows, setting(pairs=f"{asked.pairs} of {asked.size}"), asked.output)


if __name__ == "__main__":
    main()
