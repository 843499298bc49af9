"""`pim eval`: metrics against people, on data sets with ratings."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_table, destination, one_line, progress

if TYPE_CHECKING:
    from pim.eval.analysis import MetricValues
    from pim.eval.evaluate import Evaluation
    from pim.eval.judgements import About, Judgement
    from pim.eval.scoring import Engine

EXAMPLES = """\b
Examples:
  pim eval table ratings.csv -m pim -m ssim -m psnr
  pim eval tid2013 ~/data/tid2013 -m pim --run runs/tid2013
  pim eval bapps ~/data/bapps --shift 1 --shift 2
  pim eval imagenet-c photos --generate --corruption fog --corruption gaussian_blur
  pim eval run runs/tid2013 --format json
"""

FAILURES_SHOWN = 20

Name = Literal["bapps", "tid2013", "imagenet-c", "kadid10k", "csiq", "live", "pipal", "table", "run"]


def evaluate(
    name: Annotated[Name, typer.Argument(help="Which data set; run: a run that was made before.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Its folder, or the table.")],
    metric: common.Metrics = None,
    align: common.Align = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep every value there, and continue what is there; by default runs/ and the name of the data set.",
        ),
    ] = None,
    subset: common.Subsets = None,
    distortion: common.Distortions = None,
    level: Annotated[list[int] | None, typer.Option(metavar="N", help="Only this level. May be repeated.")] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=0,
            help="Resize to this shorter side; 0 for none. By default none, and 64 for bapps, as its authors did.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there where files are missing.")
    ] = False,
    images: common.Images = None,
    higher_is_better: common.Direction = None,
    shift: Annotated[
        list[int] | None, typer.Option(metavar="PX", min=1, max=3, help="bapps: also count rank flips, shifted so far.")
    ] = None,
    clean: common.Clean = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="imagenet-c: PATH holds clean pictures; corrupt them on the fly.")
    ] = False,
    corruption: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --generate: only this one.")
    ] = None,
    frost_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="With --generate: the frost pictures.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="imagenet-c: it is Tiny-ImageNet-C, 64 x 64.")] = False,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="imagenet-c: the clean pictures are cropped to 224 x 224 already.")
    ] = False,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws of an interval.")] = 2000,
    bca: Annotated[bool, typer.Option("--bca", help="Correct intervals for bias and skewness.")] = False,
    fit: Annotated[int, typer.Option(min=4, max=5, help="Parameters of the logistic curve.")] = 4,
    rescore: Annotated[bool, typer.Option("--rescore", help="Compute again what is already there.")] = False,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Do not try failed pairs again.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Know files by content, not by size and time.")] = False,
    background: common.Background = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    values: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the value of every row, as CSV.")
    ] = None,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
    batch_size: common.BatchSize = 32,
    workers: common.Workers = 2,
    engine: common.Engine = "local",
    actors: common.Actors = None,
    seed: common.Seed = 20240229,
    quiet: common.Quiet = False,
) -> None:
    """Measure how well metrics agree with people.

    Every number comes with its n and an interval over reference pictures, and metrics are compared
    in pairs on the same rows. A run that is stopped, or killed, goes on where it was when the same
    command is given again; values made with other weights, settings or files are never reused.
    """
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.estimate import IntervalOptions
    from pim.eval.evaluate import Evaluation, folder_of
    from pim.eval.evaluate import evaluate as evaluate_set
    from pim.eval.rated import RatedSet, Selection
    from pim.eval.run import RunOptions
    from pim.eval.session import analyse_again

    options = AnalysisOptions(IntervalOptions(draws=draws, seed=seed, bca=bca), fit_parameters=fit)
    if name == "run":
        _show(Evaluation((analyse_again(path, options),)), form, target, values)
        return

    asked = RatedSet(
        name=name,
        path=path,
        allow_missing=allow_missing,
        higher_is_better=higher_is_better,
        images=images,
        clean=clean,
        generate=generate,
        corruptions=tuple(corruption or ()),
        frost=frost_dir,
        tiny=tiny,
        prepared=prepared,
        seed=seed,
    )
    here, there = common.devices(device, engine, actors)
    run_options = RunOptions(
        device=there,
        opening=common.open_options(background, None, max_pixels),
        batch_size=batch_size,
        workers=workers,
        keep_failed=keep_failed,
        rescore=rescore,
        verify=verify,
    )
    with _chosen_engine(engine, actors, workers) as chosen:
        metrics = common.load_metrics(metric, here, align)
        common.note(f"every value is kept in {folder_of(asked, run)}", quiet)
        with common.stoppable(f"what is done is kept in {folder_of(asked, run)}"):
            result = evaluate_set(
                asked,
                metrics,
                align=False,  # they are what was asked for
                run=run,
                selection=Selection(tuple(subset or ()), tuple(distortion or ()), tuple(level or ())),
                resize=resize,
                shifts=tuple(shift or ()),
                options=run_options,
                analysis=options,
                engine=chosen,
                watch=functools.partial(progress, quiet=quiet),
            )
    _show(result, form, target, values)


@contextmanager
def _chosen_engine(name: common.EngineName, actors: int | None, workers: int) -> Iterator[Engine]:
    """Who computes: this process, or Ray for as long as the block lasts."""
    if name == "local":
        from pim.eval.scoring import InThisProcess

        yield InThisProcess(workers)
        return
    from pim.eval.ray_engine import OnRay

    with OnRay(actors, workers) as engine:
        yield engine


def _show(result: Evaluation, form: common.FormatName | None, target: Path | None, values: Path | None) -> None:
    """Print tables, write single values where they are wanted, and name failures and constant metrics."""
    from pim.eval import tables

    analyses = [outcome.analysis for outcome in result.outcomes]
    failures = list(dict.fromkeys(failure for outcome in result.outcomes for failure in outcome.failures))
    if values is not None:
        runs = (outcome.run for outcome in result.outcomes)
        write_values(values, ((run.about, run.judgements, run.values) for run in runs))
    document = {"analyses": list(map(tables.document, analyses)), "flips": [vars(f) for f in result.flips]}
    rows = chain.from_iterable(map(tables.records, analyses))
    text = [*map(tables.text, analyses), *([tables.flip_text(result.flips)] if result.flips else [])]
    common.show(form, target, document, csv_table(tables.FIGURE_COLUMNS, rows), "\n".join(text))
    _complain(failures, [line for analysis in analyses for line in analysis.constant])


def write_values(path: Path, runs: Iterable[tuple[About, Sequence[Judgement], Sequence[MetricValues]]]) -> None:
    """Write what metrics said about every judgement of some data sets, as CSV."""
    from pim.eval import tables

    with destination(path) as stream:
        stream.write(csv_table(tables.VALUE_COLUMNS, chain.from_iterable(tables.value_rows(*run) for run in runs)))


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
