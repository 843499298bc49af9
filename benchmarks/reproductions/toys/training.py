"""Training of toy codes, and measuring them on fresh samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from pim.errors import TrainingError
from reproductions.toys.conditional_code import ConditionalCode
from reproductions.toys.limits import Point
from reproductions.toys.transform_code import Coded, TransformCode
from reproductions.toys.vector_quantizer import Codebook, VariationalQuantizer

Sampler = Callable[[int, torch.Generator], Tensor]
Watch = Callable[[int], None]
CLIP = 10.0  # of the gradient: rates start at dozens of bits
DECAY = ((1 / 2, 0.1), (3 / 4, 0.01), (7 / 8, 0.001))  # from this share of the steps on, times this
RISE = 1 / 4  # share of the steps in which soft rounding gets steep and lambda reaches its own
TEST_STREAM = 1 << 20  # seeds of test samples lie this far from those of training
BATCH_OF_TEST = 1 << 16


@dataclass(frozen=True)
class Recipe:
    """How a toy code is trained; the last two are for a `TransformCode` alone."""

    steps: int
    batch: int = 512
    learning_rate: float = 1e-3
    seed: int = 0
    first_lambda: float | None = None  # from which lambda goes to its own while soft rounding rises
    rounded: float = 0.0  # last share of the steps, in which density and synthesis learn from rounded latents


@dataclass(frozen=True)
class Measured:
    """Rate and distortion on test samples, with the uncertainty of L."""

    point: Point
    loss: float  # L = rate + lambda * distortion
    error: float  # standard error of L


def learning_rate(recipe: Recipe, step: int) -> float:
    """Constant, then a tenth at 1/2, a hundredth at 3/4, a thousandth at 7/8 of all steps."""
    factors = [factor for share, factor in DECAY if step >= share * recipe.steps]
    return recipe.learning_rate * (factors[-1] if factors else 1.0)


def train(
    code: TransformCode | VariationalQuantizer | ConditionalCode,
    sample: Sampler,
    lambdas: tuple[float, float],
    recipe: Recipe,
    watch: Watch = lambda steps: None,
) -> None:
    """Minimise rate + lambda * summed squared error over fresh samples, in place.

    Args:
        code: What to train.
        sample: Draws from the source.
        lambdas: Weight of the distortion, from .. to; different only for a `ConditionalCode`.
        recipe: Steps, batch, learning rate, seed.
        watch: Told the number of steps done since it was last told.

    Raises:
        TrainingError: if L stops being a number.
    """
    generator = torch.Generator().manual_seed(recipe.seed)

    def loss(share: float) -> Tensor:
        return _loss(code, sample(recipe.batch, generator), lambdas, recipe, share, generator)

    def loss_rounded(share: float) -> Tensor:
        assert isinstance(code, TransformCode)
        return _mean(code.code(sample(recipe.batch, generator)), lambdas[0])

    last = round(recipe.rounded * recipe.steps)
    _descend(code, loss, replace(recipe, steps=recipe.steps - last), watch)
    _descend(code, loss_rounded, replace(recipe, steps=last), watch)


def _descend(code: nn.Module, loss: Callable[[float], Tensor], recipe: Recipe, watch: Watch) -> None:
    """Follow the gradient of a loss that knows which share of the steps is done."""
    optimiser = torch.optim.Adam(code.parameters(), lr=recipe.learning_rate)
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
        found = loss(step / recipe.steps)
        optimiser.zero_grad(set_to_none=True)
        found.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(code.parameters(), CLIP)
        if not math.isfinite(float(norm)):
            raise TrainingError(f"the gradient became {float(norm)} at step {step}; try a smaller learning rate")
        optimiser.step()
        watch(1)


def measure(
    code: TransformCode | ConditionalCode, sample: Sampler, lmbda: float, count: int, seed: int = 0
) -> Measured:
    """L on `count` fresh samples with real quantisation."""
    coded = partial(code.code, lmbda=lmbda) if isinstance(code, ConditionalCode) else code.code
    return _measure(coded, sample, lmbda, count, seed)


def measure_codebook(book: Codebook, sample: Sampler, lmbda: float, count: int, seed: int = 0) -> Measured:
    """L of a codebook on `count` fresh samples, each with its best codeword."""

    def coded(x: Tensor) -> Coded:
        winner = book.winners(x, lmbda)
        return Coded(book.bits[winner], (x - book.words[winner]).square().sum(1))

    return _measure(coded, sample, lmbda, count, seed)


@torch.no_grad()
def _measure(coded: Callable[[Tensor], Coded], sample: Sampler, lmbda: float, count: int, seed: int) -> Measured:
    generator = torch.Generator().manual_seed(TEST_STREAM + seed)
    rows = []
    for start in range(0, count, BATCH_OF_TEST):
        found = coded(sample(min(BATCH_OF_TEST, count - start), generator))
        rows.append(torch.stack([found.bits, found.error]).double())
    bits, error = torch.cat(rows, dim=1)
    losses = bits + lmbda * error
    return Measured(
        Point(float(bits.mean()), float(error.mean())), float(losses.mean()), float(losses.std()) / math.sqrt(count)
    )


def _loss(
    code: TransformCode | VariationalQuantizer | ConditionalCode,
    x: Tensor,
    lambdas: tuple[float, float],
    recipe: Recipe,
    share: float,
    generator: torch.Generator,
) -> Tensor:
    low, high = lambdas
    if isinstance(code, VariationalQuantizer):
        losses: Tensor = code(x, low)
        return losses.mean()
    if isinstance(code, ConditionalCode):
        lmbda = low * (high / low) ** torch.rand(len(x), generator=generator)
        coded: Coded = code(x, lmbda, generator)
        return ((coded.bits + lmbda * coded.error) / lmbda.sqrt()).mean()  # else high rates drown the others
    code.risen = min(1.0, share / RISE)
    now = low * ((recipe.first_lambda or low) / low) ** (1 - code.risen)
    return _mean(code(x, generator, math.sqrt(now / low)), now)


def _mean(coded: Coded, lmbda: float) -> Tensor:
    return (coded.bits + lmbda * coded.error).mean()
