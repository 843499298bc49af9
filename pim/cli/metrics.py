"""`pim metrics`: which metrics there are, and what one can know of them without loading one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pim.cli import common
from pim.cli.common import Row, table

if TYPE_CHECKING:
    from pim.metrics.registry import MetricStatus

EXAMPLES = """\b
Examples:
  pim metrics
  pim metrics --format json
"""
WIDTH = 80
JOBS = (  # which metric for what: the table of README.md in short
    ("one number for a pair", "pim", "-m pim", "faces, meaning"),
    ("displaced pictures", "any", "--align -m ms-ssim", "local motion"),
    ("numbers of papers", "psnr, ssim", "-m psnr -m ssim", "blur against noise"),
    ("outputs of networks", "pim, vgg", "-m pim -m vgg", "speed, for vgg"),
    ("training a network", "pim", "pim.loss.Distortion()", "without its MSE"),
)


def metrics(form: common.Format = None, target: common.Output = None) -> None:
    """List the metrics and what to know of them before using one.

    Nothing is loaded, so this is fast. The first metric is the default. Cost is in multiply-adds per
    pixel of one image. Your own metrics, given as package.module:callable or as a .safetensors file,
    are not listed. The last five lines say which metric is for what. Licences and hashes are in JSON and CSV.
    """
    from pim.metrics.registry import DEFAULT, list_metrics

    found = list_metrics()
    records = [{**status.as_dict(), "default": status.info.name == DEFAULT} for status in found]
    about = [f"{status.info.name}: {_about(status)}" for status in found]
    lines = "".join(textwrap.fill(text, WIDTH, subsequent_indent="  ") + "\n" for text in about)
    jobs = table([dict(zip(("for", "metric", "as", "weak at"), job, strict=True)) for job in JOBS], "text")
    text = "\n".join([table(list(map(_brief, found)), "text"), lines, jobs])
    common.show(form, target, {"metrics": records}, table(list(map(_row, found)), "csv"), text)


def _row(status: MetricStatus) -> Row:
    row = {**status.as_dict(), "available": status.available}
    row["lowest"], row["highest"] = row.pop("value_range")
    return row


def _brief(status: MetricStatus) -> Row:
    info = status.info
    low, high = info.value_range
    return {
        "name": info.name,
        "better": "lower" if info.lower_is_better else "higher",
        "range": f"{low:g} to {high:g}",
        "smallest": f"{info.min_size} px",
        "gradient": info.differentiable,
        "map": info.spatial,
        "cost": info.operations,
        "available": status.available,
    }


def _about(status: MetricStatus) -> str:
    text = f"{status.info.summary} ({status.info.source})"
    return text if status.available else f"{text}. Not available: {status.unavailable}"
