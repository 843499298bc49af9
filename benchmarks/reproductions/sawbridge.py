"""The sawbridge: a neural code and the Karhunen-Loeve code beside the optimal trade-off.

Source: arXiv 2011.05065.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.figures import colours_of, panels
from reproductions.ledger import Result, number
from reproductions.toy_runs import Run, run_code
from reproductions.toys import sawbridge
from reproductions.toys.training import Recipe, Sampler
from reproductions.toys.transform_code import TransformCode, linear_code, mlp_code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAMBDAS = (15.0, 40.0, 96.0)
TOLERANCE = {"quick": (0.015, 0.04, 0.06), "full": (0.01, 0.01, 0.01)}  # L above the optimum on the grid
POINTS = {"quick": 128, "full": 1024}
RECIPES = {"quick": Recipe(9_000), "full": Recipe(200_000, 1024)}
ROUNDED = 1 / 9  # of the steps of neural codes: soft rounding leaves bits on latents that no longer change
TEST = {"quick": 200_000, "full": 1_000_000}
WIDTH, COMPONENTS, WORSE = 100, 50, 0.20  # Karhunen-Loeve at the largest lambda is worse by more than this
LATENTS = (10, 1)
KLT = "Karhunen-Loeve, scalar quantisers"


def sampler(points: int) -> Sampler:
    """Realisations scaled so that the summed squared error is the mean squared error over time."""

    def sample(count: int, generator: torch.Generator) -> Tensor:
        return sawbridge.sample(count, points, generator) / math.sqrt(points)

    return sample


def karhunen_loeve(points: int) -> TransformCode:
    """The linear code of the covariance."""
    basis = torch.from_numpy(sawbridge.eigenfunctions(COMPONENTS, points)).float()
    return linear_code(nn.functional.normalize(basis, dim=1))


def _run(context: Context) -> Findings:
    points, recipe = POINTS[context.preset], RECIPES[context.preset]
    rows: dict[tuple[str, float], Result] = {}
    codes: dict[tuple[str, float], TransformCode] = {}
    for lmbda in LAMBDAS:
        for latents in LATENTS:
            method = f"neural, {latents} latents" if latents > 1 else "neural, 1 latent"
            fitted = replace(recipe, rounded=ROUNDED)
            run = Run(f"sawbridge {points}", method, lmbda, fitted, TEST[context.preset])
            rows[method, lmbda], codes[method, lmbda] = run_code(
                context, run, sampler(points), partial(_neural, points, latents)
            )
        run = replace(run, method=KLT, recipe=recipe)
        rows[KLT, lmbda], codes[KLT, lmbda] = run_code(context, run, sampler(points), lambda: karhunen_loeve(points))
    table = [_row(method, lmbda, points, result) for (method, lmbda), result in rows.items()]
    claims = _claims(rows, points, TOLERANCE[context.preset])
    return Findings(table, claims, {"sawbridge": _figure(rows, codes, points)})


def _neural(points: int, latents: int) -> TransformCode:
    return mlp_code(points, WIDTH, latents, "soft", lambda: nn.LeakyReLU(0.2))


def _row(method: str, lmbda: float, points: int, result: Result) -> Result:
    best = sawbridge.grid_optimum(lmbda, points)
    return {
        "method": method,
        "lambda": lmbda,
        **result,
        "optimum": best.point.loss(lmbda),
        "optimal_cells": best.n,
        "above": number(result, "loss") / best.point.loss(lmbda) - 1,
    }


def _claims(rows: dict[tuple[str, float], Result], points: int, tolerances: tuple[float, ...]) -> list[Claim]:
    made = []
    for lmbda, tolerance in zip(LAMBDAS, tolerances, strict=True):
        best = sawbridge.grid_optimum(lmbda, points)
        method = min((m for m, at in rows if at == lmbda and m != KLT), key=lambda m: number(rows[m, lmbda], "loss"))
        found, optimum = number(rows[method, lmbda], "loss"), best.point.loss(lmbda)
        said = f"{found:.4f} ({found / optimum - 1:+.2%}) with {rows[method, lmbda]['used']} cells; {method}"
        expected = f"{optimum:.4f} ({best.n} cells), at most {tolerance:.1%} above"
        statement = f"neural networks compress the sawbridge optimally, lambda {lmbda:g}: L"
        made.append(Claim(statement, "closed form", expected, said, found <= optimum * (1 + tolerance)))
    last = LAMBDAS[-1]
    linear = number(rows[KLT, last], "loss")
    neural = min(number(rows[m, last], "loss") for m, at in rows if at == last and m != KLT)
    ideal = sawbridge.water_filling_optimum(last).loss(last)
    statement = f"a Karhunen-Loeve code is far from optimal, lambda {last:g}: L"
    expected = f"above {neural * (1 + WORSE):.4f}; ideal Gaussian water-filling {ideal:.4f}"
    made.append(Claim(statement, "arXiv 2011.05065", expected, f"{linear:.4f}", linear > neural * (1 + WORSE)))
    return made


def _figure(
    rows: dict[tuple[str, float], Result], codes: dict[tuple[str, float], TransformCode], points: int
) -> Figure:
    figure, (plane, cells) = panels(2)
    widest = max(8.0, *(number(row, "rate") for row in rows.values()))
    corners = [sawbridge.corner(n) for n in range(1, 33)]
    plane.plot([c.rate for c in corners], [c.distortion for c in corners], "k.-", label="optimum")
    water = [sawbridge.water_filling_at(rate) for rate in (widest * i / 200 for i in range(1, 211))]
    plane.plot([w.rate for w in water], [w.distortion for w in water], "k--", label="Gaussian water-filling")
    for method, colour in colours_of(method for method, _ in rows).items():
        found = [row for (name, _), row in rows.items() if name == method]
        rates, distortions = ([number(r, key) for r in found] for key in ("rate", "distortion"))
        plane.plot(rates, distortions, "o", color=colour, label=method)
    plane.set(
        xlabel="bits per realisation",
        ylabel="mean squared error",
        yscale="log",
        xlim=(0, 1.05 * widest),
        ylim=(4e-3, 1.3),
    )
    plane.legend(loc="upper right")
    lmbda = LAMBDAS[1]
    method, code = next((m, c) for (m, at), c in codes.items() if at == lmbda and m != KLT)
    x = sampler(points)(4000, torch.Generator().manual_seed(3))
    words = code.reconstruct(torch.unique(code.symbols(x), dim=0)) * math.sqrt(points)
    for word in words:
        cells.plot(torch.linspace(0, 1, points), word, linewidth=1)
    cells.set(xlabel="t", title=f"{method}, lambda {lmbda:g}: {len(words)} words")
    return figure


def _steps(preset: Preset) -> int:
    return (len(LATENTS) + 1) * len(LAMBDAS) * RECIPES[preset].steps


EXPERIMENTS = (Experiment("sawbridge", _run, _steps),)
