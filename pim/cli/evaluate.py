"""`pim eval`: metrics against people, on data sets with ratings."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common, evaluation
from pim.cli.common import progress

if TYPE_CHECKING:
    from pim.eval.analysis import AnalysisOptions

EXAMPLES = """\b
Examples:
  pim eval table ratings.csv -m pim -m ssim -m psnr
  pim eval tid2013 ~/data/tid2013 -m pim --run runs/tid2013
  pim eval bapps ~/data/bapps --shift 1 --shift 2
  pim eval imagenet-c photos --generate --corruption fog --corruption gaussian_blur
  pim eval run runs/tid2013 --format json
"""

Name = Literal["bapps", "tid2013", "imagenet-c", "kadid10k", "csiq", "live", "pipal", "table", "run"]


def evaluate(
    name: Annotated[Name, typer.Argument(show_default=False, help="Which data set; run: a run that was made before.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", show_default=False, help="Its folder, or the table.")],
    metric: common.Metrics = None,
    align: common.Align = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            show_default=False,
            help="Keep every value there, and continue what is there; by default runs/ and the name of the data set.",
        ),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", metavar="NAME", show_default=False, help="Only rows of this subset. May be repeated."),
    ] = None,
    distortion: Annotated[
        list[str] | None,
        typer.Option("--distortion", metavar="NAME", show_default=False, help="Only this type. May be repeated."),
    ] = None,
    level: Annotated[
        list[int] | None,
        typer.Option("--level", metavar="N", show_default=False, help="Only this level. May be repeated."),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            "--resize",
            metavar="PX",
            min=0,
            show_default=False,
            help="Resize to this shorter side; 0 for none. By default none, and 64 for bapps, as its authors did.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there where files are missing.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", show_default=False, help="Where paths of a table start.")
    ] = None,
    higher_is_better: Annotated[
        bool | None,
        typer.Option(
            "--higher-is-better/--lower-is-better", show_default=False, help="What the scores of a table mean."
        ),
    ] = None,
    shift: Annotated[
        list[int] | None,
        typer.Option(
            "--shift",
            metavar="PX",
            min=1,
            max=3,
            show_default=False,
            help="bapps: also count rank flips, shifted so far.",
        ),
    ] = None,
    clean: Annotated[
        Path | None,
        typer.Option("--clean", metavar="DIR", show_default=False, help="imagenet-c: the clean pictures."),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="imagenet-c: PATH holds clean pictures; corrupt them on the fly.")
    ] = False,
    corruption: Annotated[
        list[str] | None,
        typer.Option("--corruption", metavar="NAME", show_default=False, help="With --generate: only this one."),
    ] = None,
    frost_dir: Annotated[
        Path | None,
        typer.Option("--frost-dir", metavar="DIR", show_default=False, help="With --generate: the frost pictures."),
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="imagenet-c: it is Tiny-ImageNet-C, 64 x 64.")] = False,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="imagenet-c: the clean pictures are cropped to 224 x 224 already.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws of an interval.")] = 2000,
    bca: Annotated[bool, typer.Option("--bca", help="Correct intervals for bias and skewness.")] = False,
    fit: Annotated[int, typer.Option("--fit", min=4, max=5, help="Parameters of the logistic curve.")] = 4,
    rescore: Annotated[bool, typer.Option("--rescore", help="Compute again what is already there.")] = False,
    keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Do not try failed pairs again.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Know files by content, not by size and time.")] = False,
    background: common.Background = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    values: Annotated[
        Path | None,
        typer.Option("--values", metavar="FILE", show_default=False, help="Also write the value of every row, as CSV."),
    ] = None,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
    batch_size: common.BatchSize = 32,
    workers: common.Workers = 2,
    engine: Annotated[
        evaluation.EngineName,
        typer.Option("--engine", help="Who computes: this process, or the actors of a Ray cluster (pim-metric[ray])."),
    ] = "local",
    actors: Annotated[
        int | None,
        typer.Option(
            "--actors",
            metavar="N",
            min=1,
            show_default=False,
            help="With --engine ray: how many; by default one for each CPU, or each GPU, of the cluster.",
        ),
    ] = None,
    seed: common.Seed = 20240229,
    quiet: common.Quiet = False,
) -> None:
    """Measure how well metrics agree with people.

    Every number comes with its n and an interval over reference pictures, and metrics are compared
    in pairs on the same rows. A run that is stopped, or killed, goes on where it was when the same
    command is given again; values made with other weights, settings or files are never reused.
    """
    options = _analysis_options(draws, seed, bca, fit)
    form = common.chosen_format(form, target)
    if name == "run":
        evaluation.show(evaluation.again(path, options), form, target, values)
        return
    owned = {
        "--shift": shift,
        "--images": images,
        "--higher-is-better": higher_is_better is not None,
        "--clean": clean,
        "--generate": generate,
        "--corruption": corruption,
        "--frost-dir": frost_dir,
        "--tiny": tiny,
        "--prepared": prepared,
    }
    evaluation.check_options(name, owned)
    from pim.eval.evaluate import evaluate as evaluate_set
    from pim.eval.evaluate import folder_of
    from pim.eval.rated import RatedSet, Selection
    from pim.eval.run import RunOptions

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
    far = engine == "ray" and device != "auto"  # the device is one of the actors'; this machine need not have it
    run_options = RunOptions(
        device=device if far else common.chosen_device(device),
        opening=common.open_options(background, None, max_pixels),
        batch_size=batch_size,
        workers=workers,
        keep_failed=keep_failed,
        rescore=rescore,
        verify=verify,
    )
    with evaluation.chosen_engine(engine, actors, workers) as chosen:
        metrics = common.load_metrics(metric, "cpu" if far else device, align)
        common.note(f"every value is kept in {folder_of(asked, run)}", quiet)
        try:
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
        except KeyboardInterrupt:
            kept = f"what is done is kept in {folder_of(asked, run)}"
            raise common.Interrupted(f"stopped; {kept}, the same command continues") from None
    evaluation.show(result, form, target, values)


def _analysis_options(draws: int, seed: int, bca: bool, fit: int) -> AnalysisOptions:
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.estimate import IntervalOptions

    return AnalysisOptions(IntervalOptions(draws=draws, seed=seed, bca=bca), fit_parameters=fit)
