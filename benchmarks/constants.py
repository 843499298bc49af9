"""What alignment charges, chosen on all rated sets but one and tested on that one.

    python benchmarks/constants.py gather FOLDER tid2013=TABLE raid=TABLE sr=TABLE jpeg=TABLE
    python benchmarks/constants.py store FOLDER tid2013=TABLE raid=TABLE sr=TABLE jpeg=TABLE
    python benchmarks/constants.py table

`gather` registers every pair of a set and keeps in FOLDER what `pim` says of each of its stages and what has been taken
back for it; a set that is there is not computed again. `store` tries every combination of the constants on these
numbers and keeps results/constants.json; `table` prints that. Agreement is SRCC over all rows, or the share of answers.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from left_out import SETS, plan
from left_out_fits import Rated
from numpy.typing import NDArray
from timing import setting

import pim
from pim.calibration import perceptual_term
from pim.cli.common import progress
from pim.core.files import write_text, written_whole
from pim.eval.estimate import Clusters, IntervalOptions, estimate
from pim.eval.judgements import Plan
from pim.images.made import coarse, standard_picture
from pim.pim.registration import Charges, register, stages
from pim.scoring.aligned import CHARGES
from pim.scoring.engine import pixels_of
from pim.scoring.pictures import Reading, open_pair
from vggmetric.fitting.preferences import preferences

Array = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results" / "constants.json"
GRID = {
    "pixel": (0.015, 0.03, 0.06),
    "contrast": (3.0, 4.5, 6.75),
    "more": (0.025, 0.05, 0.1),
    "brightness": (1.5, 3.0, 6.0),
}
PARTS = tuple(Charges(*(float(i == k) for i in range(4))) for k in (0, 1, 3))  # each alone; `more` is of contrast
STAGES = 3


@torch.no_grad()
def gathered(plan: Plan, label: str) -> Array:
    """What is left in every stage of every pair in the metric's unit, and what each constant is multiplied with.

    Returns:
        (M, 3, 5): value, pixels, lower contrast, higher contrast, brightness; infinite where there is no such stage.
    """
    metric, picture = pim.load("pim"), standard_picture()
    unit = float(metric(picture, coarse(picture))[0])
    found = np.full((len(plan.pairs), STAGES, 5), np.inf)
    with progress(label, len(plan.pairs)) as advance:
        for place, pair in enumerate(plan.pairs):
            opened = open_pair(pair, Reading(workers=0))
            both = pixels_of(opened.reference)[None], pixels_of(opened.distorted)[None]
            (displacement,) = register(*both)
            for number, stage in enumerate(stages(both[0][0], both[1][0], displacement, tone=True)):
                if min(stage.reference.shape[-2:]) < metric.info.min_size:
                    continue
                value = float(perceptual_term(metric, stage.reference[None], stage.distorted[None])[0]) / unit
                pixels, lower, brightness = (stage.charge(part) for part in PARTS)
                higher = stage.charge(replace(PARTS[1], more=1.0)) - lower
                found[place, number] = value, pixels, lower, higher, brightness
            advance()
    return found


def distances(stages: Array, charges: Charges) -> Array:
    """The aligned distance of every pair, (M,)."""
    weights = np.array([1, charges.pixel, charges.contrast, charges.contrast * charges.more, charges.brightness])
    least: Array = np.nan_to_num(stages @ weights, nan=np.inf).min(1)
    return least


def sets(folder: Path, tables: Mapping[str, Path]) -> Iterator[tuple[Rated, Array]]:
    """Every set with the stages of its pairs, computed unless FOLDER has them."""
    for name in SETS:
        rows = plan(name, tables[name], 1.0)
        target = folder / f"{name}.npy"
        if not target.is_file():
            made = gathered(rows, name)
            with written_whole(target) as stream:
                np.save(stream, made)
        clusters = Clusters.of([judgement.group for judgement in rows.judgements], IntervalOptions())
        yield Rated(name, rows, np.empty((len(rows.pairs), 0)), preferences(rows), clusters), np.load(target)


def agreement(rated: Rated, distance: Array) -> float:
    """Pooled agreement of distances."""
    return float(rated.pooled(distance)(np.ones((1, len(rated.clusters.names))))[0])


def chosen(agreed: Mapping[Charges, Mapping[str, float]], left_out: str | None) -> Charges:
    """The constants with the highest mean over all sets but one; of equal ones those nearest to what ships."""
    others = [name for name in SETS if name != left_out]

    def far(charges: Charges) -> float:
        return float(np.abs(np.log([*asdict(charges).values()]) - np.log([*asdict(CHARGES).values()])).sum())

    return max(agreed, key=lambda c: (round(sum(agreed[c][name] for name in others), 6), -far(c)))


def left_out(data: Mapping[str, tuple[Rated, Array]]) -> dict[str, Any]:
    """For every set, and for all: the constants that the others choose, and what these and those that ship reach."""
    combinations = [Charges(*values) for values in itertools.product(*GRID.values())]
    agreed = {c: {name: agreement(rated, distances(s, c)) for name, (rated, s) in data.items()} for c in combinations}
    free = Charges(pixel=1e9, contrast=1e9, more=1.0, brightness=1e9)
    rows = {}
    for name, (rated, s) in data.items():
        best = chosen(agreed, name)
        mine = estimate(rated.pooled(distances(s, CHARGES)), rated.clusters)
        assert mine.interval is not None
        rows[name] = {
            "constants": asdict(best),
            "chosen by the others": agreed[best][name],
            "shipped": {"value": mine.value, "low": mine.interval.low, "high": mine.interval.high},
            "as they lie": agreement(rated, distances(s, free)),
            "best on the set itself": max(row[name] for row in agreed.values()),
            "n": len(rated.plan.judgements),
        }
    return {"sets": rows, "chosen on all": asdict(chosen(agreed, None))}


def table(stored: Mapping[str, Any]) -> str:
    """Print sets against constants and agreement."""
    heads = (*GRID, "as they lie", "shipped", "chosen by the others", "best on the set itself")
    lines = [f"| left out | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for name, row in stored["sets"].items():
        low, high = (_short(row["shipped"][end]) for end in ("low", "high"))
        cells = [f"{row['constants'][constant]:g}" for constant in GRID]
        cells += [_short(row["as they lie"]), f"{_short(row['shipped']['value'])} [{low}, {high}]"]
        cells += [_short(row[head]) for head in heads[-2:]]
        lines.append(f"| {SETS[name]} | {' | '.join(cells)} |")
    every = [f"{stored['chosen on all'][constant]:g}" for constant in GRID]
    return "\n".join([*lines, f"| none | {' | '.join([*every, *[''] * 4])} |"])


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def main() -> None:
    """Gather stages, choose constants, or print what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gather", "store", "table"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("tables", nargs="*", metavar="SET=TABLE")
    asked = parser.parse_args()
    if asked.what != "table":
        tables = {name: Path(path) for name, _, path in (item.partition("=") for item in asked.tables)}
        if asked.folder is None or set(tables) != set(SETS):
            parser.error(f"name FOLDER and a table for each of {', '.join(SETS)}")
        asked.folder.mkdir(parents=True, exist_ok=True)
        data = {rated.name: (rated, stages) for rated, stages in sets(asked.folder, tables)}
        if asked.what == "gather":
            return
        about = setting(grid={name: list(values) for name, values in GRID.items()}, shipped=asdict(CHARGES))
        write_text(RESULTS, json.dumps({"setting": about, **left_out(data)}, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
