"""The count of skipped tests, in small runs of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CASES = """
import pytest

def test_good(): pass
def test_skipped(): pytest.skip("no sun today")
@pytest.mark.xfail
def test_bad(): assert False
"""


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize(("expected", "code"), [(None, 0), ("1", 0), ("0", 1), ("2", 1)])
def test_another_number_of_skipped_tests_fails_the_run(
    tmp_path: Path, expected: str | None, code: int, processes: str
) -> None:
    (tmp_path / "conftest.py").write_text("from skips import pytest_sessionfinish\n")
    (tmp_path / "test_cases.py").write_text(CASES)
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    for name in ("PIM_EXPECT_SKIPS", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    if expected is not None:
        environment["PIM_EXPECT_SKIPS"] = expected
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-n", processes],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    assert ("test_skipped: Skipped: no sun today" in done.stdout) == bool(code)
    assert done.stdout.splitlines()[-1].startswith("=")
    assert "1 passed, 1 skipped, 1 xfailed" in done.stdout.splitlines()[-1]
