"""How many answers active choice saves: simulated raters, random choice against what `pim rate serve` does.

    python benchmarks/active_choice.py --figure active_choice.svg --output active_choice.json

Candidates have true Bradley-Terry scores, drawn from a normal distribution whose deviation is the spread: with a
spread of 1 the typical pair is decided 4 to 1, with a spread of 3 it is decided 70 to 1. Raters answer by these
scores and press a random button in 5 % of the cases; nobody is asked the same pair twice. A fifth of the pairs of
each reference is never asked: agreement is the probability that a new answer about such a pair goes the way that
the fitted scores say. All rules are fitted in the same way.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from agreement_vs_cost import Axis, line, text
from numpy.typing import NDArray
from scipy.special import expit
from timing import Spread, report, setting

from pim.core.files import write_text
from pim.rating.bradley_terry import fit
from pim.rating.choosing import LeastJudged, MostInformative, Tally, wins_of

Array = NDArray[np.float64]
Rule = Literal["random", "all", "active"]

RULES: dict[Rule, str] = {"random": "#7f8c8d", "all": "#2c3e50", "active": "#c0392b"}  # and their colours
HELD_OUT = 5  # one in so many pairs is never asked
PER_CANDIDATE = 2  # points of a curve per answer and candidate
DRAWS = 500
PANEL, HEIGHT = 300, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 40, 52  # margins of a panel


@dataclass(frozen=True)
class World:
    """What is simulated."""

    references: int = 10
    candidates: int = 12  # of each reference
    spread: float = 3.0  # standard deviation of true scores, in log-odds
    raters: int = 20
    lapse: float = 0.05  # share of answers that are a coin's
    answers: int = 16  # per candidate, in the end


class _Random:
    """Any pair."""

    def pick(self, open_: NDArray[np.bool_], tally: Tally, rng: np.random.Generator) -> int:
        return int(rng.choice(np.flatnonzero(open_)))


def curve(world: World, rule: Rule, seed: int) -> tuple[Array, float]:
    """Agreement on held-out pairs as answers come in, and the best that any scores reach.

    Args:
        world: What is simulated.
        rule: How the next pair is chosen.
        seed: Of scores, held-out pairs and answers; the same for all rules.

    Returns:
        (answers * 2,), after each half answer per candidate; agreement of the true scores.
    """
    rng = np.random.default_rng([seed, 0])
    theta = rng.normal(0, world.spread, (world.references, world.candidates))
    asked, held = _pairs(world, rng)
    chance, right = _chances(world, theta, asked), _chances(world, theta, held)
    names = [(f"{r:03}", f"{a:03}", f"{b:03}") for r, a, b in asked]
    rules: dict[Rule, _Random | LeastJudged | MostInformative]
    rules = {"random": _Random(), "all": LeastJudged(), "active": MostInformative(names)}
    tally, seen = Tally.empty(len(asked)), np.zeros((world.raters, len(asked)), dtype=bool)
    rng, found = np.random.default_rng([seed, 1]), []
    every = world.references * world.candidates // PER_CANDIDATE
    for number in range(1, world.answers * PER_CANDIDATE * every + 1):
        rater = number % world.raters
        pick = rules[rule].pick(~seen[rater], tally, rng)
        seen[rater, pick] = True
        (tally.first if rng.random() < chance[pick] else tally.second)[pick] += 1
        if number % every == 0:
            gap = _gaps(world, tally, asked, held)
            found.append(float(np.mean(np.where(gap > 0, right, np.where(gap < 0, 1 - right, 0.5)))))
    return np.array(found), float(np.maximum(right, 1 - right).mean())


def _pairs(world: World, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (reference, first, second) that may be asked, and those that are held out."""
    asked, held = [], []
    for reference in range(world.references):
        pairs = [(reference, *pair) for pair in itertools.combinations(range(world.candidates), 2)]
        order = rng.permutation(len(pairs))
        cut = len(pairs) // HELD_OUT
        held += [pairs[i] for i in order[:cut]]
        asked += [pairs[i] for i in order[cut:]]
    return np.array(asked, dtype=np.intp), np.array(held, dtype=np.intp)


def _chances(world: World, theta: Array, pairs: NDArray[np.intp]) -> Array:
    """How likely a rater chooses the first of each pair."""
    gap = theta[pairs[:, 0], pairs[:, 1]] - theta[pairs[:, 0], pairs[:, 2]]
    chance: Array = (1 - world.lapse) * expit(gap) + world.lapse / 2
    return chance


def _gaps(world: World, tally: Tally, asked: NDArray[np.intp], held: NDArray[np.intp]) -> Array:
    """Differences of fitted scores of the held-out pairs."""
    gap = np.empty(len(held))
    for reference in range(world.references):
        own, out = asked[:, 0] == reference, held[:, 0] == reference
        pairs = asked[own]
        wins = wins_of(pairs[:, 1], pairs[:, 2], tally.first[own], tally.second[own], world.candidates)
        mean = fit(wins).mean
        gap[out] = mean[held[out, 1]] - mean[held[out, 2]]
    return gap


