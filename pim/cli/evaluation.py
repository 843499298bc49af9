"""What `pim eval` does: find the data set, score what is missing, print what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from pim.cli import common
from pim.cli.output import csv_line, destination, json_text, one_line
from pim.cli.progress import Advance, progress
from pim.errors import DataError, UsageError

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.datasets.dataset import Dataset
    from pim.datasets.imagenet_c import Variant
    from pim.datasets.records import AnyRecord
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.flips import Flips
    from pim.eval.judgements import Plan
    from pim.eval.plan import Treatment
    from pim.eval.run import RunOptions
    from pim.eval.scoring import Engine
    from pim.eval.session import Outcome

EngineName = Literal["local", "ray"]

FAILURES_SHOWN = 20
LOOKED_AT = 200_000  # rows; the sizes of pictures of larger sets are not looked at beforehand


@dataclass(frozen=True)
class Source:
    """Where a data set is and how it is read."""

    name: str  # as typed
    path: Path
    allow_missing: bool
    higher_is_better: bool | None  # of a table
    images: Path | None  # of a table
    clean: Path | None  # of imagenet-c
    generate: bool
    corruptions: tuple[str, ...]
    frost: Path | None
    tiny: bool  # imagenet-c: the variant of 64 x 64
    prepared: bool  # imagenet-c: clean pictures are cropped already
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values with whole paths, to be noted in the run; `from_request` reads them."""
        return {name: str(v.resolve()) if isinstance(v, Path) else v for name, v in vars(self).items()}

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> Source:
        """What a run noted."""
        noted = request["source"]
        paths = {name: noted[name] and Path(noted[name]) for name in ("path", "images", "clean", "frost")}
        return cls(**{**noted, **paths, "corruptions": tuple(noted["corruptions"])})


@dataclass(frozen=True)
class Selection:
    """Which rows to take; empty: all."""

    subsets: tuple[str, ...]
    distortions: tuple[str, ...]
    levels: tuple[int, ...]

    def keep(self) -> Callable[[AnyRecord], bool] | None:
        """The filter; None if everything is taken."""
        if not (self.subsets or self.distortions or self.levels):
            return None
        return lambda record: (
            (not self.subsets or not set(self.subsets).isdisjoint(record.subsets))
            and (not self.distortions or record.distortion in self.distortions)
            and (not self.levels or record.level in self.levels)
        )


@dataclass(frozen=True)
class Asked:
    """Everything that the command line asked for."""

    source: Source
    selection: Selection
    folder: Path | None  # of the run; None: runs/ and the name of the data set
    resize: int | None  # shorter side; 0: as it is; None: what the data set is known for
    shifts: tuple[int, ...]
    run: RunOptions
    analysis: AnalysisOptions
    engine: Engine
    quiet: bool


@dataclass(frozen=True)
class Result:
    """What there is to print."""

    outcomes: list[Outcome]
    flips: list[Flips]


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


def perform(asked: Asked, metrics: Sequence[Metric]) -> Result:
    """Evaluate the metrics on every part of the data set.

    Raises:
        PimError: if the data set cannot be scored, or the run cannot go on.
    """
    result = Result([], [])
    for dataset in datasets(asked.source):
        dataset = _with_floor(looked_at(dataset, asked.source.allow_missing, asked.quiet), asked.source)
        folder = asked.folder or Path("runs") / asked.source.name
        folder = folder / dataset.name if asked.source.name == "bapps" else folder
        common.note(f"every value is kept in {folder}", asked.quiet)
        side = dataset.protocol_side if asked.resize is None else asked.resize or None
        if asked.shifts and dataset.kind == "two_afc":
            _shifted(asked, dataset, metrics, folder, side, result)
            continue
        result.outcomes.append(_one(asked, dataset, metrics, folder, _treatment(side, None)))
    return result


def _treatment(side: int | None, shift: int | None) -> Treatment:
    from pim.eval.plan import Treatment

    return Treatment(shorter_side=side, shift=shift)


def _shifted(
    asked: Asked, dataset: Dataset, metrics: Sequence[Metric], folder: Path, side: int | None, result: Result
) -> None:
    """Every shift as a run of its own, and how often the order of the candidates flips against no shift."""
    from pim.eval.flips import flips

    runs = []
    for shift in (0, *asked.shifts):
        result.outcomes.append(_one(asked, dataset, metrics, folder / f"shift-{shift}", _treatment(side, shift)))
        runs.append(result.outcomes[-1].run)
    for shift, run in zip(asked.shifts, runs[1:], strict=True):
        pairs = zip(runs[0].values, run.values, strict=True)
        result.flips.extend(flips(run.judgements, still, moved, shift) for still, moved in pairs)


