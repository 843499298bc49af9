"""Codes of toy sources: quantisers against closed forms, transform codes against themselves."""

from __future__ import annotations

import math

import pytest
import torch
from reproductions.toys import limits, sources
from reproductions.toys.conditional_code import ConditionalCode
from reproductions.toys.training import Recipe, learning_rate, measure, measure_codebook, train
from reproductions.toys.transform_code import PROXIES, TransformCode, linear_code, mlp_code
from reproductions.toys.vector_quantizer import Codebook, VariationalQuantizer, lloyd
from torch import nn

from pim.errors import TrainingError


def laplace(count, seed=0):
    return sources.LAPLACE.sample(count, torch.Generator().manual_seed(seed))


def brute_winner(x, book, lmbda):
    costs = [
        [float(book.bits[k]) + lmbda * float((v - book.words[k]).square().sum()) for k in range(len(book.words))]
        for v in x
    ]
    return [row.index(min(row)) for row in costs]


def test_the_winner_is_the_cheapest_codeword():
    generator = torch.Generator().manual_seed(0)
    book = Codebook(torch.randn(7, 3, generator=generator), torch.rand(7, generator=generator) * 4)
    x = torch.randn(40, 3, generator=generator)
    for lmbda in (0.1, 2.0):
        assert book.winners(x, lmbda).tolist() == brute_winner(x, book, lmbda)


def test_alternating_descent_never_climbs_and_reaches_the_optimum_of_the_laplace_source():
    x = laplace(30_000)
    losses = [lloyd(x, 1.0, x[:64], most=most).measure(x, 1.0).loss(1.0) for most in (1, 2, 4, 8, 200)]
    assert all(b <= a + 1e-6 for a, b in zip(losses[:-1], losses[1:], strict=True))
    book = lloyd(x, 3.0, x[:64])
    found = measure_codebook(book, sources.LAPLACE.sample, 3.0, 200_000)
    best = limits.laplace_optimum(3.0).on_laplace().loss(3.0)
    assert best - 4 * found.error < found.loss < 1.005 * best + 2 * found.error
    assert float((2**-book.bits).sum()) == pytest.approx(1, abs=1e-5)


def test_the_loss_of_the_variational_quantizer_is_that_of_its_codebook():
    x = laplace(500)
    quantizer = VariationalQuantizer(x[:16])
    with torch.no_grad():
        quantizer.logits.normal_(generator=torch.Generator().manual_seed(1))
    book = quantizer.codebook()
    assert float((2**-book.bits).sum()) == pytest.approx(1, abs=1e-5)
    assert float(quantizer(x, 2.0).mean().detach()) == pytest.approx(book.measure(x, 2.0).loss(2.0), rel=1e-5)


def test_descent_improves_the_variational_quantizer_in_words_and_lengths():
    quantizer = VariationalQuantizer(torch.linspace(-8, 8, 33)[:, None])
    before = measure_codebook(quantizer.codebook(), sources.LAPLACE.sample, 1.0, 20_000).loss
    train(quantizer, sources.LAPLACE.sample, (1.0, 1.0), Recipe(600, 256, 0.1))
    after = measure_codebook(quantizer.codebook(), sources.LAPLACE.sample, 1.0, 20_000).loss
    best = limits.laplace_optimum(1.0).on_laplace().loss(1.0)
    assert before > 2 * best
    assert best * 0.98 < after < best * 1.05


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_proxy_of_rounding_gives_gradients_to_all_it_uses(proxy):
    torch.manual_seed(0)
    code = mlp_code(2, 10, 2, proxy)
    coded = code(sources.BANANA.sample(64, torch.Generator().manual_seed(0)))
    assert coded.bits.shape == coded.error.shape == (64,)
    (coded.bits + coded.error).mean().backward()
    for name, parameter in code.named_parameters():
        used = proxy == "soft" or name != "steepness"
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == used, name