def needed(active: Array, goal: float) -> float:
    """Answers per candidate after which a curve first reaches a goal; infinite if it never does."""
    curve_ = np.concatenate([[0.5], active])
    above = np.flatnonzero(curve_ >= goal - 1e-9)
    if not len(above):
        return float("inf")
    place = int(above[0])
    before, after = curve_[place - 1], curve_[place]
    return (place - 1 + float((goal - before) / (after - before))) / PER_CANDIDATE


def shares(active: Array, random: Array, answers: int) -> Spread:
    """Answers that active choice needs, as a share of those of random choice: estimate and 95 % interval.

    Args:
        active: (seeds, points).
        random: (seeds, points).
        answers: Per candidate, of random choice, whose agreement is the goal.
    """
    at = answers * PER_CANDIDATE - 1
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(active), len(active))
        draws.append(needed(active[drawn].mean(axis=0), float(random[drawn, at].mean())) / answers)
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")  # some may be infinite
    return Spread(float(low), needed(active.mean(axis=0), float(random[:, at].mean())) / answers, float(high))


def draw(curves: dict[float, dict[Rule, Array]], best: dict[float, float], about: str) -> str:
    """One panel per spread: agreement on held-out pairs against answers per candidate."""
    width = PANEL * len(curves)
    parts = [text(width / 2, 18, about, "middle")]
    for number, (spread, rules) in enumerate(curves.items()):
        parts += _panel(number * PANEL, spread, rules, best[spread])
    font = 'font-family="sans-serif" font-size="12"'
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, f'<rect width="{width}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


def _panel(left: float, spread: float, rules: dict[Rule, Array], best: float) -> list[str]:
    points = len(next(iter(rules.values()))[0])
    x = Axis(0, points / PER_CANDIDATE, left + LEFT, left + PANEL - RIGHT)
    y = Axis(0.5, 0.9, HEIGHT - BOTTOM, TOP)
    parts = [text((x.start + x.end) / 2, TOP - 6, f"spread {spread:g}", "middle")]
    for tick in np.arange(0, points / PER_CANDIDATE + 1, 4):
        parts += [line(x(tick), y.start, x(tick), y.end, "#ddd"), text(x(tick), y.start + 16, f"{tick:g}", "middle")]
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9):
        parts += [line(x.start, y(tick), x.end, y(tick), "#ddd"), text(x.start - 6, y(tick) + 4, f"{tick:.1f}", "end")]
    parts += [line(x.start, y(best), x.end, y(best), "#27ae60"), text(x.end, y(best) - 4, "true scores", "end")]
    for place, (rule, values) in enumerate(rules.items()):
        mean = values.mean(axis=0)
        path = " ".join(f"{x((i + 1) / PER_CANDIDATE):.1f},{y(value):.1f}" for i, value in enumerate(mean))
        colour = RULES[rule]
        parts += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
        where = y.start - 12 - 16 * (len(rules) - 1 - place)
        parts += [line(x.end - 70, where - 4, x.end - 52, where - 4, colour), text(x.end - 46, where, rule, "start")]
    return [*parts, text((x.start + x.end) / 2, HEIGHT - 14, "answers per candidate", "middle")]


def simulate(
    worlds: Sequence[World], seeds: int, among: Sequence[Rule] = tuple(RULES)
) -> tuple[dict[float, dict[Rule, Array]], dict[float, float]]:
    """Curves (seeds, points) of every rule by spread, and what the true scores reach."""
    curves: dict[float, dict[Rule, Array]] = {}
    best = {}
    for world in worlds:
        made = {rule: [curve(world, rule, seed) for seed in range(seeds)] for rule in among}
        curves[world.spread] = {rule: np.stack([values for values, _ in found]) for rule, found in made.items()}
        best[world.spread] = float(np.mean([top for _, top in made[among[0]]]))
    return curves, best


def main() -> None:
    """Simulate, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", type=float, action="append", help="may be repeated; by default 1, 2 and 3")
    parser.add_argument("--references", type=int, default=World.references)
    parser.add_argument("--candidates", type=int, default=World.candidates)
    parser.add_argument("--answers", type=int, default=World.answers, help="per candidate, in the end")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--figure", type=Path, help="an .svg file")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    worlds = [World(asked.references, asked.candidates, s, answers=asked.answers) for s in asked.spread or [1, 2, 3]]
    curves, best = simulate(worlds, asked.seeds)
    rows: list[dict[str, Any]] = []
    for spread, rules in curves.items():
        for answers in [n for n in (2, 4, 8, 12, 16) if n <= asked.answers]:
            means: dict[str, float] = {
                rule: float(values[:, answers * PER_CANDIDATE - 1].mean()) for rule, values in rules.items()
            }
            share = shares(rules["active"], rules["random"], answers)
            rows.append({"spread": spread, "answers": answers, **means, "best": best[spread], "share needed": share})
    size = f"{asked.references} references, {asked.candidates} candidates each, {asked.seeds} seeds"
    if asked.figure:
        write_text(asked.figure, draw(curves, best, f"Agreement with new answers on pairs never asked: {size}"))
    report(rows, setting(simulated=size), asked.output)


if __name__ == "__main__":
    main()
