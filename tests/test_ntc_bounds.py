"""Bounds, GDN and the spectral optimiser against the public implementation and by their properties."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ntc import optim
from ntc.bounds import NonNegative, lower_bound
from ntc.gdn import GDN, gdn


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


def close(ours, want, tolerance=1e-6):
    want = tensor(want)
    assert (ours.detach() - want).abs().max() <= tolerance * want.abs().max().clamp_min(1)


@pytest.mark.parametrize("mode", ["identity_if_towards", "identity", "disconnected"])
@pytest.mark.parametrize(("sign", "name"), [(1.0, "pos"), (-1.0, "neg")])
def test_the_bound_passes_the_gradients_that_its_mode_says(golden, mode, sign, name):
    arrays = golden("ntc_tfc")
    x = tensor(arrays["lb_x"]).requires_grad_()
    out = lower_bound(x, 1.0, mode)
    assert out.tolist() == [1.0, 1.0, 1.0, 2.0]
    out.backward(torch.full_like(x, sign))
    assert x.grad.tolist() == arrays[f"lb_{mode}_{name}"].tolist()


@pytest.mark.parametrize("minimum", [0.0, 1e-6])
def test_bounded_parameters_are_stored_and_read_as_in_the_public_code(golden, minimum):
    arrays = golden("ntc_tfc")
    start = NonNegative(tensor(arrays["gdnparam_init"]), minimum)
    name = f"min{minimum:g}" if minimum else "min0"
    close(start.root, arrays[f"gdnparam_var_{name}"])
    close(start(), arrays[f"gdnparam_val_{name}"])


def test_gdn_agrees_with_the_public_code_in_all_forms(golden):
    arrays = golden("ntc_tfc")
    x, beta, gamma = (tensor(arrays[f"gdn_{name}"]) for name in ("x", "beta", "gamma_in_out"))
    x, gamma = x.permute(0, 3, 1, 2), gamma.T
    for year, simplified in (("2016", False), ("2020", True)):
        for infix, inverse in (("", False), ("_inv", True)):
            ours = gdn(x, beta, gamma, inverse=inverse, simplified=simplified).permute(0, 2, 3, 1)
            close(ours, arrays[f"gdn{year}{infix}_y"])
    layer = GDN(5, simplified=True, rectify=True).double()
    layer.beta, layer.gamma = NonNegative(beta, 1e-6).double(), NonNegative(gamma).double()
    close(layer(x).permute(0, 2, 3, 1), arrays["gdn2020_rectify_y"])


@pytest.mark.parametrize("simplified", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_has_the_right_gradients_and_none_that_are_not_finite_at_zero(simplified, inverse):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    beta = (torch.rand(3, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
    gamma = torch.rand(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)

    def function(*values):
        return gdn(*values, inverse=inverse, simplified=simplified)

    assert torch.autograd.gradcheck(function, (x, beta, gamma))
    zero = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    function(zero, beta, gamma).sum().backward()
    assert zero.grad.isfinite().all()


def test_gdn_with_gamma_zero_and_beta_one_changes_nothing():
    x = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    for simplified in (False, True):
        assert torch.equal(gdn(x, torch.ones(4), torch.zeros(4, 4), simplified=simplified), x)


def test_gdn_parameters_stay_above_their_minimum_under_noisy_steps():
    layer = GDN(3)
    adam = torch.optim.Adam(layer.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(2)
    for _ in range(1000):
        for parameter in layer.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator) + 0.3
        adam.step()
        assert layer.beta().min() >= 0.99e-6
        assert layer.gamma().min() >= 0


@pytest.mark.parametrize("name", ["rdft", "rdft4"])
def test_spectra_of_kernels_agree_with_the_public_code_and_come_back(golden, name):
    arrays = golden("ntc_tfc")
    kernel = tensor(arrays[f"{name}_kernel"]).permute(3, 2, 0, 1)
    real, imaginary = optim.rdft(kernel)
    close(real.permute(1, 0, 2, 3), arrays[f"{name}_real"])
    close(imaginary.permute(1, 0, 2, 3), arrays[f"{name}_imag"])
    torch.testing.assert_close(optim.irdft(real, imaginary, tuple(kernel.shape[2:])), kernel, rtol=0, atol=1e-12)


def test_sadam_takes_the_published_steps_as_optimiser_and_as_parametrisation(golden):
    arrays = golden("ntc_numpy")
    start = tensor(arrays["sadam_K0"]).permute(3, 2, 0, 1).contiguous()
    layer = nn.Conv2d(2, 3, 5, bias=False).double()
    layer.weight.data = start.clone()
    twin = optim.parametrise(copy.deepcopy(layer))
    rate = float(arrays["sadam_lr"])
    both = [(layer, optim.Sadam(layer.parameters(), lr=rate)), (twin, torch.optim.Adam(twin.parameters(), lr=rate))]
    for grad, want in zip(arrays["sadam_grads"], arrays["sadam_K123"], strict=True):
        for module, optimiser in both:
            optimiser.zero_grad()
            (module.weight * tensor(grad).permute(3, 2, 0, 1)).sum().backward()
            optimiser.step()
            close(module.weight.permute(2, 3, 1, 0), want, 1e-10)


def test_sadam_is_adam_for_single_taps_and_outside_convolutions():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Linear(3, 2))
    twin = copy.deepcopy(layer)
    optimisers = [optim.Sadam(layer.parameters(), lr=0.1), torch.optim.Adam(twin.parameters(), lr=0.1)]
    x = torch.randn(1, 2, 5, 3)
    for _ in range(3):
        for module, optimiser in zip((layer, twin), optimisers, strict=True):
            optimiser.zero_grad()
            module(x).square().sum().backward()
            optimiser.step()
    for ours, want in zip(layer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, want)
