"""Points of rate and quality: tables of them, averages over pictures, and curves in decibels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pim.core.info import MetricInfo
from pim.datasets.cells import Rows, read_rows
from pim.errors import InputError
from pim.eval.bd_rate import Curve
from pim.metrics.registry import built_in

COLUMNS = ("codec", "setting", "images", "bpp")
ALIASES = {"psnr_rgb": "psnr", "psnr_y": "psnr-y", "msssim_rgb": "ms-ssim", "ms_ssim": "ms-ssim"}
LUMA = "psnr-y"
RAW = 48.0  # bits per pixel of pictures with 16 bits per channel

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RatePoint:
    """A codec at one setting: means over pictures."""

    codec: str
    setting: str  # such as a quality or a lambda; empty if not known
    images: int  # 0: not known
    bpp: float  # bits per pixel
    values: Mapping[str, float]  # by metric, in the metric's own direction


def average(points: Sequence[RatePoint], tell: Tell = lambda line: None) -> list[RatePoint]:
    """One point for every codec and setting, in their order: the mean over pictures, each counting alike.

    A metric that some pictures of a setting lack is left out of it. A picture that is somewhere coded without loss, so
    that its PSNR is infinite, counts for no mean, unless all pictures are such: then those values are left out.

    Points are of single pictures, for every codec and setting in one order of the pictures. What is left out is told.
    """
    groups: dict[tuple[str, str], list[RatePoint]] = {}
    for point in points:
        groups.setdefault((point.codec, point.setting), []).append(point)
    endless = {
        k for members in groups.values() for k, p in enumerate(members) if math.inf in map(abs, p.values.values())
    }
    count = max(map(len, groups.values()), default=0)
    if endless and len(endless) < count:
        tell(f"{len(endless)} of {count} pictures are coded without loss by some setting and count for no mean")
        groups = {key: [p for k, p in enumerate(members) if k not in endless] for key, members in groups.items()}
    elif endless:
        tell("all pictures are coded without loss by some setting; where a metric is infinite, it is left out")
    return [_mean(members) for members in groups.values() if members]


def _mean(members: Sequence[RatePoint]) -> RatePoint:
    count = len(members)
    shared = [name for name in members[0].values if all(math.isfinite(m.values.get(name, math.inf)) for m in members)]
    values = {name: sum(m.values[name] for m in members) / count for name in shared}
    return RatePoint(members[0].codec, members[0].setting, count, sum(m.bpp for m in members) / count, values)


def read(path: Path, tell: Tell = lambda line: None) -> list[RatePoint]:
    """Read the points of a table with the columns codec and bpp, and every other column of a known metric.

    `psnr_rgb`, `psnr_y` and `msssim_rgb` are read as psnr, psnr-y and ms-ssim. Empty cells are values that were not
    measured. A column that cannot be what it is called, or is no known metric, is told of and left out.

    Raises:
        InputError: naming the line, if a column is missing, a number cannot be read, or no column of a metric is left.
    """
    table = read_rows(path)
    table.require(("codec", "bpp"))
    if not len(table):
        raise InputError(f"{path} has no rows")
    for number, row in table.records():
        if not row["codec"]:
            raise InputError(f"{path}, line {number}: the column codec is empty")
    rates = _column(table, "bpp", 0.0, math.inf)
    counts = _column(table, "images", 0.0, math.inf) if "images" in table.columns else [None] * len(table)
    values: dict[str, list[float | None]] = {}
    wrong, unknown = [], []
    for column in table.columns:
        name = ALIASES.get(column, column)
        info = scale_of(name)
        if column in COLUMNS or info is None:
            unknown += [] if column in (*COLUMNS, "kbit_s") else [column]  # pim score --rates writes it
            continue
        if name in values:
            raise InputError(f"{path} has two columns of {name}; keep one of them")
        try:
            values[name] = _column(table, column, *info.value_range)
        except InputError as error:
            wrong.append(error)
    if wrong and not values:
        raise wrong[0]
    for line in _doubts(table, wrong, unknown, values, rates):
        tell(line)
    return [
        RatePoint(
            row["codec"],
            row.get("setting", ""),
            int(count or 0),
            rate,
            {name: value for name, value in zip(values, measured, strict=True) if value is not None},
        )
        for (_, row), count, rate, *measured in zip(table.records(), counts, rates, *values.values(), strict=True)
        if rate is not None  # as all are
    ]


def _column(table: Rows, column: str, low: float, high: float) -> list[float | None]:
    """The numbers of a column; None for empty cells, which bpp may not have."""
    cells = table.column(column)
    found = table.numbers(column)
    for at, (cell, value) in enumerate(zip(cells, found.values, strict=True)):
        where = f"{table.path}, line {table.rows[at].line}, {column}"
        if at in found.ambiguous:
            raise InputError(f"{where}: {cell!r} can be read in two ways; write a decimal point and no separator else")
        if value is None and (cell or column == "bpp"):
            raise InputError(f"{where}: {cell!r} is not a number")
        if value is not None and not math.isfinite(value):
            raise InputError(f"{where}: {cell} is not finite; leave the cell empty")
        if value is not None and not low <= value <= high:
            hint = "; values in dB or percent must be converted" if high == 1 else ""
            raise InputError(f"{where}: {value:g} is outside the range [{low:g}, {high:g}]{hint}")
    return list(found.values)


def _doubts(
    table: Rows,
    wrong: Sequence[InputError],
    unknown: Sequence[str],
    values: Mapping[str, object],
    rates: Sequence[float | None],
) -> Iterator[str]:
    path = table.path
    yield from table.notes
    yield from (f"{error}; the column is left out" for error in wrong)
    if unknown:
        yield f"{path} has columns of no known metric, which are not read: {', '.join(unknown)}"
    if not values:
        yield f"{path} has no column of a known metric, so nothing can be compared; pim metrics lists their names"
    settings = Counter((row["codec"], row["setting"]) for _, row in table.records() if row.get("setting"))
    if settings and max(settings.values()) > 1:
        (codec, setting), count = settings.most_common(1)[0]
        yield f"{path} has {codec} at setting {setting} {count} times; a curve goes through means over pictures"
    highest = max(rate or 0.0 for rate in rates)
    if highest > RAW:
        yield f"{path} has rates of up to {highest:g} bits per pixel, more than raw pictures; are these other units?"


def scale_of(name: str) -> MetricInfo | None:
    """What is known of a metric by its name; None for a column that is none."""
    return built_in().get("psnr" if name == LUMA else name)


def decibels(info: MetricInfo, value: float) -> float:
    """A value as quality in dB, higher is better.

    PSNR is that already; of a distance d it is -10 log10 d, of a similarity s whose best value is 1, as SSIM and
    MS-SSIM, -10 log10(1 - s). The best value is infinite.

    >>> from pim.metrics.registry import MS_SSIM
    >>> round(decibels(MS_SSIM, 0.99), 6)
    20.0
    """
    if not info.lower_is_better and info.value_range[1] == math.inf:
        return value
    lacking = value if info.lower_is_better else info.value_range[1] - value
    return -10 * math.log10(lacking) if lacking > 0 else math.inf


def curves(
    points: Iterable[RatePoint], metric: str, info: MetricInfo, tell: Tell = lambda line: None
) -> dict[str, Curve]:
    """Draw the curve of every codec that has the metric in at least two points; tells of every codec that has none."""
    groups: dict[str, list[RatePoint]] = {}
    for point in points:
        groups.setdefault(point.codec, []).extend([point] if metric in point.values else [])
    found = {}
    for name, members in groups.items():
        try:
            if len(members) > 1:
                quality = [decibels(info, p.values[metric]) for p in members]
                found[name] = Curve.through(name, [p.bpp for p in members], quality)
            else:
                tell(f"{metric}: {name} is not compared; a curve needs two points, it has {len(members)}")
        except InputError as error:
            tell(f"{metric}: {error}; not compared")
    return found
