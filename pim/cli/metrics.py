"""`pim metrics`: which metrics there are, and what one can know of them without loading one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pim.cli import common
from pim.cli.common import Row, destination, json_text, table

if TYPE_CHECKING:
    from pim.metrics.registry import MetricStatus

EXAMPLES = """\b
Examples:
  pim metrics
  pim metrics --format json
"""


def metrics(form: common.Format = None, target: common.Output = None) -> None:
    """List the metrics and what to know of them before using one.

    Nothing is loaded, so this is fast. The first metric is the default. Cost is in multiply-adds per
    pixel of one image. Your own metrics, given as package.module:callable or as a .safetensors file,
    are not listed.
    """
    from pim.metrics.registry import DEFAULT, list_metrics

    found = list_metrics()
    form = common.chosen_format(form, target)
    with destination(target) as stream:
        if form == "json":
            records = [{**status.as_dict(), "default": status.info.name == DEFAULT} for status in found]
            stream.write(json_text({"metrics": records}))
        elif form == "csv":
            stream.write(table([_row(status) for status in found], form))
        else:
            stream.write(table([_brief(status) for status in found], form))
            stream.write("\n")
            stream.write("".join(f"{status.info.name}: {_about(status)}\n" for status in found))


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
        "range": f"{low:g} to {'infinity' if high == math.inf else format(high, 'g')}",
        "smallest": f"{info.min_size} px",
        "gradient": info.differentiable,
        "map": info.spatial,
        "cost": info.operations,
        "weights": "none" if info.weights is None else (status.weights_hash or "missing")[:12],
        "licence": info.licence,
        "available": status.available,
    }


def _about(status: MetricStatus) -> str:
    text = f"{status.info.summary} ({status.info.source})"
    return text if status.available else f"{text}. Not available: {status.unavailable}"