def test_straight_through_distortion_is_that_of_rounding():
    torch.manual_seed(0)
    code = mlp_code(2, 10, 2, "straight-through")
    x = sources.BANANA.sample(64, torch.Generator().manual_seed(0))
    with torch.no_grad():
        rounded = (x - code.synthesis(code.analysis(x).round())).square().sum(1)
    torch.testing.assert_close(code(x).error.detach(), rounded)


def test_soft_rounding_rises_then_is_learned():
    code = mlp_code(1, 5, 1, "soft")
    code.risen = 0.5
    assert float(code.alpha()) == 1.5
    code.risen = 1.0
    assert float(code.alpha().detach()) == pytest.approx(3.0)
    assert code.alpha().requires_grad


def test_what_is_measured_is_what_symbols_bring():
    torch.manual_seed(0)
    code = mlp_code(2, 10, 2, "noise")
    with torch.no_grad():
        for parameter in code.density.parameters():
            parameter.add_(0.3)  # so that the median is nowhere special
    x = sources.BANANA.sample(200, torch.Generator().manual_seed(0))
    symbols = code.symbols(x)
    assert torch.equal(symbols, symbols.round())
    assert 0 < float(code.offset().abs().max()) <= 0.5
    coded = code.code(x)
    torch.testing.assert_close(coded.error, (x - code.reconstruct(symbols)).square().sum(1))
    probability = code.density.likelihood(symbols + code.offset()).prod(1)
    torch.testing.assert_close(coded.bits, -probability.log2(), rtol=1e-4, atol=1e-4)


def test_a_linear_code_loses_what_its_steps_and_its_basis_lose():
    basis = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q[:3]
    code = linear_code(basis)
    with torch.no_grad():
        code.analysis.log_scale.copy_(torch.tensor([2.0, 3.0, 1.5]))
        code.synthesis.weight.copy_(torch.exp(-code.analysis.log_scale))
    x = torch.randn(40_000, 5, generator=torch.Generator().manual_seed(1))
    steps = torch.exp(-code.analysis.log_scale.detach())
    lost = (x - x @ basis.T @ basis).square().sum(1)
    expected = float(lost.mean() + (steps.square() / 12).sum())  # fine steps lose as dithered ones do
    assert float(code.code(x).error.detach().mean()) == pytest.approx(expected, rel=0.01)
    assert float(code(x).error.detach().mean()) == pytest.approx(expected, rel=0.01)


def test_a_linear_code_learns_to_leave_out_coefficients_that_cost_more_than_they_save():
    basis, deviations = torch.eye(3), torch.tensor([1.0, 1.0, 0.02])
    code = linear_code(basis)

    def sample(count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(count, 3, generator=generator) * deviations

    train(code, sample, (10.0, 10.0), Recipe(1500, 256, 5e-3))
    found = measure(code, sample, 10.0, 20_000)
    rate = 2 * (0.5 * math.log2(10 * 2 * math.log(2)))  # reverse water-filling of the two that are worth it
    ideal = rate + 10 * (2 / (10 * 2 * math.log(2)) + 0.02**2)
    assert ideal < found.loss < ideal + 2 * 0.3  # scalar quantisers lose .25 bits a coefficient
    assert len(torch.unique(code.symbols(sample(1000, torch.Generator().manual_seed(5)))[:, 2])) == 1


@pytest.mark.parametrize("informed", [False, True])
def test_a_code_for_all_lambdas_has_finer_cells_at_larger_ones(informed):
    torch.manual_seed(0)
    code = ConditionalCode(1, 10, informed)
    train(code, sources.LAPLACE.sample, (1.0, 10.0), Recipe(400, 256, 5e-3))
    low, high = (measure(code, sources.LAPLACE.sample, lmbda, 20_000) for lmbda in (1.0, 10.0))
    assert high.point.rate > low.point.rate + 1
    assert high.point.distortion < low.point.distortion / 2


def test_the_price_of_a_cell_is_what_the_density_holds_in_it():
    torch.manual_seed(0)
    code = ConditionalCode(1, 10, False)
    k = torch.arange(-3000.0, 3001.0)[:, None]
    gain = torch.full_like(k, 2.5)
    bits = code._coded(torch.zeros_like(k), torch.zeros_like(k), gain, k).bits.detach().double()
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-3)
    inner = slice(2990, 3011)
    with torch.no_grad():
        held = code.density.cdf((k[inner] + 0.5) / 2.5) - code.density.cdf((k[inner] - 0.5) / 2.5)
    torch.testing.assert_close(bits[inner], -held[:, 0].log2().double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("proxy", ["noise", "soft"])
def test_wide_cells_cost_what_the_density_holds_in_them(proxy):
    torch.manual_seed(0)
    code = mlp_code(1, 10, 1, proxy)
    k, gain = torch.arange(-3000.0, 3001.0)[:, None], 0.25
    with torch.no_grad():  # whole numbers are where soft rounding puts the middles of cells
        bits = code._bits_of_wide_cells(k, code.alpha() if proxy == "soft" else None, gain).double()
        held = code.density.cdf((k + 0.5) / gain) - code.density.cdf((k - 0.5) / gain)
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-3)
    inner = slice(2990, 3011)
    torch.testing.assert_close(bits[inner], -held[inner].log2().double(), rtol=1e-4, atol=1e-4)


