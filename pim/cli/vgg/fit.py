"""`pim fit`: weights of the VGG metric from what people said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import destination, json_text, progress
from pim.cli.evaluate import write_values
from pim.cli.vgg import fitting
from pim.errors import UsageError
from pim.eval.rated import Selection

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.eval.analysis import Analysis, MetricValues
    from pim.eval.estimate import IntervalOptions
    from pim.eval.judgements import Plan
    from pim.eval.run import Advance
    from vggmetric.fitting.bench import Bench
    from vggmetric.fitting.fit import Fit, FitSettings
    from vggmetric.fitting.source import VGGQuantities

EXAMPLES = """\b
Examples:
  pim fit ratings.csv -o head.safetensors
  pim fit bapps=data/bapps tid2013=data/tid2013 -o head.safetensors --form channel
  pim fit ratings.csv -o head.safetensors --prior uniform -m ssim -m pim
  pim eval table others.csv -m head.safetensors -m ssim
"""


def fit(
    paths: fitting.Paths,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The head, .safetensors.")],
    backbone: fitting.Backbone = "tv1k",
    form: Annotated[
        Literal["layer", "channel", "auto"],
        typer.Option(
            help="A factor for each layer of the prior, a weight for each channel, or whichever held-out photos are "
            "better with; the prior is kept where neither beats it."
        ),
    ] = "auto",
    norm: fitting.Norm = "unit",
    pool: fitting.Pool = "max",
    prior: fitting.Prior = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Leave a layer or block1 to block5 out.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="Also compare with this metric. May be repeated."),
    ] = None,
    trained_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The data set that a table is a part of, such as tid2013: pim eval will say that it is no blind test.",
        ),
    ] = None,
    subset: common.Subsets = None,
    distortion: common.Distortions = None,
    images: common.Images = None,
    higher_is_better: common.Direction = None,
    allow_missing: fitting.AllowMissing = False,
    split: fitting.Half = "train",
    folds: fitting.Folds = 5,
    equal: fitting.Equal = False,
    draws: fitting.Draws = 2000,
    resamples: Annotated[int, typer.Option(min=0, help="Of photos, for standard errors of the layers' shares.")] = 200,
    cache: fitting.Cache = None,
    values: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write held-out distances, as CSV.")] = None,
    form_of_text: Annotated[Literal["text", "json"], typer.Option("--format", help="Of what is printed.")] = "text",
    background: common.Background = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    device: common.Device = "auto",
    workers: common.Workers = 2,
    seed: common.Seed = 20240229,
    quiet: common.Quiet = False,
) -> None:
    """Fit the VGG metric to your raters.

    Photos are held out in turn, and every number about agreement is about photos that the weights
    had not seen, with an interval. What is computed of the pictures is kept: a second fit of the same
    pictures takes seconds, and one that was killed goes on. Writes the head, and its story beside it
    as .json.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors; got {output}")
    others = common.load_metrics(metric, device) if metric else []
    opening = common.open_options(background, None, max_pixels)
    setting = fitting.Setting(backbone, norm, pool, folds, equal, seed, cache, opening, device, workers, quiet, prior)
    source = fitting.source_of(setting)
    selection = Selection(tuple(subset or ()), tuple(distortion or ()))
    plans = fitting.plans(paths, images, higher_is_better, split, selection, allow_missing, quiet)
    from pim.eval.estimate import IntervalOptions
    from vggmetric.fitting.fit import FitSettings

    with common.alone_with(output):
        bench = fitting.gather(plans, source, setting)
        if without:
            bench = bench.without([layer for name in without for layer in source.layout.named(name)])
        begun = fitting.prior_of(setting)
        known_as = (*(trained_on or ()), *(begun[1].story.get("trained_on", ()) if begun else ()))
        intervals = IntervalOptions(draws=draws, seed=seed)
        fitted = _fit(bench, source, FitSettings(form, intervals, resamples, known_as), setting)
        compared = _compared(fitted, bench, others, output, setting, intervals)
        _write(fitted, bench, compared, output, values)
    _print(fitted, bench, compared, form_of_text)
    common.note(f"the head is {output}, its story {output.with_suffix('.json')}", quiet)


