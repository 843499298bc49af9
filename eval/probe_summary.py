"""What responses to boxes add up to, and whether they show anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import LEVEL, TOO_FEW_CLUSTERS
from pim.eval.estimate import Clusters, IntervalOptions, estimate, row_mean
from pim.eval.probe import Response

Array = NDArray[np.float64]

ROUNDING = 1e-5  # relative: intervals are widened by what float32 may lose
SHOWN, NOT_SHOWN = "shown", "not shown"


@dataclass(frozen=True)
class Ratio:
    """A ratio with its interval."""

    value: float
    low: float | None  # None: too few pictures for an interval
    high: float | None

    @property
    def above_one(self) -> bool:
        """Whether the whole interval lies above 1."""
        return self.low is not None and self.low > 1


@dataclass(frozen=True)
class Summary:
    """What one metric says under one distortion, about one box or about all."""

    metric: str
    distortion: str
    boxes: int
    images: int
    ratio: Ratio  # S
    scrambled: Ratio | None  # S of the scrambled content
    over_scrambled: Ratio | None  # S over that
    over_control: Ratio | None  # S over that of the control metric
    verdict: str
    what: str = ""  # the box, where it is one


def of_boxes(responses: Sequence[Response]) -> list[Summary]:
    """Every box by itself; the interval is the middle 95 % of its ratios to single control boxes.

    It covers 1 unless the box stands out from those that look like it. It says nothing about other pictures.
    """
    found = []
    for r in responses:
        low, high = np.quantile(r.ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        ratio = Ratio(r.ratio, float(low) * (1 - ROUNDING), float(high) * (1 + ROUNDING))
        scrambled = None if r.scrambled is None else Ratio(r.scrambled, None, None)
        over = None if r.scrambled is None else Ratio(r.ratio / r.scrambled, None, None)
        verdict = "stands out" if ratio.above_one else NOT_SHOWN
        what = f"{r.label} {r.box}".strip()
        found.append(Summary(r.metric, r.distortion, 1, 1, ratio, scrambled, over, None, verdict, f"{r.image} {what}"))
    return found


def of_images(responses: Sequence[Response], control: str | None, options: IntervalOptions) -> list[Summary]:
    """All boxes together, by metric and distortion: geometric means, with intervals over pictures.

    Args:
        responses: Of several pictures.
        control: The metric that knows nothing of content; None: there is none, and nothing is shown.
        options: How intervals are made; every metric sees the same draws.
    """
    found = []
    for distortion in dict.fromkeys(r.distortion for r in responses):
        for metric in dict.fromkeys(r.metric for r in responses):
            rows = [r for r in responses if (r.distortion, r.metric) == (distortion, metric)]
            others = [r for r in responses if (r.distortion, r.metric) == (distortion, control)]
            if rows:
                found.append(_summary(rows, others if metric != control else [], options))
    return found


def _summary(rows: Sequence[Response], control: Sequence[Response], options: IntervalOptions) -> Summary:
    own = np.log([r.ratio for r in rows])
    ratio = _mean([r.image for r in rows], own, options)
    turned = [r for r in rows if r.scrambled is not None]
    images = [r.image for r in turned]
    after = np.log([r.scrambled for r in turned if r.scrambled is not None])
    scrambled = _mean(images, after, options) if turned else None
    over = _mean(images, np.log([r.ratio for r in turned]) - after, options) if turned else None
    against = None
    if control:  # the same boxes in the same order: all metrics see all of them
        gain = own - np.log([r.ratio for r in control])
        against = _mean([r.image for r in rows], gain, options)
    count = len({r.image for r in rows})
    verdict = _verdict(count, ratio, over, against)
    return Summary(rows[0].metric, rows[0].distortion, len(rows), count, ratio, scrambled, over, against, verdict)


def _mean(images: list[str], logs: Array, options: IntervalOptions) -> Ratio:
    """The geometric mean, with an interval over pictures."""
    clusters = Clusters.of(images, options)
    found = estimate(row_mean(logs, clusters.member), clusters)
    value = float(np.exp(np.mean(logs)))
    if found.interval is None:
        return Ratio(value, None, None)
    low, high = np.exp(found.interval)
    return Ratio(value, float(low) * (1 - ROUNDING), float(high) * (1 + ROUNDING))


def _verdict(images: int, ratio: Ratio, over: Ratio | None, against: Ratio | None) -> str:
    """Whether the metric cares about what is in the boxes: more than about the like, the scrambled, the ignorant."""
    if images < TOO_FEW_CLUSTERS:
        return f"{NOT_SHOWN}: {images} pictures, {TOO_FEW_CLUSTERS} are needed"
    if not ratio.above_one:
        return f"{NOT_SHOWN}: S is not above 1"
    if over is None:
        return f"{NOT_SHOWN}: no control of content"
    if not over.above_one:
        return f"{NOT_SHOWN}: scrambled content does as much"
    if against is None:
        return f"{NOT_SHOWN}: no metric as a control"
    return SHOWN if against.above_one else f"{NOT_SHOWN}: the control metric does as much"
