"""The table of a run: what comes back, what is kept apart, who may write, and what a kill leaves."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import inf
from pathlib import Path

import pytest

from pim.errors import DataError, PimError, UsageError
from pim.eval.store import TABLE, Score, Store, StoredRun, reading, writing

RUN = StoredRun(0, {"dataset": "toy"}, "2030-01-01T00:00:00", {"pim": "1"})


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    with writing(tmp_path / "run") as store:
        first, second = store.add_pairs([("a", "s1"), ("b", "s1")])
        metric = store.add_metric("f1", {"name": "m"})
        written = {first: Score(first, metric, inf), second: Score(second, metric, None, "unreadable")}
        store.write(written.values(), {first: True, second: False}, {"a.png": "PNG"})
    with reading(tmp_path / "run") as store:
        assert store.scores(metric) == written
        assert store.identical() == {first}
        assert store.pictures() == {"a.png": "PNG"}
        assert [m.description for m in store.metrics()] == [{"name": "m"}]


def test_a_changed_file_or_another_metric_finds_no_old_value(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        (pair,) = store.add_pairs([("a", "old")])
        metric = store.add_metric("weights 1", {})
        store.write([Score(pair, metric, 1.0)], {}, {})
        assert store.add_pairs([("a", "old")]) == [pair]
        assert store.add_pairs([("a", "new")]) != [pair]
        assert store.scores(store.add_metric("weights 2", {})) == {}
        assert store.scores(store.add_metric("weights 1", {})) == {pair: Score(pair, metric, 1.0)}


def test_the_run_asked_for_last_is_the_last_one(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        first = store.add_run("f1", RUN, [{"key": "a"}, {"key": "b"}])
        second = store.add_run("f2", StoredRun(0, {}, "2030-01-02T00:00:00", {}), [])
        assert [run.run for run in store.runs()] == [first, second]
        assert store.add_run("f1", StoredRun(0, {}, "2030-01-03T00:00:00", {}), []) == first
        assert [run.run for run in store.runs()] == [second, first]
        assert store.records(first) == [{"key": "a"}, {"key": "b"}]


def test_new_values_ask_for_another_check(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        (pair,) = store.add_pairs([("a", "s")])
        metric = store.add_metric("f", {})
        store.mark_checked(metric)
        assert store.metrics()[0].checked
        store.write([Score(pair, metric, 1.0)], {}, {})
        assert not store.metrics()[0].checked


def test_forgotten_values_are_gone(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        (pair,) = store.add_pairs([("a", "s")])
        metrics = [store.add_metric(name, {}) for name in "fg"]
        store.write([Score(pair, metric, 1.0) for metric in metrics], {}, {})
        store.forget(metrics[0])
        assert [len(store.scores(metric)) for metric in metrics] == [0, 1]


def test_a_second_process_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from pim.eval.store import writing; writing(Path({str(tmp_path)!r})).__enter__()"
    with writing(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"another process is at work in {tmp_path}" in done.stderr
    assert UsageError.exit_code == 2
    with writing(tmp_path):  # the lock is free again
        pass


def test_readers_that_come_while_the_tables_are_made_find_them(tmp_path: Path) -> None:
    def look(folder: Path) -> int:
        gate.wait()
        with reading(folder) as store:
            return len(store.runs())

    gate = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        for attempt in range(15):
            folder = tmp_path / str(attempt)
            folder.mkdir()
            (folder / TABLE).touch()
            assert list(pool.map(look, [folder] * 6)) == [0] * 6


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        (pair,) = store.add_pairs([("a", "s")])
        metric = store.add_metric("f", {})
        with pytest.raises(PimError):
            store.write([Score(pair, metric, 1.0), Score(pair, None, 1.0)], {}, {})  # type: ignore[arg-type]
        assert store.scores(metric) == {}


def test_a_full_disk_is_reported_and_committed_rows_stay(tmp_path: Path) -> None:
    with writing(tmp_path) as store:
        (pair,) = store.add_pairs([("a", "s")])
        metric = store.add_metric("f", {})
        store.write([Score(pair, metric, 1.0)], {}, {})
        limit(store)
        with pytest.raises(PimError, match="full.*What was committed is kept"):
            store.write([], {}, {f"{i}.png": "x" * 1000 for i in range(1000)})
    with reading(tmp_path) as store:
        assert store.scores(metric) == {pair: Score(pair, metric, 1.0)}


def limit(store: Store) -> None:
    """No more pages than there are: what a full disk does to SQLite."""
    pages = store._database.connection.execute("PRAGMA page_count").fetchone()[0]
    store._database.connection.execute(f"PRAGMA max_page_count = {pages}")


def test_foreign_damaged_and_missing_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the folder of a run"), reading(tmp_path):
        pass
    (tmp_path / TABLE).write_bytes(b"this is not a table" * 100)
    with pytest.raises(DataError, match="damaged"), reading(tmp_path):
        pass
    (tmp_path / TABLE).unlink()
    connection = sqlite3.connect(tmp_path / TABLE)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE x (y)")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="version 99, this program reads 1"), reading(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PimError, match="cannot work in"), writing(tmp_path / "file" / "run"):
        pass


@pytest.mark.slow
def test_no_committed_row_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        from pathlib import Path
        from pim.eval.store import Score, writing
        with writing(Path({str(tmp_path)!r})) as store:
            ids = store.add_pairs([(str(i), "s") for i in range(100000)])
            metric = store.add_metric("f", {{}})
            for start in range(0, 100000, 50):
                store.write([Score(i, metric, float(i)) for i in ids[start:start + 50]], {{}}, {{}})
                print(start + 50, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(20)]
    process.kill()
    rest = process.communicate()[0].split()
    told = int((said + rest)[-1])
    with writing(tmp_path) as store:
        scores = store.scores(1)
        assert len(scores) >= told
        assert len(scores) % 50 == 0
        assert store._rows("PRAGMA integrity_check") == [("ok",)]


def test_a_database_of_another_kind_with_the_same_version_is_named(tmp_path: Path) -> None:
    from pim.rating import store as ratings

    with ratings.serving(tmp_path / TABLE):
        pass
    with closing(sqlite3.connect(tmp_path / TABLE)) as other:
        other.execute("PRAGMA user_version = 1")
    with pytest.raises(DataError, match=r"is a database of another kind; choose another --run"), reading(tmp_path):
        pass


def test_a_run_folder_is_one_under_every_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with (
        writing(tmp_path / "run"),
        pytest.raises(UsageError, match="another process is at work"),
        writing(tmp_path / "link"),
    ):
        pass