def _fit(bench: Bench, source: VGGQuantities, settings: FitSettings, setting: fitting.Setting) -> Fit:
    from vggmetric.fitting.fit import fit_head
    from vggmetric.fitting.forms import fits_needed

    total = fits_needed("layer" if settings.form == "layer" else "channel", bench.split.folds)
    with (
        fitting.solver(bench, setting) as solve,
        progress("fitting", total, unit="fits", quiet=setting.quiet) as advance,
    ):
        return fit_head(bench, source, settings, solve=solve, advance=advance)


def _compared(
    fitted: Fit,
    bench: Bench,
    others: Sequence[Metric],
    output: Path,
    setting: fitting.Setting,
    intervals: IntervalOptions,
) -> list[tuple[Plan, list[MetricValues], Analysis]]:
    """Held-out distances beside other metrics, data set by data set."""
    from pim.eval.analysis import AnalysisOptions, analyse

    found = []
    for number, plan in enumerate(bench.ratings.plans):
        values = _held_out(fitted, bench, number)
        if others:
            values += _scored(plan, others, output.with_suffix(".runs") / plan.about.dataset.replace("/", "_"), setting)
        options = AnalysisOptions(intervals, baseline=next(iter(fitted.lines)))
        found.append((plan, values, analyse(plan.about, plan.judgements, values, options)))
    return found


def _held_out(fitted: Fit, bench: Bench, number: int) -> list[MetricValues]:
    """The distances of a data set under weights that saw none of its photos."""
    from pim.eval.analysis import MetricValues

    plan, part = bench.ratings.plans[number], bench.ratings.part(number)
    found = []
    for name, distance in fitted.lines.items():
        of_set = distance[part]
        rows = tuple(tuple(float(of_set[place]) for place in j.pairs) for j in plan.judgements)
        description = {"name": name, "lower_is_better": True, "value_range": ["0.0", "inf"], "weights_hash": None}
        found.append(MetricValues(description, rows))
    return found


def _scored(plan: Plan, others: Sequence[Metric], folder: Path, setting: fitting.Setting) -> list[MetricValues]:
    """What other metrics say, kept in a run folder beside the head."""
    from pim.eval.analysis import AnalysisOptions
    from pim.eval.run import RunOptions
    from pim.eval.session import evaluate

    def watch(total: int, done: int) -> AbstractContextManager[Advance]:
        return progress("other metrics", total, done=done, quiet=setting.quiet)

    options = RunOptions(common.chosen_device(setting.device), setting.opening, workers=setting.workers)
    with fitting.kept(folder):
        outcome = evaluate(folder, plan, others, {}, options, AnalysisOptions(), watch)
    if outcome.failures:
        common.note(f"{len(outcome.failures)} values are missing; the first: {outcome.failures[0]}")
    return list(outcome.run.values)


def _write(
    fitted: Fit,
    bench: Bench,
    compared: list[tuple[Plan, list[MetricValues], Analysis]],
    output: Path,
    values: Path | None,
) -> None:
    from pim.core.files import write_text
    from pim.eval import tables
    from vggmetric.fitting.fit import document

    fitted.head.write(output)
    analyses = [tables.document(analysis) for _, _, analysis in compared]
    write_text(output.with_suffix(".json"), json_text({**document(fitted, bench), "analyses": analyses}))
    if values is not None:
        write_values(values, ((plan.about, plan.judgements, found) for plan, found, _ in compared))


def _print(
    fitted: Fit, bench: Bench, compared: list[tuple[Plan, list[MetricValues], Analysis]], form: Literal["text", "json"]
) -> None:
    from pim.eval import tables
    from vggmetric.fitting.fit import document
    from vggmetric.fitting.report import text

    with destination(None) as stream:
        if form == "json":
            stream.write(json_text(document(fitted, bench)))
            return
        stream.write(text(fitted, bench))
        if any(len(values) > len(fitted.lines) for _, values, _ in compared):
            stream.writelines("\n" + tables.text(analysis) for _, _, analysis in compared)
