"""Small rated data sets made in memory and on disk, for tests of fitting."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pim.eval.judgements import About, Judgement, Plan, PlannedPair
from pim.scoring.pictures import FilePicture

Array = NDArray[np.float64]


def planned(name: str, pairs: list[tuple[str, str]]) -> tuple[PlannedPair, ...]:
    """Pairs of files that need not exist."""
    return tuple(PlannedPair(f"{name} | {a} | {b}", FilePicture(Path(a)), FilePicture(Path(b))) for a, b in pairs)


def opinion_plan(scores: dict[str, list[float]], name: str = "toy", deviation: float | None = None) -> Plan:
    """Scores by reference, higher is better; the pairs are in their order."""
    pairs, judgements = [], []
    for reference, values in scores.items():
        for number, value in enumerate(values):
            row = Judgement(f"{reference}/{number}", (len(pairs),), value, reference, deviation=deviation)
            judgements.append(row)
            pairs.append((f"{name}/{reference}.png", f"{name}/{reference}_{number}.png"))
    return Plan(About(name, "opinion", True), planned(name, pairs), tuple(judgements))


def choice_plan(rows: list[tuple[str, str, str, float, int]], name: str = "chosen", kind: Any = "two_afc") -> Plan:
    """Rows of reference, first, second, share, votes."""
    pairs: list[tuple[str, str]] = []
    judgements = []
    for number, (reference, first, second, share, votes) in enumerate(rows):
        places = []
        for distorted in (first, second):
            pair = (f"{name}/{reference}.png", f"{name}/{distorted}.png")
            if pair not in pairs:
                pairs.append(pair)
            places.append(pairs.index(pair))
        judgements.append(Judgement(f"row {number}", tuple(places), share, reference, people=votes))
    return Plan(About(name, kind), planned(name, pairs), tuple(judgements))


@dataclass(frozen=True)
class Simulated:
    """Ratings that a known head gave."""

    plan: Plan
    quantities: Array  # (M, P)
    weights: Array  # (P,) of the head, in log-odds


def simulated(
    weights: Array, *, photos: int, triplets: int, votes: int, seed: int, shuffled: bool = False
) -> Simulated:
    """Forced choices drawn from the choice model; `shuffled` gives each choice the answers of another."""
    random = np.random.default_rng(seed)
    count = photos * triplets
    of_photo = np.repeat(random.gamma(4.0, 0.25, (photos, 1)), 2 * triplets, axis=0)
    quantities = of_photo * random.gamma(1.0, 1.0, (2 * count, len(weights)))
    distance = quantities @ weights
    chance = 1 / (1 + np.exp(distance[1::2] - distance[::2]))
    share = random.binomial(votes, chance) / votes
    if shuffled:
        share = random.permutation(share)
    rows = [(f"photo{i // triplets}", f"x{i}", f"y{i}", float(share[i]), votes) for i in range(count)]
    return Simulated(choice_plan(rows), quantities, weights)


def rated_table(folder: Path, photos: int = 4, versions: int = 4, size: tuple[int, int] = (40, 36)) -> Path:
    """A table of opinions of noisy pictures, whose scores fall with the noise; returns the table."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for photo in range(photos):
        random = np.random.default_rng(photo)
        coarse = random.integers(40, 216, (size[1] // 4, size[0] // 4, 3))
        clean = np.kron(coarse, np.ones((4, 4, 1)))
        Image.fromarray(clean.astype(np.uint8)).save(folder / "images" / f"{photo}.png")
        for version in range(versions):
            noisy = clean + random.normal(0, 4.0 + 9 * version, clean.shape)
            name = f"images/{photo}_{version}.png"
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / name)
            score = 8 - 1.5 * version + random.normal(0, 0.2)
            rows.append((f"images/{photo}.png", name, f"{score:.3f}", 1, f"photo{photo}"))
    table = folder / "ratings.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("reference", "distorted", "score", "higher_is_better", "content"))
        writer.writerows(rows)
    return table