def _one(asked: Asked, dataset: Dataset, metrics: Sequence[Metric], folder: Path, treatment: Treatment) -> Outcome:
    from pim.eval.plan import plan_of
    from pim.eval.session import evaluate

    plan = plan_of(dataset, treatment, asked.selection.keep())
    source = asked.source
    request = {"source": source.as_dict(), "selection": vars(asked.selection), "treatment": vars(treatment)}

    def watch(total: int, done: int) -> AbstractContextManager[Advance]:
        return progress(dataset.name, total, done=done, quiet=asked.quiet)

    with _interruptible(folder):
        return evaluate(folder, plan, metrics, request, asked.run, asked.analysis, watch, asked.engine)


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise common.Interrupted(f"stopped; what is done is kept in {folder}, the same command continues") from None


def datasets(source: Source) -> list[Dataset]:
    """The data sets behind a name: one, or the halves of BAPPS that are there.

    Raises:
        UsageError: if the name or an option does not fit.
        ManifestError: if there is no such data set at the path.
    """
    from pim.datasets import bapps, csiq, imagenet_c, kadid10k, live, pipal, table, tid2013
    from pim.datasets.corruptions import Recipe

    path = source.path
    variant: Variant = "tiny-imagenet-c" if source.tiny else "imagenet-c"
    readers = {"tid2013": tid2013.read, "kadid10k": kadid10k.read, "csiq": csiq.read, "live": live.read}
    match source.name:
        case "bapps":
            halves = bapps.holds(path)
            found = [bapps.read_2afc(path)] if "2afc" in halves or "jnd" not in halves else []
            return [*found, *([bapps.read_jnd(path)] if "jnd" in halves else [])]
        case "imagenet-c" if source.generate:
            recipe = Recipe(variant, source.frost)
            return [imagenet_c.generated(path, source.corruptions, seed=source.seed, recipe=recipe)]
        case "imagenet-c":
            return [imagenet_c.read(path, source.clean, crop=not source.prepared, variant=variant)]
        case "table":
            return [table.read(path, source.images, source.higher_is_better)]
        case "pipal":
            return [pipal.read(path)]
        case name:
            return [readers[name](path)]


def plan_again(request: Mapping[str, Any], name: str) -> Plan:
    """The pictures of a run that was made before, from what it noted.

    Args:
        request: Of the run.
        name: Of its data set; a folder may hold several.

    Raises:
        PimError: if the data set is no longer there.
    """
    from pim.eval.plan import Treatment, plan_of

    source = Source.from_request(request)
    selection = Selection(**{key: tuple(chosen) for key, chosen in request["selection"].items()})
    for dataset in datasets(source):
        if dataset.name == name:
            return plan_of(_with_floor(dataset, source), Treatment(**request["treatment"]), selection.keep())
    raise DataError(f"{source.path} does not hold {name} any more")


def _with_floor(dataset: Dataset, source: Source) -> Dataset:
    from pim.eval.plan import with_jpeg_floor

    return with_jpeg_floor(dataset) if source.name == "imagenet-c" else dataset


def looked_at(dataset: Dataset, allow_missing: bool, quiet: bool) -> Dataset:
    """The data set, fit to be scored; files that turn out unreadable will fail one by one.

    Args:
        dataset: As read.
        allow_missing: Be content with the rows whose files are there.
        quiet: Show no progress.

    Raises:
        ManifestError: if it must not be scored.
    """
    from pim.datasets.pictures import check_pictures

    dataset.require_whole(allow_missing)
    if len(dataset) <= LOOKED_AT:
        with progress("look", len(dataset), unit="rows", quiet=quiet) as advance:
            dataset = check_pictures(dataset, progress=advance)
        dataset.require_whole(allow_missing=True)
    return dataset


def show(result: Result, form: common.FormatName, target: Path | None, values: Path | None) -> None:
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


def again(folder: Path, options: AnalysisOptions) -> Result:
    """The numbers of a finished run, without its images.

    Raises:
        DataError: if there is no finished run.
    """
    from pim.eval.session import analyse_again

    return Result([analyse_again(folder, options)], [])


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