def test_lambda_rises_to_its_own_while_cells_shrink_to_their_width():
    gains = []

    class Told(TransformCode):
        def forward(self, x, generator=None, gain=1.0):
            gains.append(gain)
            return super().forward(x, generator, gain)

    code = Told(nn.Linear(1, 1), nn.Linear(1, 1), 1, "soft")
    train(code, sources.LAPLACE.sample, (9.0, 9.0), Recipe(16, 8, first_lambda=1.0))
    assert gains[:5] == pytest.approx([1 / 3, 3**-0.75, 3**-0.5, 3**-0.25, 1])
    assert gains[4:] == [1.0] * 12


def test_the_last_steps_fit_density_and_synthesis_to_rounded_latents():
    def trained(recipe):
        torch.manual_seed(0)
        code = mlp_code(1, 20, 1, "soft")
        train(code, sources.LAPLACE.sample, (3.0, 3.0), recipe)
        return code

    before, after = trained(Recipe(200, 128, 5e-3)), trained(Recipe(300, 128, 5e-3, rounded=1 / 3))
    for one, other in zip(before.analysis.parameters(), after.analysis.parameters(), strict=True):
        assert torch.equal(one, other)
    one, other = (measure(code, sources.LAPLACE.sample, 3.0, 20_000) for code in (before, after))
    assert other.loss < one.loss - 4 * one.error


def test_training_repeats_to_the_bit():
    def trained():
        torch.manual_seed(0)
        code = mlp_code(1, 10, 1, "soft")
        train(code, sources.LAPLACE.sample, (1.0, 1.0), Recipe(60, 64))
        return torch.cat([p.detach().flatten() for p in code.parameters()])

    assert torch.equal(trained(), trained())


@pytest.mark.slow
def test_a_short_training_comes_near_the_optimum_of_the_laplace_source():
    torch.manual_seed(0)
    code = mlp_code(1, 50, 1, "soft")
    train(code, sources.LAPLACE.sample, (1.0, 1.0), Recipe(600, 256, 0.01))
    found = measure(code, sources.LAPLACE.sample, 1.0, 100_000)
    best = limits.laplace_optimum(1.0).on_laplace().loss(1.0)
    assert best - 4 * found.error < found.loss < 1.06 * best


def test_the_rate_of_learning_falls_three_times():
    recipe = Recipe(800, learning_rate=1.0)
    assert [learning_rate(recipe, step) for step in (0, 399, 400, 600, 700, 799)] == [1, 1, 0.1, 0.01, 0.001, 0.001]


def test_training_that_breaks_down_says_so():
    class Broken(TransformCode):
        def forward(self, x, generator=None, gain=1.0):
            coded = super().forward(x, generator, gain)
            return coded._replace(bits=coded.bits * math.inf)

    code = Broken(nn.Linear(1, 1), nn.Linear(1, 1), 1)
    with pytest.raises(TrainingError, match="at step 0"):
        train(code, sources.LAPLACE.sample, (1.0, 1.0), Recipe(3, 8))
