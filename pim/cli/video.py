"""`pim score` for video files: frame by frame, with what all frames come to."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pim.cli import common
from pim.cli.common import Cell, csv_line, destination, is_video, one_line, progress, table
from pim.cli.records import Report, Scored, Settings, Tally
from pim.core.files import write_text
from pim.errors import UsageError
from pim.scoring.pairs import Pairs

if TYPE_CHECKING:
    from pim.cli.journal import FrameScores, Journal
    from pim.core.metric import Metric
    from pim.images.opener import OpenOptions
    from pim.scoring.frames import FramePair, FramePairs
    from pim.scoring.video import VideoScore

COLUMNS = ("frame", "seconds", "distorted_seconds")


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    every: int
    target: Path | None
    form: common.FormatName
    page: Path | None
    rates: Path | None
    batch_size: int
    workers: int
    quiet: bool


def check_videos(paths: Sequence[str], asked: Asked, useless: Mapping[str, object]) -> None:
    """Refuse what cannot be meant.

    Args:
        paths: The original, and what was made of it.
        asked: Outputs must be others than inputs.
        useless: Options that videos do not have, with what was given.

    Raises:
        UsageError: naming it.
    """
    if given := [option for option, value in useless.items() if value not in (None, False)]:
        raise UsageError(f"{given[0]} is not for videos")
    if len(paths) < 2:
        raise UsageError("give a video and one or more that were made of it; see pim score --help")
    for path in paths:
        if not is_video(path):
            raise UsageError(f"{paths[0]} is a video, so {path} should be one too")
    if repeated := [path for path in paths[1:] if paths[1:].count(path) > 1]:
        raise UsageError(f"{repeated[0]} is named twice")
    if asked.page is not None and asked.page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {asked.page} must end in .html")
    common.keep_apart(asked.target, asked.page, asked.rates)
    for output in (asked.target, asked.page, asked.rates):
        common.keep_inputs(output, paths)


def score_videos(paths: Sequence[str], metrics: Sequence[Metric], settings: Settings, asked: Asked) -> bool:
    """Score coded clips against the original, the first of the paths; True if a frame failed."""
    from pim.scoring.frames import FramePairs
    from pim.scoring.video import FRAMES_ALONE, scores_of

    pairs = FramePairs(paths[0], paths[1:], asked.every, lambda line: common.note(one_line(line), asked.quiet))
    found = scores_of(pairs, {metric.name: metric.lower_is_better for metric in metrics})
    journal = _journal(paths, metrics, settings, asked)
    tally, onto = Tally(len(pairs), asked.quiet), _page(asked, found, metrics, settings)
    rows_show_progress = asked.target is None and asked.form == "csv" and sys.stdout.isatty()
    try:
        with destination(asked.target) as stream:
            report = Report(stream, asked.form, metrics, settings, Pairs((), columns=COLUMNS))
            with (
                progress("score", len(pairs), unit="frames", quiet=asked.quiet or rows_show_progress) as advance,
                closing(_scores(pairs, metrics, settings, asked, journal)) as scores,
            ):
                for pair, scored in scores:
                    found[pair.distorted].add(pair, scored.values, scored.errors)
                    tally.done, tally.failed = tally.done + 1, tally.failed + bool(scored.errors)
                    if asked.form != "text":
                        report.add(pair, scored)
                    if onto is not None:
                        onto.add(pair, scored)
                    advance()
            notes = list(dict.fromkeys([FRAMES_ALONE, *(note for each in found.values() for note in each.notes)]))
            report.finish(every=asked.every, videos=[each.as_dict() for each in found.values()])
            if asked.form == "text":
                stream.write("\n".join([_table(found, metrics), *notes, ""]))
            if onto is not None:
                onto.write()
            if asked.rates is not None:
                write_text(asked.rates, _rates(asked, found, metrics))
    except KeyboardInterrupt:
        raise common.Interrupted(tally.interrupted(asked.target, asked.form, journal is not None)) from None
    if journal is not None:
        journal.remove()
    for line in notes if asked.target is not None or asked.form != "text" else ():
        common.note(one_line(line), asked.quiet)
    for line in (sentence for each in found.values() for sentence in each.failed):
        common.note(one_line(line))
    tally.total = tally.done
    return tally.finish()


def _scores(
    pairs: FramePairs, metrics: Sequence[Metric], settings: Settings, asked: Asked, journal: Journal | None
) -> Generator[tuple[FramePair, Scored], None, None]:
    from pim.scoring.engine import score as score_pairs

    def compute(items: Iterable[FramePair]) -> FrameScores:
        return score_pairs(
            items,
            metrics,
            device=settings.device,
            batch_size=asked.batch_size,
            workers=asked.workers,
            opening=settings.opening,
            resize=settings.resize,
            align=False,
        )

    if journal is not None:
        yield from journal.frames(pairs, compute)
        return
    with closing(compute(pairs)) as scores:
        for score in scores:
            yield score.pair, Scored.of(score)


def _journal(paths: Sequence[str], metrics: Sequence[Metric], settings: Settings, asked: Asked) -> Journal | None:
    """What a killed run has left, where there is an output."""
    target = asked.target or asked.page or asked.rates
    if target is None or (target.exists() and not target.is_file()):
        return None
    from pim.cli.journal import Journal, can_continue
    from pim.scoring.pictures import FilePicture

    inputs = [[path, FilePicture(path).stamp(verify=False)] for path in paths]
    return Journal(target, metrics, settings, [*inputs, asked.every]) if can_continue((), metrics) else None


class _Page:
    """Keeps the frames that a page shows, and writes it at the end."""

    def __init__(self, path: Path, found: Mapping[str, VideoScore], metrics: Sequence[Metric], opening: OpenOptions):
        from pim.eval.video_page import WorstFrames

        self.path, self.found, self.metrics, self.opening = path, found, metrics, opening
        self.worst = {name: WorstFrames(metrics[0].lower_is_better) for name in found}

    def add(self, pair: FramePair, scored: Scored) -> None:
        """Look at the next frame."""
        value = scored.values.get(self.metrics[0].name)
        if value is not None:
            self.worst[pair.distorted].add(pair, value)

    def write(self) -> None:
        """Write the page, whole or not at all."""
        from pim.eval.video_page import page

        write_text(self.path, page(list(self.found.values()), self.metrics, self.worst, self.opening))


def _page(asked: Asked, found: Mapping[str, VideoScore], metrics: Sequence[Metric], settings: Settings) -> _Page | None:
    return None if asked.page is None else _Page(asked.page, found, metrics, settings.opening)


def _table(found: Mapping[str, VideoScore], metrics: Sequence[Metric]) -> str:
    """A line for every metric and clip."""
    from pim.scoring.video import PERCENTILES

    rows: list[dict[str, Cell]] = []
    for metric in metrics:
        for name, each in found.items():
            far = each.worst(metric.name)
            rows.append(
                {
                    "metric": metric.name,
                    "file": name,
                    "kbit/s": each.kilobits_per_second,
                    "frames": len(each.times),
                    "mean": each.mean(metric.name),
                    **{f"{percent} %": each.percentile(metric.name, percent) for percent in PERCENTILES},
                    "worst": None if far is None else far[1],
                    "at": None if far is None else f"{far[0]:.3f} s",
                }
            )
    return table(rows, "text")


def _rates(asked: Asked, found: Mapping[str, VideoScore], metrics: Sequence[Metric]) -> str:
    """The points of rate and quality, as `pim ntc rd --curve` reads them; those of one folder make a curve."""
    import numpy as np

    places = {name: os.path.dirname(os.path.abspath(name)) for name in found}
    root = os.path.commonpath(places.values())
    lines = [csv_line(["codec", "setting", "images", "bpp", "kbit_s", *(metric.name for metric in metrics)])]
    for name, each in found.items():
        means = [
            each.mean(metric) if len(values) and np.isfinite(values).all() else None
            for metric, values in each.values.items()
        ]
        if means == [None] * len(means):
            common.note(one_line(f"{name} is left out of {asked.rates}: not every frame has a value"), asked.quiet)
            continue
        codec = _folder(places[name], root) if len(set(places.values())) > 1 else each.clip.codec
        cells: list[Cell] = [codec, Path(name).stem, len(each.times), each.bits_per_pixel, each.kilobits_per_second]
        lines.append(csv_line([*cells, *means]))
    return "".join(lines)


def _folder(place: str, root: str) -> str:
    """What tells a folder apart from the others below a root."""
    return os.path.basename(place) if place == root else os.path.relpath(place, root)
