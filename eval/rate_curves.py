"""Points of rate and quality: tables of them, averages over pictures, and curves in decibels."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pim.core.info import MetricInfo
from pim.errors import InputError
from pim.eval.bd_rate import Curve
from pim.metrics.catalogue import BUILT_IN

COLUMNS = ("codec", "setting", "images", "bpp")
ALIASES = {"psnr_rgb": "psnr", "psnr_y": "psnr-y", "msssim_rgb": "ms-ssim", "ms_ssim": "ms-ssim"}
LUMA = "psnr-y"


@dataclass(frozen=True)
class RatePoint:
    """A codec at one setting: means over pictures."""

    codec: str
    setting: str  # such as a quality or a lambda; empty if not known
    images: int  # 0: not known
    bpp: float  # bits per pixel
    values: Mapping[str, float]  # by metric, in the metric's own direction


def average(points: Sequence[RatePoint]) -> list[RatePoint]:
    """One point for every codec and setting, in their order: the mean over pictures, each counting alike.

    A metric that some pictures of a setting lack is left out of it.
    """
    groups: dict[tuple[str, str], list[RatePoint]] = {}
    for point in points:
        groups.setdefault((point.codec, point.setting), []).append(point)
    found = []
    for (codec, setting), members in groups.items():
        count = len(members)
        shared = [name for name in members[0].values if all(name in m.values for m in members)]
        values = {name: sum(m.values[name] for m in members) / count for name in shared}
        found.append(RatePoint(codec, setting, count, sum(m.bpp for m in members) / count, values))
    return found


def read(path: Path) -> list[RatePoint]:
    """The points of a table with the columns codec and bpp; every other column of a known metric is read.

    `psnr_rgb`, `psnr_y` and `msssim_rgb` are read as psnr, psnr-y and ms-ssim. Empty cells are values that were not
    measured.

    Raises:
        InputError: if a column is missing or a number cannot be read; it names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            columns = table.fieldnames or []
            if missing := [name for name in ("codec", "bpp") if name not in columns]:
                raise InputError(f"{path} lacks the column {missing[0]}; it has {', '.join(columns) or 'none'}")
            found = [_point(row, f"{path}, line {table.line_num}") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if not found:
        raise InputError(f"{path} has no rows")
    return found


def _point(row: Mapping[str, str | None], where: str) -> RatePoint:
    values = {}
    for column, cell in row.items():
        name = ALIASES.get(column, column)
        if cell and column not in COLUMNS and scale_of(name) is not None:
            values[name] = _number(cell, f"{where}, {column}")
    images = row.get("images") or "0"
    bpp = _number(row["bpp"] or "", f"{where}, bpp")
    return RatePoint(
        row["codec"] or "", row.get("setting") or "", int(_number(images, f"{where}, images")), bpp, values
    )


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise InputError(f"{where}: {cell!r} is not a number") from error
    if not math.isfinite(value):
        raise InputError(f"{where}: {cell} is not finite")
    return value


def scale_of(name: str) -> MetricInfo | None:
    """What is known of a metric by its name; None for a column that is none."""
    return BUILT_IN.get("psnr" if name == LUMA else name)


def decibels(info: MetricInfo, value: float) -> float:
    """A value as quality in dB, higher is better.

    PSNR is that already; of a distance d it is -10 log10 d, of a similarity s whose best value is 1, as SSIM and
    MS-SSIM, -10 log10(1 - s). Differences of 0 dB count as 1e-12.

    >>> from pim.metrics.catalogue import MS_SSIM
    >>> round(decibels(MS_SSIM, 0.99), 6)
    20.0
    """
    if not info.lower_is_better and info.value_range[1] == math.inf:
        return value
    lacking = value if info.lower_is_better else info.value_range[1] - value
    return -10 * math.log10(max(lacking, 1e-12))


def curves(points: Iterable[RatePoint], metric: str, info: MetricInfo) -> dict[str, Curve]:
    """The curve of every codec that has the metric in at least two points, by name in their order.

    Raises:
        InputError: if the points of a codec do not make a curve.
    """
    groups: dict[str, list[RatePoint]] = {}
    for point in points:
        if metric in point.values:
            groups.setdefault(point.codec, []).append(point)
    return {
        name: Curve.through(name, [p.bpp for p in members], [decibels(info, p.values[metric]) for p in members])
        for name, members in groups.items()
        if len(members) > 1
    }
