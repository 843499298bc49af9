"""Rounding and what stands for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ntc import quantize as q

ALPHAS = ["0.0001", "0.1", "1", "2", "5", "10"]


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_soft_rounding_agrees_with_the_public_code(golden, alpha):
    arrays = golden("ntc_tfc")
    x = tensor(arrays["sr_x"])
    both = (("fwd", q.soft_round), ("inv", q.soft_round_inverse), ("cm", q.soft_round_conditional_mean))
    for name, function in both:
        assert (function(x, float(alpha)) - tensor(arrays[f"sr_{name}_a{alpha}"])).abs().max() < 1e-6


def test_soft_rounding_is_undone_by_its_inverse_and_fixes_halves():
    y = torch.linspace(-3.3, 3.3, 67, dtype=torch.float64)
    for alpha in (0.1, 1.0, 4.0):
        assert (q.soft_round(q.soft_round_inverse(y, alpha), alpha) - y).abs().max() < 1e-9
    halves = torch.arange(-6, 7, dtype=torch.float64) / 2
    for alpha in (1e-4, 0.3, 4.0, 30.0):
        assert (q.soft_round(halves, alpha) - halves).abs().max() < 1e-12


def test_steep_soft_rounding_is_rounding_and_flat_is_the_identity():
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    x = x[((x - x.floor() - 0.5).abs() > 0.2)]  # away from ties
    assert (q.soft_round(x, 50.0) - x.round()).abs().max() < 1e-6
    assert torch.equal(q.soft_round(x, 1e-5), x)


def test_gradients_of_soft_rounding_are_finite_everywhere():
    y = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (q.soft_round(y, alpha).sum() + q.soft_round_inverse(y, alpha).sum()).backward()
    assert y.grad.isfinite().all()
    assert alpha.grad.isfinite()
    smooth = torch.tensor([-1.3, 0.2, 2.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(q.soft_round, (smooth, alpha))
    assert torch.autograd.gradcheck(q.soft_round_inverse, (smooth, alpha))


def test_perturbed_functions_give_the_expected_gradient(golden):
    arrays = golden("ntc_tfc")
    x, noise = tensor(arrays["paa_x"]).requires_grad_(), tensor(arrays["paa_u"])
    out = q.perturb_and_apply(lambda v: q.soft_round(v, 3.0), x, noise)
    assert (out - tensor(arrays["paa_y"])).abs().max() < 1e-6
    out.sum().backward()
    assert (x.grad - tensor(arrays["paa_grad"])).abs().max() < 1e-6
    x.grad = None
    q.perturb_and_apply(lambda v: v**3, x, noise).sum().backward()
    assert (x.grad - (3 * x.detach() ** 2 + 0.25)).abs().max() < 1e-12  # the mean of 3 (x + u)^2 over u


def test_rounding_is_from_the_mean_with_ties_to_even_and_passes_gradients_straight():
    y = torch.tensor([0.5, 1.5, -0.5, 2.3], requires_grad=True)
    assert q.quantise(y).tolist() == [0, 2, 0, 2]
    assert q.quantise(y, 0.5).tolist() == [0, 1, -1, 2]
    out = q.straight_through(y, 0.25)
    assert out.tolist() == [0.25, 1.25, -0.75, 2.25]
    out.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert y.grad.tolist() == [1, 2, 3, 4]


def test_dithered_rounding_errs_like_uniform_noise_whatever_it_rounds():
    y = torch.full((20000,), 0.3)
    u = torch.rand(20000, generator=torch.Generator().manual_seed(7)) - 0.5
    error = q.straight_through(y, u) - y
    assert error.abs().max() <= 0.5
    assert float(error.mean()) == pytest.approx(0, abs=0.01)
    assert float(error.var()) == pytest.approx(1 / 12, rel=0.03)


def test_noise_is_uniform_and_follows_its_seed():
    y = torch.zeros(4, 5)
    first, again = (q.add_noise(y, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() <= 0.5
    assert first.std() > 0.2
