"""What codecs need in bits at equal quality, by each judge, with intervals over photographs and each seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError
from pim.eval.bd_rate import Curve, bd_rate
from pim.eval.bootstrap import draw_clusters, percentile_interval
from pim.eval.rate_curves import decibels, scale_of

Array = NDArray[np.float64]
Measured = dict[str, dict[str, dict[str, float]]]  # by picture and setting: "bpp" and the value of each judge

JUDGES = ("lpips-alex", "lpips-vgg", "dists", "mdsi", "nlpd", "psnr", "ms-ssim", "pim")
SAME = {"lpips-vgg": "vgg"}  # other names of what a loss may be made of
BASE = "mse"
RATES = {"all": slice(None), "lowest three": slice(0, 3), "highest three": slice(2, None)}  # settings of the codec
DRAWS = 1000
ENOUGH = 0.99  # share of the draws that must have a value


def found_in(folder: Path) -> dict[tuple[str, int], Measured]:
    """What was measured of every codec, by loss and seed."""
    found = {}
    for path in sorted(folder.glob("*-[0-9].json")):
        loss, _, seed = path.stem.rpartition("-")
        found[loss, int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    return found


def together(groups: Sequence[Mapping[tuple[str, int], Measured]]) -> dict[tuple[str, int], Measured]:
    """All pictures of several groups, of the codecs that all have; raises InputError if names of pictures repeat."""
    common = [key for key in groups[0] if all(key in group for group in groups)]
    for key in common:
        names = [picture for group in groups for picture in group[key]]
        if len(set(names)) < len(names):
            raise InputError(f"groups have pictures of the same name, such as {max(names, key=names.count)}")
    return {key: {picture: at for group in groups for picture, at in group[key].items()} for key in common}


def tables(
    measured: Mapping[tuple[str, int], Measured], losses: Sequence[str], base: str = BASE, ranges: bool = True
) -> dict[str, Any]:
    """Compare every loss with that of the base and the same seed, and the base with its first seed: that is chance.

    Args:
        measured: What was measured of every codec.
        losses: Which to compare.
        base: With what; the MSE.
        ranges: At low and at high rates, too.

    Returns:
        `pictures` that all have; `changes`, a row for each loss, judge and range of rates; `rates`, the mean bits
        per pixel of each loss and seed by setting.
    """
    complete = [{p for p, at in each.items() if all("bpp" in v for v in at.values())} for each in measured.values()]
    pictures = sorted(set.intersection(*complete)) if complete else []
    if not pictures:
        raise InputError("no picture is measured for all codecs yet")
    changes = []
    for loss in losses:
        pairs = _pairs(measured, loss, base)
        judges = [name for name in JUDGES if all(_has(m, pictures, name) for pair in pairs for m in pair)]
        for judge in judges if pairs else []:
            for rates, settings in RATES.items() if ranges else [("all", slice(None))]:
                row = _change([_arrays(pair, pictures, judge) for pair in pairs], judge, settings)
                changes.append({"loss": loss, "judge": judge, "rates": rates, **row})
    rates_of = [
        {"loss": loss, "seed": seed, "bpp": [round(float(x), 4) for x in _column(each, pictures, "bpp").mean(0)]}
        for (loss, seed), each in measured.items()
    ]
    return {"pictures": pictures, "changes": changes, "rates": rates_of}


def markdown(found: Mapping[str, Any]) -> str:
    """Losses by judges, over all rates; then each seed where there are several; then ranges of rates."""
    changes = found["changes"]
    judges = list(dict.fromkeys(row["judge"] for row in changes))
    rows: dict[str, dict[str, str]] = {}
    seeds: dict[str, dict[str, str]] = {}
    ranges: dict[str, dict[str, str]] = {}
    for row in changes:
        loss, rates, judge = row["loss"], row["rates"], row["judge"]
        if rates == "all":
            rows.setdefault(f"**{loss}**", {})[judge] = _cell(loss, row)
        else:
            ranges.setdefault(f"{loss}, {rates}", {})[judge] = _cell(loss, row)
        if rates == "all" and len(row["seeds"]) > 1:
            seeds.setdefault(loss, {})[judge] = ", ".join(f"{x:+.1f}" for x in row["seeds"])
    parts = (
        ("", rows),
        ("Each seed:\n\n", seeds),
        ("At the lowest and the highest three of the five rates:\n\n", ranges),
    )
    return "\n".join(title + _table(judges, part) for title, part in parts if part)


def grouped(found: Mapping[str, Any]) -> str:
    """Losses of each group of photographs by the judges that all groups have, over all rates, against each base."""
    parts = []
    for base, groups in found["against"].items():
        rows: dict[str, dict[str, str]] = {}
        for group, each in groups.items():
            for row in each["changes"]:
                name = f"{group} ({len(each['pictures'])}): {row['loss']}"
                rows.setdefault(name, {})[row["judge"]] = _cell(row["loss"], row)
        judges = [judge for judge in JUDGES if all(judge in cells for cells in rows.values())]
        parts.append(f"Against `{base}`:\n\n{_table(judges, rows)}")
    return "\n".join(parts)


def _table(judges: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> str:
    lines = [f"| | {' | '.join(judges)} |", f"| --- |{' --- |' * len(judges)}"]
    lines += [f"| {name} | {' | '.join(cells.get(judge, '') for judge in judges)} |" for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(loss: str, row: Mapping[str, Any]) -> str:
    mark = "\\*" if loss.startswith(SAME.get(row["judge"], row["judge"])) and loss != BASE else ""
    return f"{row['change']:+.1f}{mark} [{row['low']:+.1f}, {row['high']:+.1f}]"


def _pairs(measured: Mapping[tuple[str, int], Measured], loss: str, base: str) -> list[tuple[Measured, Measured]]:
    """Reference and test of every seed."""
    seeds = [seed for name, seed in measured if name == loss]
    against = {seed: 0 if loss == base else seed for seed in seeds if loss != base or seed}
    return [(measured[base, a], measured[loss, s]) for s, a in against.items() if (base, a) in measured]


def _change(pairs: Sequence[Sequence[tuple[Array, Array]]], judge: str, settings: slice) -> dict[str, Any]:
    """Mean over seeds, its interval over draws of the pictures, and each seed."""
    count = len(pairs[0][0][0])
    each = [_percent(pair, judge, settings, np.ones(count)) for pair in pairs]
    drawn = [
        fmean(_percent(pair, judge, settings, weights) for pair in pairs)
        for block in draw_clusters(count, DRAWS)
        for weights in block
    ]
    common = [value for value in drawn if math.isfinite(value)]
    inside = percentile_interval(np.array(common)) if len(common) > ENOUGH * len(drawn) else None
    low, high = (inside.low, inside.high) if inside else (math.nan, math.nan)
    return {"change": fmean(each), "low": low, "high": high, "seeds": each}


def _percent(pair: Sequence[tuple[Array, Array]], judge: str, settings: slice, weights: Array) -> float:
    """BD-rate of the test at some settings against the whole reference, means over weighted pictures.

    NaN where they have no quality in common.
    """
    info = scale_of(judge)
    assert info is not None
    curves = []
    for name, (rate, value), part in zip(("mse", "test"), pair, (slice(None), settings), strict=True):
        means = [(weights @ array / weights.sum())[part] for array in (rate, value)]
        curves.append((name, list(means[0]), [decibels(info, float(v)) for v in means[1]]))
    try:
        return bd_rate(*(Curve.through(*each) for each in curves)).pchip
    except InputError:
        return math.nan


def _has(measured: Measured, pictures: Sequence[str], name: str) -> bool:
    return all(name in values for picture in pictures for values in measured[picture].values())


def _arrays(pair: Sequence[Measured], pictures: Sequence[str], judge: str) -> list[tuple[Array, Array]]:
    return [(_column(each, pictures, "bpp"), _column(each, pictures, judge)) for each in pair]


def _column(measured: Measured, pictures: Sequence[str], name: str) -> Array:
    """(pictures, settings)."""
    return np.array([[values[name] for values in measured[picture].values()] for picture in pictures])
