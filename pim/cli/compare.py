"""`pim compare`: which of two images is closer to a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_table, one_line, short
from pim.scoring.pairs import from_files

EXAMPLES = """\b
Example:
  pim compare examples/reference.png examples/distorted.png examples/reference.png -m psnr -m ssim
"""
COLUMNS = ("reference", "a", "b", "metric", "value_a", "value_b", "closer", "difference", "lower_is_better")


@dataclass(frozen=True)
class Verdict:
    """What one metric says of two candidates."""

    metric: str
    a: float
    b: float
    lower_is_better: bool

    @property
    def closer(self) -> Literal["a", "b", "neither"]:
        """The candidate that is closer to the reference."""
        if self.a == self.b:
            return "neither"
        return "a" if (self.a < self.b) == self.lower_is_better else "b"

    @property
    def difference(self) -> float:
        """By how much, in units of the metric, >= 0."""
        return 0.0 if self.a == self.b else abs(self.a - self.b)


def compare(
    reference: Annotated[str, typer.Argument(metavar="REF", help="The reference.")],
    a: Annotated[str, typer.Argument(metavar="A", help="A distorted image.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    metric: common.Metrics = None,
    align: common.Align = None,
    save_aligned: common.SaveAligned = None,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
) -> None:
    """Say which of two images is closer to a reference, by how much."""
    pairs = from_files(reference, [a, b])
    common.keep_inputs(target, (reference, a, b))
    opening = common.open_options(background, frame, max_pixels)
    metrics = common.load_metrics(metric, device, align)
    from pim.scoring.engine import score

    found = list(score(pairs.items, metrics, device=common.chosen_device(device), opening=opening, align=False))
    for error in (error for pair in found for error in pair.errors.values()):
        raise error
    if save_aligned is not None:
        from pim.scoring.pictures import Reading
        from pim.scoring.saving import saver

        save = saver(save_aligned, pairs.items, metrics, Reading(opening))
        for pair in found:
            save(pair)
    first, second = (pair.values for pair in found)
    verdicts = [Verdict(m.name, first[m.name], second[m.name], m.lower_is_better) for m in metrics]
    records = [_record(verdict, (reference, a, b)) for verdict in verdicts]
    text = "".join(_sentence(verdict, a, b) for verdict in verdicts)
    common.show(form, target, {"records": records}, csv_table(COLUMNS, records), text)


def _record(verdict: Verdict, names: tuple[str, str, str]) -> dict[str, Any]:
    said = (verdict.metric, verdict.a, verdict.b, verdict.closer, verdict.difference, verdict.lower_is_better)
    record: dict[str, Any] = dict(zip(COLUMNS, (*names, *said), strict=True))
    if not all(map(math.isfinite, (verdict.a, verdict.b))):
        record["infinite"] = [key for key in ("value_a", "value_b", "difference") if not math.isfinite(record[key])]
    return record


def _sentence(verdict: Verdict, a: str, b: str) -> str:
    rule = "lower is closer" if verdict.lower_is_better else "higher is closer"
    if verdict.closer == "neither":
        return f"{verdict.metric}: both are equally close, {short(verdict.a)}\n"
    candidates = [(one_line(a), short(verdict.a)), (one_line(b), short(verdict.b))]
    (near, best), (far, other) = candidates if verdict.closer == "a" else candidates[::-1]
    by = short(verdict.difference)
    return f"{verdict.metric}: {near} is closer than {far} by {by}: {best} against {other} ({rule})\n"
