"""Heads of the VGG metric fitted on all rated sets but one and tested on that one, beside other metrics.

    python benchmarks/left_out.py gather tid2013=TABLE raid=TABLE sr=TABLE jpeg=TABLE
    python benchmarks/left_out.py store  tid2013=TABLE raid=TABLE sr=TABLE jpeg=TABLE --run tid2013=FOLDER --run ...
    python benchmarks/left_out.py table

`gather` computes what the network says of whole pictures and keeps it as `pim fit` does; killed, it goes on. It takes
quarters of the rows, drawn by a hash of their names, set by set: `store --share 0.25` works after the first of them.
`store` fits, tests, and keeps results/left_out.json, where a strength of null leaves a head as it was; folders of
`pim eval table --run` add other metrics on the same rows. Super-resolution takes no part in any fit.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from left_out_fits import UNTOUCHED, Left, Rated, heads, mixed
from numpy.typing import NDArray
from timing import setting

from pim.cli.common import progress
from pim.core.files import write_text
from pim.core.weights import cache_folder
from pim.eval.bootstrap import DRAWS, SEED
from pim.eval.estimate import Clusters, Estimate, IntervalOptions, difference, estimate, mean_of
from pim.eval.judgements import Plan, plan_of
from pim.eval.rated import RatedSet, Selection, datasets, looked_at
from pim.eval.session import finished
from pim.eval.store import reading
from vggmetric.fitting.preferences import preferences
from vggmetric.fitting.quantities import Collecting, collect, keys, stamp
from vggmetric.fitting.source import VGGQuantities

Array = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results" / "left_out.json"
SETS = {"tid2013": "TID2013 part", "raid": "RAID part", "jpeg": "JPEG encoders", "sr": "super-resolution"}
TESTED_ONLY = ("sr",)
PARTS = {"tid2013": ("rebuilt", "equivalent")}  # rows whose pictures can be made anew
QUARTERS = (0.25, 0.5, 0.75, 1.0)
BASELINE = "lpips-vgg"


def plan(name: str, table: Path, share: float) -> Plan:
    """Read the first rows of a set by the hash of their names, as many as the share says, whose files are here."""
    (found,) = datasets(RatedSet("table", table, allow_missing=True))
    found = looked_at(found, True, functools.partial(progress, quiet=True))
    keep = Selection(PARTS.get(name, ())).keep()
    rows = [record.key for record in found.records() if keep is None or keep(record)]
    drawn = sorted(rows, key=lambda key: hashlib.sha256(key.encode()).digest())
    chosen = set(drawn[: math.ceil(share * len(rows))])
    return plan_of(found, keep=lambda record: record.key in chosen)


def quantities(plan: Plan, source: VGGQuantities, how: Collecting, label: str) -> Array:
    """Take from the cache, or compute, what the network says of every pair, (M, P)."""
    with progress(label, len(plan.pairs)) as advance:
        return collect(source, plan.pairs, keys(plan.pairs, functools.cache(stamp)), how, advance).astype(np.float64)


def rated(tables: Mapping[str, Path], share: float, source: VGGQuantities, how: Collecting) -> Iterator[Rated]:
    """Every set with its quantities and what people prefer in it."""
    for place, name in enumerate(SETS):
        found = plan(name, tables[name], share)
        groups = [judgement.group for judgement in found.judgements]
        clusters = Clusters.of(groups, IntervalOptions(DRAWS, SEED + place))  # photos of each set drawn on their own
        yield Rated(name, found, quantities(found, source, how, name), preferences(found), clusters)


def others(data: Mapping[str, Rated], folders: Sequence[tuple[str, Path]]) -> dict[str, dict[str, Array]]:
    """Read distances of other metrics from run folders, by metric and set, (M,), for sets that a run has in full."""
    found: dict[str, dict[str, Array]] = {}
    for name, folder in folders:
        with reading(folder) as store:
            run = finished(store)
        rows = {judgement.key: place for place, judgement in enumerate(run.judgements)}
        for metric in run.values:
            distance = np.full(len(data[name].plan.pairs), np.nan)
            for judgement in data[name].plan.judgements:
                values = metric.values[rows[judgement.key]]
                distance[list(judgement.pairs)] = np.array(values, dtype=np.float64)
            found.setdefault(metric.name, {})[name] = distance if metric.lower_is_better else -distance
    return found


def measured(lines: Mapping[str, Mapping[str, Array]], data: Mapping[str, Rated]) -> dict[str, Any]:
    """Measure agreement of every line on every set, its mean over sets, and both minus that of LPIPS's head."""
    pooled = {
        line: {name: _estimate(data[name], distance) for name, distance in by_set.items()}
        for line, by_set in lines.items()
    }
    found: dict[str, Any] = {}
    for line, by_set in pooled.items():
        every = {name: (value, pooled[BASELINE][name]) for name, value in by_set.items()}
        if len(by_set) == len(SETS):
            first, second = (list(pooled[name].values()) for name in (line, BASELINE))
            every["mean"] = mean_of(first), mean_of(second)
        found[line] = {name: _record(*two) for name, two in every.items()}
        for name, distance in lines[line].items():
            found[line][name]["within"] = data[name].within_types(distance)
    return found


