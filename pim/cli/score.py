"""`pim score`: the distance between references and distorted images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pim.cli import common
from pim.cli.common import destination, is_video, one_line, progress
from pim.cli.records import Report, Scored, Settings, Tally
from pim.errors import UsageError
from pim.scoring.pairs import Pair, Pairs, from_files, from_table

if TYPE_CHECKING:
    from pim.cli.journal import Journal
    from pim.cli.limit import Limit
    from pim.cli.page import Page
    from pim.core.metric import Metric
    from pim.scoring.engine import Score

    Scores = Generator[Score[Pair], None, None]

EXAMPLES = """\b
Examples:
  pim score examples/reference.png examples/distorted.png
  pim score examples/reference.png examples/*.png -m psnr -m ssim --format csv
  pim score --pairs examples/pairs.csv --format json
  pim score examples/clips/original.mp4 examples/clips/dropped.mp4 --every 10
"""


def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF DIST...", show_default=False, help="Image files or - for stdin, folders, or videos."
        ),
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
        bool, typer.Option("--allow-unmatched", help="Skip and count names that are not once in each folder.")
    ] = False,
    resize: Annotated[
        bool, typer.Option("--resize", help="Scale distorted images to the size of their reference; recorded.")
    ] = False,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    form: common.Format = None,
    target: common.Output = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            show_default=False,
            help="Write a page too, .html: tables, pictures, maps.",
        ),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=1, metavar="N", help="Videos: every so many frames of the reference.")
    ] = 1,
    rates: Annotated[
        Path | None,
        typer.Option(
            "--rates",
            metavar="CSV",
            show_default=False,
            help="Videos: write rates and means too, which pim ntc rd --curve draws and compares.",
        ),
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(
            "--fail-above",
            metavar="X",
            show_default=False,
            help="Name the pairs whose distance is above this, and end with exit code 1 if there are any.",
        ),
    ] = None,
    device: common.Device = "auto",
    batch_size: common.BatchSize = 1,
    workers: common.Workers = 2,
    engine: common.Engine = "local",
    actors: common.Actors = None,
    quiet: common.Quiet = False,
) -> None:
    """Say how far images are from their reference.

    Give a reference and any number of distorted images, or a folder of references and one for every
    candidate, or a table of pairs, or a video and what was made of it. Files of folders are paired by path
    without extension, also where an encoder has added something to the name. Frames of videos are paired by
    time and judged one by one; how things move is not. Every value is in the direction its metric was published in
    (see pim metrics). As text, a line is value, TAB, name of the distorted image; with several metrics the
    name of the metric stands between. Folders and videos become tables instead. With --output an interrupted
    command goes on where it was.
    """
    from pim.metrics.registry import check_name

    for name in metric or []:
        check_name(name)
    if paths and is_video(paths[0]):
        from pim.cli.video import Asked, check_videos, score_videos

        opening, place = common.open_options(background, frame, max_pixels), common.chosen_device(device)
        useless = {"--pairs": pairs, "--allow-unmatched": allow_unmatched, "--save-aligned": save_aligned}
        asked = Asked(every, target, common.chosen_format(form, target), page, rates, batch_size, workers, quiet)
        useless |= {"--fail-above": fail_above is not None, "--engine ray": engine == "ray", "--actors": bool(actors)}
        check_videos(paths, asked, {**useless, "--background": background, "--frame": frame is not None})
        if score_videos(paths, common.load_metrics(metric, device, align), Settings(opening, resize, place), asked):
            raise typer.Exit(1)
        return
    if every > 1 or rates is not None:
        raise UsageError("--every and --rates are for videos; give the original first, then what was made of it")
    chosen = _pairs(paths or [], pairs, allow_unmatched)
    _check_outputs(target, page, chosen, pairs)
    _tell_left_out(chosen, quiet)
    parts = target if common.in_parts(form, target) else None
    form = "csv" if parts else common.chosen_format(form, target)
    opening = common.open_options(background, frame, max_pixels)
    here, there = common.devices(device, engine, actors)
    metrics = common.load_metrics(metric, here, align)
    limit = None if fail_above is None else _limit(fail_above, metrics)
    settings = Settings(opening, resize, there)
    if parts is not None:
        from pim.cli.parts import Table, Work, score_in_parts

        if page is not None or save_aligned is not None:
            raise UsageError("a table in parts comes without --report and --save-aligned")
        table = Table(parts, chosen, metrics, settings)
        if score_in_parts(table, Work(workers, batch_size, engine, actors), limit, quiet):
            raise typer.Exit(1)
        return
    from pim.scoring.engine import score as score_pairs

    save = None if save_aligned is None else _saver(save_aligned, chosen, metrics, settings)

    def compute(items: Sequence[Pair]) -> Scores:
        scores = score_pairs(
            items,
            metrics,
            device=settings.device,
            batch_size=batch_size,
            workers=workers,
            opening=opening,
            resize=resize,
            align=False,
            engine=engine,
            actors=actors,
        )
        return scores if save is None else _saved(scores, save)

    journal = _journal(target or page, chosen, metrics, settings)
    scores = _plain(compute(chosen.items)) if journal is None else journal.scores(chosen.items, compute)
    tally, onto = Tally(len(chosen.items), quiet), _page(page, chosen, metrics, settings)
    rows_show_progress = target is None and sys.stdout.isatty() and (form == "csv" or not chosen.folders)
    try:
        with destination(target) as stream:
            report = _reporter(chosen)(stream, form, metrics, settings, chosen)
            with progress("score", len(chosen.items), quiet=quiet or rows_show_progress) as advance, closing(scores):
                for pair, scored in scores:
                    report.add(pair, scored)
                    tally.add(scored)
                    if limit is not None:
                        limit.add(pair, scored)
                    if onto is not None:
                        onto.add(pair, scored)
                    advance()
            report.finish()
            if onto is not None:
                onto.write()
    except KeyboardInterrupt:
        raise common.Interrupted(tally.interrupted(target, form, journal is not None)) from None
    if journal is not None:
        journal.remove()
    if target is not None or form != "text":
        for sentence in report.conclusions():
            common.note(sentence, quiet)
    if tally.finish() | (limit is not None and limit.finish()):
        raise typer.Exit(1)


def _limit(above: float, metrics: Sequence[Metric]) -> Limit:
    from pim.cli.limit import Limit

    return Limit(above, metrics)


def _check_outputs(target: Path | None, page: Path | None, chosen: Pairs, table: Path | None) -> None:
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {page} must end in .html")
    common.keep_apart(target, page)
    images = [path for pair in chosen.items for path in (pair.reference_path, pair.distorted_path)]
    for output in (target, page):
        common.keep_inputs(output, [*([str(table)] if table else []), *images])


def _saver(folder: Path, chosen: Pairs, metrics: Sequence[Metric], settings: Settings) -> Callable[[Score[Pair]], None]:
    from pim.scoring.pictures import Reading
    from pim.scoring.saving import saver

    return saver(folder, chosen.items, metrics, Reading(settings.opening, settings.resize))


def _page(path: Path | None, chosen: Pairs, metrics: Sequence[Metric], settings: Settings) -> Page | None:
    """The page, if one is asked for."""
    if path is None:
        return None
    from pim.cli.page import Page

    return Page(path, chosen, metrics, settings)


def _reporter(chosen: Pairs) -> type[Report]:
    if not chosen.folders:
        return Report
    from pim.cli.folders import FolderReport

    return FolderReport


def _saved(scores: Scores, save: Callable[[Score[Pair]], None]) -> Scores:
    with closing(scores):
        for score in scores:
            save(score)
            yield score


def _plain(scores: Scores) -> Generator[tuple[Pair, Scored], None, None]:
    with closing(scores):
        for score in scores:
            yield score.pair, Scored.of(score)


def _journal(target: Path | None, chosen: Pairs, metrics: Sequence[Metric], settings: Settings) -> Journal | None:
    """What a killed run has left; nothing is kept where there is no output, or a single pair."""
    if target is None or len(chosen.items) < 2 or (target.exists() and not target.is_file()):
        return None
    from pim.cli.journal import Journal, can_continue

    return Journal(target, metrics, settings) if can_continue(chosen.items, metrics) else None


def _pairs(paths: list[str], table: Path | None, allow_unmatched: bool) -> Pairs:
    """What to score: a table, folders or files.

    Raises:
        UsageError: if the arguments are none of these.
        PimError: if folders or table cannot be read or do not fit.
    """
    folders = [path for path in paths if os.path.isdir(path)]
    if allow_unmatched and (table is not None or not folders):
        raise UsageError("--allow-unmatched is for folders")
    if table is not None:
        if paths:
            raise UsageError(f"give images or --pairs, not both; got {paths[0]} and --pairs {table}")
        return from_table(table)
    if len(paths) < 2:
        raise UsageError(
            "give a reference and a distorted image, two or more folders, or --pairs; see pim score --help"
        )
    if not folders:
        return from_files(paths[0], paths[1:])
    if missing := [path for path in paths if not os.path.exists(path)]:
        raise UsageError(f"{missing[0]} is not there; {folders[0]} is a folder, so it should be one too")
    if len(folders) < len(paths):
        file = next(path for path in paths if path not in folders)
        raise UsageError(f"{folders[0]} is a folder and {file} is a file; give only folders, or only files")
    from pim.scoring.folders import from_folders

    return from_folders(paths[0], paths[1:], allow_unmatched)


def _tell_left_out(chosen: Pairs, quiet: bool) -> None:
    for line in chosen.notes:
        common.note(line, quiet)
    if chosen.ignored:
        more = f" and {len(chosen.ignored) - 1} more" if len(chosen.ignored) > 1 else ""
        common.note(f"no image by its name, left out: {one_line(chosen.ignored[0])}{more}", quiet)
    if chosen.skipped:
        common.note(f"{chosen.skipped} names that are not once in both folders, skipped", quiet)
