"""`pim score`: the distance between references and distorted images."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.common import destination, one_line, progress
from pim.cli.records import Report, Settings, Tally
from pim.errors import UsageError
from pim.scoring.pairs import Pairs, from_files, from_folders, from_table

EXAMPLES = """\b
Examples:
  pim score examples/reference.png examples/distorted.png
  pim score examples/reference.png examples/*.png -m psnr -m ssim --format csv
  pim score --pairs examples/pairs.csv --format json
"""


def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF DIST...", show_default=False, help="Image files or - for stdin, or two folders."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="CSV",
            show_default=False,
            help="Score the rows of a table instead: columns reference and distorted, relative to its folder.",
        ),
    ] = None,
    metric: common.Metrics = None,
    align: common.Align = None,
    save_aligned: common.SaveAligned = None,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Skip and count names that are not once in both folders.")
    ] = False,
    resize: Annotated[
        bool, typer.Option("--resize", help="Scale distorted images to the size of their reference; recorded.")
    ] = False,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
    batch_size: common.BatchSize = 1,
    workers: common.Workers = 2,
    quiet: common.Quiet = False,
) -> None:
    """Say how far images are from their reference.

    Give a reference and any number of distorted images, or two folders, whose files are paired by
    name without extension, or a table of pairs. Every value is in the direction its metric was
    published in (see pim metrics). As text, a line is value, TAB, name of the distorted image; with
    several metrics the name of the metric stands between.
    """
    from pim.metrics.registry import check_name

    for name in metric or []:
        check_name(name)
    chosen = _pairs(paths or [], pairs, allow_unmatched)
    images = (path for pair in chosen.items for path in (pair.reference_path, pair.distorted_path))
    common.keep_inputs(target, [*([str(pairs)] if pairs else []), *images])
    _tell_left_out(chosen, quiet)
    form = common.chosen_format(form, target)
    opening = common.open_options(background, frame, max_pixels)
    metrics = common.load_metrics(metric, device, align)
    where = common.chosen_device(device)
    from pim.scoring.engine import score as score_pairs

    scores = score_pairs(
        chosen.items,
        metrics,
        device=where,
        batch_size=batch_size,
        workers=workers,
        opening=opening,
        resize=resize,
        align=False,
    )
    save = None
    if save_aligned is not None:
        from pim.scoring.pictures import Reading
        from pim.scoring.saving import saver

        save = saver(save_aligned, chosen.items, metrics, Reading(opening, resize))
    tally = Tally(len(chosen.items), quiet)
    rows_show_progress = target is None and sys.stdout.isatty()
    try:
        with (
            destination(target) as stream,
            progress("score", len(chosen.items), quiet=quiet or rows_show_progress) as advance,
            closing(scores),
        ):
            settings = Settings(opening, resize, where)
            report = Report(stream, form, metrics, settings, columns=tuple(chosen.items[0].extra))
            for found in scores:
                report.add(found)
                tally.add(found)
                if save is not None:
                    save(found)
                advance()
            report.finish(chosen.skipped)
    except KeyboardInterrupt:
        raise common.Interrupted(tally.interrupted(target, form)) from None
    if tally.finish():
        raise typer.Exit(1)


def _pairs(paths: list[str], table: Path | None, allow_unmatched: bool) -> Pairs:
    """What to score: a table, two folders or files.

    Raises:
        UsageError: if the arguments are none of these.
        PimError: if folders or table cannot be read or do not fit.
    """
    folders = [path for path in paths if os.path.isdir(path)]
    if allow_unmatched and (table is not None or not folders):
        raise UsageError("--allow-unmatched is for two folders")
    if table is not None:
        if paths:
            raise UsageError(f"give images or --pairs, not both; got {paths[0]} and --pairs {table}")
        return from_table(table)
    if len(paths) < 2:
        raise UsageError("give a reference and a distorted image, two folders, or --pairs; see pim score --help")
    if not folders:
        return from_files(paths[0], paths[1:])
    if len(paths) != 2 or len(folders) != 2:
        raise UsageError(f"{folders[0]} is a folder; give two folders, or only files")
    return from_folders(paths[0], paths[1], allow_unmatched)


def _tell_left_out(chosen: Pairs, quiet: bool) -> None:
    for line in chosen.notes:
        common.note(line, quiet)
    if chosen.ignored:
        more = f" and {len(chosen.ignored) - 1} more" if len(chosen.ignored) > 1 else ""
        common.note(f"no image by its name, left out: {one_line(chosen.ignored[0])}{more}", quiet)
    if chosen.skipped:
        common.note(f"{chosen.skipped} names that are not once in both folders, skipped", quiet)