def _estimate(data: Rated, distance: Array) -> Estimate:
    return estimate(data.pooled(distance), data.clusters)


def _record(value: Estimate, baseline: Estimate) -> dict[str, Any]:
    away = difference(value, baseline)
    assert value.interval is not None
    assert away is not None
    assert away.interval is not None
    shown = {"value": value.value, "low": value.interval.low, "high": value.interval.high}
    return {**shown, "more": away.value, "more low": away.interval.low, "more high": away.interval.high}


def stored(tables: Mapping[str, Path], share: float, how: Collecting, folders: Sequence[tuple[str, Path]]) -> None:
    """Fit, test, and keep all numbers."""
    source = VGGQuantities("tv1k")
    data = {found.name: found for found in rated(tables, share, source, how)}
    left = Left(source.layout, tuple(name for name in SETS if name not in TESTED_ONLY), data)
    lines, strengths = heads(left)
    lines |= others(data, folders)
    mixtures, weights = mixed(left, lines, "pim", BASELINE)
    counts = {
        name: {"rows": len(d.plan.judgements), "pairs": len(d.plan.pairs), "photos": len(d.clusters.names)}
        for name, d in data.items()
    }
    chosen = {line: {name: None if s == UNTOUCHED else s for name, s in of.items()} for line, of in strengths.items()}
    about = {"setting": setting(share=share), "sets": counts, "strengths": chosen, "share of pim": weights}
    found = measured(lines | mixtures, data)
    write_text(RESULTS, json.dumps({**about, "lines": found}, indent=1) + "\n")


def table(kept: Mapping[str, Any]) -> str:
    """Write all lines, best mean first, against the sets."""
    rows = [[line, *(_cell(of.get(name)) for name in (*SETS, "mean"))] for line, of in _ordered(kept["lines"])]
    counts = [f"{SETS[name]}, {kept['sets'][name]['rows']} rows" for name in SETS]
    heads = [["", *counts, "mean", "mean, minus LPIPS-VGG's"], ["---"] * (len(SETS) + 3)]
    for row, (_, of) in zip(rows, _ordered(kept["lines"]), strict=True):
        row.append(_cell(of.get("mean"), "more"))
    return "\n".join(f"| {' | '.join(row)} |" for row in heads + rows)


def _ordered(lines: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(lines.items(), key=lambda item: -item[1].get("mean", {"value": -1.0})["value"])


def _cell(numbers: Mapping[str, float] | None, what: str = "value") -> str:
    if numbers is None:
        return "-"
    low, high = ("low", "high") if what == "value" else (f"{what} low", f"{what} high")
    shown = [f"{numbers[key]:.3f}".replace("0.", ".", 1) for key in (what, low, high)]
    within = numbers.get("within") if what == "value" else None
    beside = "" if within is None else f" / {within:.3f}".replace("0.", ".", 1)
    return f"{shown[0]}{beside} [{shown[1]}, {shown[2]}]"


def main() -> None:
    """Gather, store, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gather", "store", "table"])
    parser.add_argument("tables", nargs="*", metavar="SET=TABLE", help=f"of {', '.join(SETS)}")
    parser.add_argument("--run", action="append", default=[], metavar="SET=FOLDER", help="of pim eval table")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "quantities")
    asked = parser.parse_args()
    tables = {name: Path(path) for name, _, path in (item.partition("=") for item in asked.tables)}
    if asked.what != "table" and set(tables) != set(SETS):
        parser.error(f"name a table for each of {', '.join(SETS)}")
    how = Collecting(asked.cache, workers=0)
    if asked.what == "gather":
        source = VGGQuantities("tv1k")
        for share in QUARTERS:
            for name in SETS:
                quantities(plan(name, tables[name], share), source, how, f"{name}, {share:.0%}")
    elif asked.what == "store":
        folders = [(name, Path(path)) for name, _, path in (item.partition("=") for item in asked.run)]
        stored(tables, asked.share, how, folders)
    else:
        print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
