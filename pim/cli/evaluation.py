"""What `pim eval` prints, and which of its options belong together."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_line, destination, json_text, one_line, progress
from pim.errors import UsageError
from pim.eval.rated import Selection as Selection
from pim.eval.rated import looked_at as looked_at_quietly

if TYPE_CHECKING:
    from pim.datasets.dataset import Dataset
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.evaluate import Evaluation
    from pim.eval.scoring import Engine

EngineName = Literal["local", "ray"]

FAILURES_SHOWN = 20


@contextmanager
def chosen_engine(name: EngineName, actors: int | None, workers: int) -> Iterator[Engine]:
    """Who computes: this process, or Ray for as long as the block lasts.

    Raises:
        UsageError: if ray is not installed, or actors are asked of this process.
    """
    if name == "local":
        if actors is not None:
            raise UsageError("--actors is for --engine ray; --workers is how many threads open pictures here")
        from pim.eval.scoring import InThisProcess

        yield InThisProcess(workers)
        return
    from pim.eval.ray_engine import OnRay

    with OnRay(actors, workers) as engine:
        yield engine


def looked_at(dataset: Dataset, allow_missing: bool, quiet: bool) -> Dataset:
    """Look at the pictures of a data set, with progress; see `pim.eval.rated.looked_at`."""
    return looked_at_quietly(dataset, allow_missing, functools.partial(progress, quiet=quiet))


def show(result: Evaluation, form: common.FormatName, target: Path | None, values: Path | None) -> None:
    """Print tables, write single values where they are wanted, and name failures and constant metrics.

    Raises:
        typer.Exit: with code 1 if there is one of these.
    """
    from pim.eval import tables

    analyses = [outcome.analysis for outcome in result.outcomes]
    failures = list(dict.fromkeys(failure for outcome in result.outcomes for failure in outcome.failures))
    if values is not None:
        with destination(values) as stream:
            stream.write(csv_line(tables.VALUE_COLUMNS))
            for run in (outcome.run for outcome in result.outcomes):
                lines = tables.value_rows(run.about, run.judgements, run.values)
                stream.writelines(csv_line(line.values()) for line in lines)
    with destination(target) as stream:
        if form == "json":
            documents = [tables.document(analysis) for analysis in analyses]
            stream.write(json_text({"analyses": documents, "flips": [vars(f) for f in result.flips]}))
        elif form == "csv":
            stream.write(csv_line(tables.FIGURE_COLUMNS))
            rows = [row for analysis in analyses for row in tables.records(analysis)]
            stream.writelines(csv_line(row[column] for column in tables.FIGURE_COLUMNS) for row in rows)
        else:
            parts = [tables.text(analysis) for analysis in analyses]
            stream.write("\n".join([*parts, *([tables.flip_text(result.flips)] if result.flips else [])]))
    _complain(failures, [line for analysis in analyses for line in analysis.constant])


def _complain(failures: Sequence[str], constant: Sequence[str]) -> None:
    for failure in failures[:FAILURES_SHOWN]:
        common.note(one_line(failure))
    if failures:
        rest = len(failures) - FAILURES_SHOWN
        more = f", {rest} of them not shown" if rest > 0 else ""
        common.note(f"{len(failures)} failed{more}; their rows are left out")
    for line in constant:
        common.note(f"{line}; it cannot agree with anybody")
    if failures or constant:
        raise typer.Exit(1)


def again(folder: Path, options: AnalysisOptions) -> Evaluation:
    """The numbers of a finished run, without its images.

    Raises:
        DataError: if there is no finished run.
    """
    from pim.eval.evaluate import Evaluation
    from pim.eval.session import analyse_again

    return Evaluation((analyse_again(folder, options),))


def check_options(name: str, given: dict[str, Any]) -> None:
    """That options belong to the data set they were given for.

    Args:
        name: Of the data set.
        given: By option, what was typed; None, False or empty where nothing was.

    Raises:
        UsageError: naming the first that does not belong.
    """
    for option, value in given.items():
        owner = OWNERS[option]
        if value not in (None, False, [], ()) and owner != name:
            raise UsageError(f"{option} is for pim eval {owner}, not for {name}")


OWNERS = {
    "--shift": "bapps",
    "--images": "table",
    "--higher-is-better": "table",
    "--clean": "imagenet-c",
    "--generate": "imagenet-c",
    "--corruption": "imagenet-c",
    "--frost-dir": "imagenet-c",
    "--tiny": "imagenet-c",
    "--prepared": "imagenet-c",
}
