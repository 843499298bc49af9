"""`pim ablate`: what the layers of the VGG metric contribute to its agreement with people."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_table, progress
from pim.cli.vgg import fitting
from pim.eval.rated import Selection

EXAMPLES = """\b
Examples:
  pim ablate ratings.csv
  pim ablate tid2013=data/tid2013 --layer block5 --layer relu1_2 --form channel
"""


def ablate(
    paths: fitting.Paths,
    backbone: fitting.Backbone = "tv1k",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="A layer or group to do without; by default pixels and block1 to block5 in turn. May be repeated.",
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Do without every single layer in turn.")] = False,
    form: Annotated[
        Literal["layer", "channel"], typer.Option(help="A weight for each layer, or for each channel.")
    ] = "layer",
    prior: fitting.Prior = None,
    norm: fitting.Norm = "unit",
    pool: fitting.Pool = "max",
    subset: common.Subsets = None,
    distortion: common.Distortions = None,
    images: common.Images = None,
    higher_is_better: common.Direction = None,
    allow_missing: fitting.AllowMissing = False,
    split: fitting.Half = "train",
    folds: fitting.Folds = 5,
    equal: fitting.Equal = False,
    draws: fitting.Draws = 2000,
    cache: fitting.Cache = None,
    form_of_text: common.Format = None,
    target: common.Output = None,
    background: common.Background = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    device: common.Device = "auto",
    workers: common.Workers = 2,
    seed: common.Seed = 20240229,
    quiet: common.Quiet = False,
) -> None:
    """Take layers out of a head and see what agreement is lost.

    Once with the rest fitted anew, once with the weights of the layers set to 0. Differences are paired:
    same held-out photos, same draws.
    """
    opening = common.open_options(background, None, max_pixels)
    setting = fitting.Setting(backbone, norm, pool, folds, equal, seed, cache, opening, device, workers, quiet, prior)
    source = fitting.source_of(setting)
    layout = source.layout
    names = [*(layer or ()), *(layout.layers if each else ())] or list(layout.groups())
    groups = {name: layout.named(name) for name in names}
    selection = Selection(tuple(subset or ()), tuple(distortion or ()))
    plans = fitting.plans(paths, images, higher_is_better, split, selection, allow_missing, quiet)
    bench = fitting.gather(plans, source, setting)
    from pim.eval.estimate import IntervalOptions
    from pim.eval.tables import FIGURE_COLUMNS
    from vggmetric.fitting.ablation import ablate
    from vggmetric.fitting.forms import fits_needed
    from vggmetric.fitting.report import ablation_text

    intervals = IntervalOptions(draws=draws, seed=seed)
    total = (len(groups) + 1) * fits_needed(form, bench.split.folds)
    with fitting.kept(setting.folder), progress("fitting", total, unit="fits", quiet=quiet) as advance:
        found = ablate(bench, groups, form, intervals, advance=advance)
    columns = [column for column in FIGURE_COLUMNS if column not in ("dataset", "level", "published", "source")]
    ways = {"dropped": found.dropped, "refitted": found.refitted}
    rows = [{"way": way, **vars(m.figure)} for way, collected in ways.items() for m in collected.measured]
    text = ablation_text(found, bench, form)
    common.show(form_of_text, target, found.as_dict(bench), csv_table(["way", *columns], rows), text)
