"""A run in which other tests are skipped than expected is a failed run.

With PIM_EXPECT_SKIPS=N in the environment, as in .ci/run, a run that skips more or fewer than N tests
names them and ends with exit code 1. Without it, skipping is free.
"""

from __future__ import annotations

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    expected = os.environ.get("PIM_EXPECT_SKIPS")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if expected is None or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if len(skipped) == int(expected):
        return
    reporter.write_line(f"\n\nPIM_EXPECT_SKIPS={expected}, but {len(skipped)} were skipped:", red=True)
    for report in skipped:
        reporter.write_line(f"  {report.nodeid}: {report.longrepr[2]}")
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
