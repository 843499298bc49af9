"""Runs and studies that lie where nobody can write: on a medium, in another person's folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from eval_toys import MeanAbsolute, make_plan

from pim.core.database import Database, Layout
from pim.eval.analysis import AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.run import RunOptions
from pim.eval.session import evaluate
from pim.rating.store import serving

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, so that another user can read what is in it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


BEFORE = """
import os, shutil, sys
from pathlib import Path

def read(path):
{body}

path = Path(sys.argv[1])
read(Path(sys.argv[2]))  # of a copy, for the imports: another user may not reach the modules
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    (path.parent / "probe").touch()
except OSError:
    print(read(path))
"""


@pytest.fixture
def read(folder: Path, tmp_path: Path) -> Callable[[Path, str], str]:
    """Read in a process that cannot write to the folder; root, who can, becomes somebody else first."""

    def run(path: Path, body: str) -> str:
        copy = shutil.copytree(folder, tmp_path / "copy") / path.relative_to(folder)
        everything = (folder, *folder.rglob("*"))
        for file in everything:
            file.chmod(0o555 if file.is_dir() else 0o444)
        code = BEFORE.format(body=textwrap.indent(textwrap.dedent(body), "    "))
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), str(copy)], cwd=ROOT, capture_output=True, text=True
        )
        for file in everything:
            file.chmod(0o755)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


AGAIN = """
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.estimate import IntervalOptions
    from pim.eval.session import analyse_again
    return analyse_again(path, AnalysisOptions(IntervalOptions(draws=50))).analysis.figures
"""


def test_a_run_that_cannot_be_written_is_read(folder: Path, read: Callable[[Path, str], str]) -> None:
    options = AnalysisOptions(IntervalOptions(draws=50))
    plan = make_plan(folder / "set", references=3)

    def advance(count: int = 1, note: str = "") -> None:
        """Progress that nobody looks at."""

    outcome = evaluate(
        folder / "run", plan, [MeanAbsolute()], {}, RunOptions(), options, lambda *_: nullcontext(advance)
    )
    assert read(folder / "run", AGAIN) == str(outcome.analysis.figures)


CONTENT = """
    from pim.rating.store import content
    return len(content(path).answers)
"""


def test_a_study_that_cannot_be_written_is_read(folder: Path, read: Callable[[Path, str], str]) -> None:
    with serving(folder / "study.sqlite"):
        pass
    assert read(folder / "study.sqlite", CONTENT) == "0"


ROWS = """
    from pim.core.database import Layout, to_read
    with to_read(path, Layout("", 1, "choose another")) as file:
        return file.rows("SELECT number FROM t")
"""


def test_what_a_killed_process_left_in_its_log_is_read_too(folder: Path, read: Callable[[Path, str], str]) -> None:
    path = folder / "t.sqlite"
    with closing(Database(path, Layout("CREATE TABLE t (number INTEGER);", 1, "choose another"))) as file:
        with file.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (7)")
        kept = {name: (folder / name).read_bytes() for name in ("t.sqlite", "t.sqlite-wal")}
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as plain:
        assert plain.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)  # it is all in the log
    assert read(path, ROWS) == "[(7,)]"
