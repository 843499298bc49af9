"""How far a long command is: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pim.cli.common import progress

if TYPE_CHECKING:
    from pim.eval.run import Advance

EVERY = 30.0  # seconds between lines


@contextmanager
def shown(label: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    """Show it; the arguments are those of `pim.cli.common.progress`."""
    if sys.stderr.isatty():
        with _bar(label, total, unit, done) as advance:
            yield advance
    else:
        yield _Lines(label, total, unit, done)


@contextmanager
def downloading(name: str, size: int, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show how a download gets on, of a size in bytes, about; 0 if unknown.

    Yields:
        To be called with the bytes that are here, as `pim.datasets.fetch.fetch` does.
    """
    with progress(f"fetch {name}", size or None, unit="bytes", quiet=quiet) as advance:
        here = 0

        def moved(now: int, _: int | None) -> None:
            nonlocal here
            advance(now - here)
            here = now

        yield moved


def describe(done: int, total: int | None, unit: str, rate: float) -> str:
    """How far, how fast (items per second), how long still.

    >>> describe(50, 200, "pairs", 2.5)
    '50 of 200 pairs, 2.5 per second, 1:00 left'
    """
    scale = 1e6 if unit == "bytes" else 1
    digits = ".1f" if unit == "bytes" else ".0f"
    count = f"{done / scale:{digits}}" + ("" if total is None else f" of {total / scale:{digits}}")
    text = f"{count} {'MB' if unit == 'bytes' else unit}, {rate / scale:.3g} per second"
    if total is None or rate <= 0:
        return text
    minutes, seconds = divmod(round((total - done) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{text}, " + (f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left")


class _Lines:
    """A line whenever the last one is old enough."""

    def __init__(self, label: str, total: int | None, unit: str, done: int) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.first = done
        self.start = self.last = time.monotonic()

    def __call__(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        self.last = now
        text = describe(self.done, self.total, self.unit, (self.done - self.first) / (now - self.start))
        print(f"pim: {self.label}: {text}" + (f"; {note}" if note else ""), file=sys.stderr, flush=True)


@contextmanager
def _bar(label: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn(label), BarColumn(), TextColumn("{task.fields[state]}", markup=False))
    # Data on stdout must not pass through the bar, which belongs to stderr.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(label, total=total, completed=done, state="")
        start, first = time.monotonic(), done

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done
            done += count
            rate = (done - first) / max(time.monotonic() - start, 1e-9)
            state = describe(done, total, unit, rate) + (f"; {note}" if note else "")
            bar.update(task, completed=done, state=state)

        yield advance
