"""Rate-distortion curves as one picture: a chart for every metric, a colour for every codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pim.core import look
from pim.core.files import write_text, written_whole
from pim.core.info import MetricInfo
from pim.errors import PimError
from pim.eval.bd_rate import Curve
from pim.eval.report_charts import Axis, Chart, Series, dots, line

ACROSS = 3  # charts beside each other
CHART_WIDTH, CHART_HEIGHT, LINE = 370, 300, 18  # of rates.svg


def draw(path: Path, by_metric: Mapping[str, Mapping[str, Curve]], infos: Mapping[str, MetricInfo], title: str) -> None:
    """Draw the curves of every codec, by metric, into an .svg, .png or .pdf file.

    Args:
        path: The file; written whole or not at all.
        by_metric: Curves by metric and codec.
        infos: Of the metrics.
        title: What was measured, for those who cannot see it.

    Raises:
        PimError: if it cannot be written, or matplotlib, which draws all but SVG, is not installed.
    """
    shown = {metric: curves for metric, curves in by_metric.items() if curves}
    if path.suffix.lower() == ".svg":
        write_text(path, _svg(shown, infos, title))
    else:
        _print(path, shown, infos, title)


def _print(path: Path, shown: Mapping[str, Mapping[str, Curve]], infos: Mapping[str, MetricInfo], title: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PimError("only .svg is drawn without matplotlib: pip install 'pim-metric[ntc]'") from error
    figure = Figure(figsize=(4.5 * len(shown), 4), layout="constrained")
    for place, (metric, curves) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(
            1, len(shown), place, xlabel="bits per pixel", ylabel=quality_label(metric, infos[metric])
        )
        for name, curve in curves.items():
            axes.plot(curve.rate, curve.quality, marker=".", label=name)
        axes.grid(alpha=0.3)
        axes.legend()
    with written_whole(path) as stream:
        figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150, metadata={"Title": title})


def _svg(shown: Mapping[str, Mapping[str, Curve]], infos: Mapping[str, MetricInfo], title: str) -> str:
    codecs = list(dict.fromkeys(name for curves in shown.values() for name in curves))
    charts = [_chart(metric, curves, infos[metric], codecs) for metric, curves in shown.items()]
    top = -(-len(charts) // ACROSS) * CHART_HEIGHT + LINE // 2
    drawn: str = (
        look.environment("pim.eval")
        .get_template("rates.svg")
        .render(
            charts=charts,
            across=ACROSS,
            width=min(len(charts), ACROSS) * CHART_WIDTH + 10,
            height=top + LINE * len(codecs),
            top=top,
            legend=[Series(name, colour) for colour, name in enumerate(codecs)],
            title=title,
        )
    )
    return drawn


def _chart(metric: str, curves: Mapping[str, Curve], info: MetricInfo, codecs: Sequence[str]) -> Chart:
    across = Axis.across([float(rate) for curve in curves.values() for rate in curve.rate])
    upward = Axis.upward([float(quality) for curve in curves.values() for quality in curve.quality])
    series = []
    for name, curve in curves.items():
        points = [
            (across.at(rate), upward.at(quality)) for rate, quality in zip(curve.rate, curve.quality, strict=True)
        ]
        series.append(Series(name, codecs.index(name), dots(points), line(points)))
    x_label, y_label = "bits per pixel", quality_label(metric, info)
    return Chart(metric, f"{y_label} by {x_label}", x_label, y_label, across.ticks(), upward.ticks(), tuple(series))


def quality_label(metric: str, info: MetricInfo) -> str:
    """What the quality of `rate_curves.decibels` is, higher is better.

    >>> from pim.metrics.registry import MS_SSIM, PSNR
    >>> quality_label("psnr", PSNR), quality_label("ms-ssim", MS_SSIM)
    ('psnr, dB', '-10 log10(1 - ms-ssim), dB')
    """
    if info.lower_is_better:
        return f"-10 log10({metric}), dB"
    best = info.value_range[1]
    return f"{metric}, dB" if best == float("inf") else f"-10 log10({best:g} - {metric}), dB"
