"""NTC review: codes of the Laplace source, the banana and the ring, beside what is possible.

Source: arXiv 2007.03034, sections III to V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch

from pim.errors import InputError
from pim.eval.bd_rate import Curve, bd_rate
from reproductions import toy_figures
from reproductions.experiment import Claim, Context, Experiment, Findings, Preset
from reproductions.ledger import Result, number
from reproductions.toy_runs import Run, run_code, run_conditional, run_lloyd, run_variational
from reproductions.toys import limits, sources
from reproductions.toys.conditional_code import ConditionalCode
from reproductions.toys.sources import Source
from reproductions.toys.training import Recipe
from reproductions.toys.transform_code import PROXIES, Proxy, TransformCode, mlp_code
from reproductions.toys.vector_quantizer import Codebook

CLASSICAL, VARIATIONAL, BEST = "alternating ECVQ", "variational ECVQ", "soft"
ONE_CODE = {"one code, gains": False, "one code, gains and inputs": True}  # whether networks see lambda
ONE_CODE_STEPS, ONE_CODE_EXCESS = 2, 3.0  # times as many steps as for one lambda; BD-rate in percent
CODEWORDS = {1: 128, 2: 256}  # by dimension
UNIFORM_WIDTH = 40.0  # over which codewords of the Laplace source start
WIDTHS = {1: 50, 2: 100}  # of the networks
RECIPES = {"quick": Recipe(4_000, learning_rate=5e-3), "full": Recipe(100_000, 1024)}
TEST = {"quick": 1_000_000, "full": 10_000_000}


@dataclass(frozen=True)
class Plan:
    """What is run on a source."""

    source: Source
    lambdas: tuple[float, ...]
    tolerance: dict[Preset, float]  # of soft rounding above the reference, relative
    first_lambda: float | None = None  # where training with soft rounding starts, if not at its own


LAPLACE = Plan(sources.LAPLACE, (1.0, 3.0, 10.0), {"quick": 0.02, "full": 0.003})
BANANA = Plan(sources.BANANA, (0.3, 1.0, 3.0, 10.0), {"quick": 0.03, "full": 0.03})
RING = Plan(sources.RING, (0.3, 1.0, 3.0, 10.0), {"quick": 0.05, "full": 0.03}, first_lambda=0.3)


@dataclass(frozen=True)
class Outcome:
    """All codes of a source."""

    rows: dict[tuple[str, float], Result]  # by method and lambda
    codes: dict[float, TransformCode]  # soft rounding, by lambda
    books: dict[float, Codebook]  # classical, by lambda


def _run(plan: Plan, context: Context) -> Findings:
    outcome = _all(plan, context)
    rows = [_row(plan, method, lmbda, result) for (method, lmbda), result in outcome.rows.items()]
    claims = [*_classical_claims(plan, outcome), *_transform_claims(plan, outcome, context.preset)]
    claims.append(_one_code_claim(outcome))
    figures = toy_figures.draw(plan.source, outcome.rows, outcome.codes, outcome.books)
    return Findings(rows, claims, figures)


def _all(plan: Plan, context: Context) -> Outcome:
    source, recipe = plan.source, RECIPES[context.preset]
    outcome = Outcome({}, {}, {})
    for lmbda in plan.lambdas:
        run = Run(source.name, CLASSICAL, lmbda, recipe, TEST[context.preset])
        words = CODEWORDS[source.dimensions]
        outcome.rows[CLASSICAL, lmbda], outcome.books[lmbda] = run_lloyd(context, run, source.sample, words)
        run = replace(run, method=VARIATIONAL, recipe=replace(recipe, batch=1024))
        start = _first_words(source, words)
        outcome.rows[VARIATIONAL, lmbda], _ = run_variational(context, run, source.sample, start)
        for proxy in PROXIES:
            first = plan.first_lambda if proxy == BEST else None
            run = replace(run, method=proxy, recipe=replace(recipe, first_lambda=first))
            outcome.rows[proxy, lmbda], trained = run_code(context, run, source.sample, partial(_code, source, proxy))
            if proxy == BEST:
                outcome.codes[lmbda] = trained
    _conditional(plan, context, outcome)
    return outcome


def _code(source: Source, proxy: Proxy) -> TransformCode:
    return mlp_code(source.dimensions, WIDTHS[source.dimensions], source.dimensions, proxy)


def _conditional(plan: Plan, context: Context, outcome: Outcome) -> None:
    """One code for all lambdas, in two forms."""
    source, recipe = plan.source, RECIPES[context.preset]
    recipe = replace(recipe, steps=ONE_CODE_STEPS * recipe.steps)
    for method, informed in ONE_CODE.items():
        run = Run(source.name, method, plan.lambdas[0], recipe, TEST[context.preset])
        make = partial(ConditionalCode, source.dimensions, WIDTHS[source.dimensions], informed)
        found = run_conditional(context, run, source.sample, plan.lambdas, make)
        outcome.rows.update({(method, lmbda): row for lmbda, row in zip(plan.lambdas, found, strict=True)})


def _curve(outcome: Outcome, method: str) -> Curve:
    rows = [row for (name, _), row in outcome.rows.items() if name == method]
    quality = [-10 * math.log10(number(row, "distortion")) for row in rows]
    return Curve.through(method, [number(row, "rate") for row in rows], quality)


def _one_code_claim(outcome: Outcome) -> Claim:
    statement, expected = (
        "one code for all lambdas against one code for each: BD-rate",
        f"at most {ONE_CODE_EXCESS:g} %",
    )
    try:
        excess = {method: bd_rate(_curve(outcome, "noise"), _curve(outcome, method)).pchip for method in ONE_CODE}
    except InputError as error:  # codes that learned nothing
        return Claim(statement, "our bar", expected, str(error), False)
    said = ", ".join(f"{method} {value:+.2f} %" for method, value in excess.items())
    return Claim(statement, "our bar", expected, said, min(excess.values()) <= ONE_CODE_EXCESS)


def _first_words(source: Source, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if source.dimensions == 1:
        return UNIFORM_WIDTH * (torch.rand(count, 1, generator=generator) - 0.5)
    return source.sample(count, generator)


def lower_bound(source: Source, lmbda: float) -> float:
    """The Shannon lower bound of L, in bits."""
    return limits.shannon_lower_bound(source.entropy, source.dimensions, lmbda)


def reference(plan: Plan, outcome: Outcome, lmbda: float) -> float:
    """What transform codes are held against: the exact optimum where it is known, else the better codebook."""
    if plan.source is sources.LAPLACE:
        return limits.laplace_optimum(lmbda).on_laplace().loss(lmbda)
    return min(number(outcome.rows[method, lmbda], "loss") for method in (CLASSICAL, VARIATIONAL))


def _row(plan: Plan, method: str, lmbda: float, result: Result) -> Result:
    bound = lower_bound(plan.source, lmbda)
    return {"source": plan.source.name, "method": method, "lambda": lmbda, **result, "lower_bound": bound}


def _classical_claims(plan: Plan, outcome: Outcome) -> list[Claim]:
    made = []
    for lmbda in plan.lambdas:
        found = number(outcome.rows[CLASSICAL, lmbda], "loss")
        if plan.source is sources.LAPLACE:
            best = reference(plan, outcome, lmbda)
            text, holds = f"optimum {best:.4f}, at most 0.5 % above", abs(found / best - 1) <= 0.005
        else:
            bound = lower_bound(plan.source, lmbda)
            text, holds = f"above the Shannon lower bound {bound:.3f}", found > bound
        statement = f"alternating ECVQ, lambda {lmbda:g}: L"
        made.append(Claim(statement, "closed form", text, f"{found:.4f}", holds))
    return made


def _transform_claims(plan: Plan, outcome: Outcome, preset: Preset) -> list[Claim]:
    tolerance, made = plan.tolerance[preset], []
    source = "closed form" if plan.source is sources.LAPLACE else "ECVQ, this run"
    for lmbda in plan.lambdas:
        best, found = reference(plan, outcome, lmbda), number(outcome.rows[BEST, lmbda], "loss")
        statement = f"transform code with annealed soft rounding, lambda {lmbda:g}: L"
        expected = f"{best:.4f}, at most {tolerance:.1%} above"
        said = f"{found:.4f} ({found / best - 1:+.2%})"
        holds = lower_bound(plan.source, lmbda) < found <= best * (1 + tolerance)
        made.append(Claim(statement, source, expected, said, holds))
    return made


def _experiment(plan: Plan) -> Experiment:
    trainings = (2 + len(PROXIES)) * len(plan.lambdas) + len(ONE_CODE) * ONE_CODE_STEPS
    return Experiment(
        plan.source.name,
        lambda context: _run(plan, context),
        lambda preset: trainings * RECIPES[preset].steps,
    )


EXPERIMENTS = tuple(_experiment(plan) for plan in (LAPLACE, BANANA, RING))
