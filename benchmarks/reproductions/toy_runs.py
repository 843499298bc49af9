"""Single runs on toy sources, with what was learned kept beside their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from reproductions.experiment import Context
from reproductions.ledger import Result
from reproductions.toys.conditional_code import ConditionalCode
from reproductions.toys.training import Measured, Recipe, Sampler, measure, measure_codebook, train
from reproductions.toys.transform_code import TransformCode
from reproductions.toys.vector_quantizer import Codebook, VariationalQuantizer, lloyd

LLOYD_SAMPLES = 60_000
TEST_SEED = 1


@dataclass(frozen=True)
class Run:
    """One code of one source at one lambda."""

    experiment: str
    method: str
    lmbda: float
    recipe: Recipe
    test: int  # samples to measure on

    def settings(self) -> Result:
        """What the result depends on."""
        recipe = self.recipe
        return {
            "experiment": self.experiment,
            "method": self.method,
            "lambda": self.lmbda,
            "steps": recipe.steps,
            "batch": recipe.batch,
            "learning_rate": recipe.learning_rate,
            "seed": recipe.seed,
            "first lambda": recipe.first_lambda,
            "rounded": recipe.rounded,
            "test": self.test,
        }


def run_code(
    context: Context, run: Run, sample: Sampler, make: Callable[[], TransformCode]
) -> tuple[Result, TransformCode]:
    """Train a transform code and measure it, or take what an earlier run kept.

    Args:
        context: Ledger and watch.
        run: Which.
        sample: Draws from the source.
        make: The code before training; called after seeding.
    """

    def fresh() -> TransformCode:
        torch.manual_seed(run.recipe.seed)
        return make()

    def work() -> Result:
        code = fresh()
        train(code, sample, (run.lmbda, run.lmbda), run.recipe, lambda steps: context.watch(steps, _label(run)))
        measured = measure(code, sample, run.lmbda, run.test, TEST_SEED)
        _keep(context, run, code)
        return {**_result(measured), "used": used_symbols(code, sample)}

    result = context.ledger.run(run.settings(), work)
    code = fresh()
    code.load_state_dict(_kept(context, run))
    return result, code


def run_conditional(
    context: Context, run: Run, sample: Sampler, lambdas: Sequence[float], make: Callable[[], ConditionalCode]
) -> list[Result]:
    """Train one code for all lambdas between the first and the last, and measure it at each of them."""

    def work() -> Result:
        torch.manual_seed(run.recipe.seed)
        code = make()
        train(code, sample, (lambdas[0], lambdas[-1]), run.recipe, lambda steps: context.watch(steps, run.method))
        _keep(context, run, code)
        found = [measure(code, sample, lmbda, run.test, TEST_SEED) for lmbda in lambdas]
        return {f"{key} at {i}": value for i, one in enumerate(found) for key, value in _result(one).items()}

    together = context.ledger.run({**run.settings(), "up to lambda": lambdas[-1]}, work)
    keys = ("rate", "distortion", "loss", "error")
    return [{key: together[f"{key} at {i}"] for key in keys} for i in range(len(lambdas))]


def run_variational(context: Context, run: Run, sample: Sampler, words: Tensor) -> tuple[Result, Codebook]:
    """Train a codebook by stochastic descent and measure it; codewords start at `words`."""

    def work() -> Result:
        quantizer = VariationalQuantizer(words)
        train(quantizer, sample, (run.lmbda, run.lmbda), run.recipe, lambda steps: context.watch(steps, _label(run)))
        return _measure_book(context, run, quantizer.codebook(), sample)

    return _book(context, run, work)


def run_lloyd(context: Context, run: Run, sample: Sampler, words: int) -> tuple[Result, Codebook]:
    """Classical entropy-constrained vector quantisation on a fixed training set, measured on fresh samples."""

    def work() -> Result:
        generator = torch.Generator().manual_seed(run.recipe.seed)
        x = sample(LLOYD_SAMPLES, generator)
        book = lloyd(x, run.lmbda, x[:words])
        context.watch(run.recipe.steps, _label(run))
        return _measure_book(context, run, book, sample)

    return _book(context, run, work)


@torch.no_grad()
def used_symbols(code: TransformCode, sample: Sampler, count: int = 20_000) -> int:
    """How many different reconstructions occur among some samples."""
    x = sample(count, torch.Generator().manual_seed(TEST_SEED))
    return len(torch.unique(code.symbols(x), dim=0))


def _label(run: Run) -> str:
    return f"{run.method}, lambda {run.lmbda:g}"


def _result(measured: Measured) -> Result:
    return {
        "rate": measured.point.rate,
        "distortion": measured.point.distortion,
        "loss": measured.loss,
        "error": measured.error,
    }


def _book(context: Context, run: Run, work: Callable[[], Result]) -> tuple[Result, Codebook]:
    result = context.ledger.run(run.settings(), work)
    tensors = _kept(context, run)
    return result, Codebook(tensors["words"], tensors["bits"])


def _measure_book(context: Context, run: Run, book: Codebook, sample: Sampler) -> Result:
    measured = measure_codebook(book, sample, run.lmbda, run.test, TEST_SEED)
    context.ledger.keep(_artefact(context, run), save({"words": book.words, "bits": book.bits}))
    return {**_result(measured), "used": book.used}


def _artefact(context: Context, run: Run) -> Path:
    return context.ledger.artefact(run.settings(), ".safetensors")


def _keep(context: Context, run: Run, code: nn.Module) -> None:
    context.ledger.keep(_artefact(context, run), save(dict(code.state_dict())))


def _kept(context: Context, run: Run) -> dict[str, Tensor]:
    return load(_artefact(context, run).read_bytes())
