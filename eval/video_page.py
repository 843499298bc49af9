"""A page of coded clips: what their frames come to, a plot over time, the frames furthest from the original."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pim.core.metric import Metric
from pim.errors import PimError
from pim.eval.report_charts import Axis, Chart, Series, Table, line
from pim.eval.report_pictures import view
from pim.eval.score_page import ScorePage, Worst, rendered
from pim.images.opener import OpenOptions
from pim.metrics.ruler import ruler_of
from pim.scoring.frames import FramePair
from pim.scoring.video import FRAMES_ALONE, PERCENTILES, VideoScore

SHOWN = 4  # frames of each clip with slider and map
APART = 1.0  # seconds between two of them at least: neighbours look alike
MOST_POINTS = 500  # of a line

Array = NDArray[np.float64]


class WorstFrames:
    """The frames of one clip that are furthest from the original, at most one within a second; holds few of them.

    Args:
        lower_is_better: Direction of the values.
    """

    def __init__(self, lower_is_better: bool) -> None:
        self._sign = 1 if lower_is_better else -1
        self._kept: list[tuple[float, FramePair]] = []

    def add(self, pair: FramePair, value: float) -> None:
        """Look at the next frame."""
        time, badness = pair.pictures[0].time, self._sign * value
        near = [entry for entry in self._kept if abs(entry[1].pictures[0].time - time) < APART]
        if any(kept >= badness for kept, _ in near):
            return
        others = [entry for entry in self._kept if entry not in near]
        self._kept = sorted([*others, (badness, pair)], key=lambda entry: -entry[0])[:SHOWN]

    def __iter__(self) -> Iterator[FramePair]:
        return (pair for _, pair in self._kept)


def page(
    found: Sequence[VideoScore],
    metrics: Sequence[Metric],
    worst: Mapping[str, WorstFrames],
    opening: OpenOptions,
) -> str:
    """Write the page as HTML that loads nothing.

    Args:
        found: The clips.
        metrics: In the order of the tables; the first has decided which frames are furthest, and draws maps if it can.
        worst: Frames to show, by clip.
        opening: How frames are opened.
    """
    clips = _named(found)
    failed = [sentence for each in found for sentence in each.failed]
    shown = ScorePage(
        title=f"{', '.join(clips)} against {os.path.basename(found[0].reference)}",
        lead=_lead(clips, metrics[0]),
        sentences=tuple(dict.fromkeys((FRAMES_ALONE, *(note for each in found for note in each.notes), *failed))),
        tables=tuple(_table(clips, metric) for metric in metrics),
        charts=tuple(_chart(clips, metric) for metric in metrics),
        charts_heading="Over time",
        worst=tuple(
            entry
            for name, each in clips.items()
            for entry in _worst(name, each, worst[each.distorted], metrics[0], opening)
        ),
        worst_lead=f"By {metrics[0].name}, at most one frame within a second.",
    )
    return rendered(shown)


def _named(found: Sequence[VideoScore]) -> dict[str, VideoScore]:
    """The clips by what tells them apart: their paths from the folder that all are in."""
    paths = [os.path.abspath(each.distorted) for each in found]
    return {
        os.path.relpath(path, os.path.commonpath(map(os.path.dirname, paths))): each
        for path, each in zip(paths, found, strict=True)
    }


def _lead(clips: Mapping[str, VideoScore], metric: Metric) -> str:
    """What the first metric says, the closest clip first, and what that means."""
    ruler, sign = ruler_of(metric), 1 if metric.lower_is_better else -1
    worst = {name: each.worst(metric.name) for name, each in clips.items()}
    means = {  # where the worst frame is infinite, all are
        name: far[1] if far is not None and np.isinf(far[1]) else clips[name].mean(metric.name)
        for name, far in worst.items()
    }
    said = []
    for name, mean in sorted(means.items(), key=lambda item: sign * item[1]):
        if not np.isnan(mean):
            said.append(f"{name} {mean:.4g}" + ("" if ruler is None else f", {ruler.place(mean).words}"))
    return f"By {metric.name}, mean of the frames: {'; '.join(said)}." if said else "No pair of frames has a value."


def _table(clips: Mapping[str, VideoScore], metric: Metric) -> Table:
    lines = []
    for name, each in clips.items():
        far = each.worst(metric.name)
        cells = [each.mean(metric.name), *(each.percentile(metric.name, percent) for percent in PERCENTILES)]
        ends = ("", "") if far is None else (f"{far[1]:.4g}", f"{far[0]:.3f} s")
        rate = each.kilobits_per_second
        numbers = ("" if np.isnan(cell) else f"{cell:.4g}" for cell in cells)
        lines.append((name, *numbers, *ends, "" if rate is None else f"{rate:.1f}", str(len(each.times))))
    heading = ("file", "mean", *(f"{percent} %" for percent in PERCENTILES), "worst", "at", "kbit/s", "frames")
    better = "lower" if metric.lower_is_better else "higher"
    return Table(f"{metric.name}, {better} is closer", heading, tuple(lines))


def _chart(found: Mapping[str, VideoScore], metric: Metric) -> Chart:
    """The values over time, a line for every clip; of many frames the furthest of each stretch."""
    clips = [(name, *_thinned(each.times, each.values[metric.name], metric)) for name, each in found.items()]
    finite = np.concatenate([values[np.isfinite(values)] for _, _, values in clips])
    across = Axis.across(np.concatenate([[0.0, 0.001], *(each.times for each in found.values())]))
    upward = Axis.upward(finite if len(finite) else np.array([0.0, 1.0]))
    series = []
    for colour, (name, times, values) in enumerate(clips):
        runs = np.split(np.arange(len(values)), np.flatnonzero(~np.isfinite(values)))
        points = [
            [(across.at(times[at]), upward.at(values[at])) for at in run if np.isfinite(values[at])] for run in runs
        ]
        series.append(Series(name, colour, line="".join(map(line, points))))
    better = "lower" if metric.lower_is_better else "higher"
    return Chart(
        title=metric.name,
        summary=f"{metric.name} of every frame by its time; {better} is closer.",
        x_label="seconds",
        y_label=metric.name,
        x_ticks=across.ticks(),
        y_ticks=upward.ticks(),
        series=tuple(series),
    )


def _thinned(times: Array, values: Array, metric: Metric) -> tuple[Array, Array]:
    """At most so many points as a line can show; none that is worse than its neighbours is lost."""
    size = -(-len(values) // MOST_POINTS)
    if size < 2:
        return times, values
    sign = 1 if metric.lower_is_better else -1
    parts = np.array_split(np.arange(len(values)), -(-len(values) // size))
    kept = [part[np.argmax(np.where(np.isfinite(values[part]), sign * values[part], -np.inf))] for part in parts]
    return times[kept], values[kept]


def _worst(clip: str, found: VideoScore, frames: WorstFrames, metric: Metric, opening: OpenOptions) -> Iterator[Worst]:
    drawing = getattr(metric, "metric", metric)  # an aligned metric draws the map of the one inside
    times, values = found.times, found.values
    for pair in frames:
        at = int(np.searchsorted(times, pair.pictures[0].time))
        said = ", ".join(f"{name} {each[at]:.4g}" for name, each in values.items())
        seen, missing = None, ""
        try:
            seen = view(pair, ("reference", clip), [drawing] if drawing.info.spatial else [], opening)
        except PimError as error:
            missing = str(error)
        yield Worst(f"{clip} at {pair.pictures[0].time:.3f} s", said, seen, missing)
