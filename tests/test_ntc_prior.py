"""Densities of latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ntc import conditional
from ntc.prior import FactorisedDensity
from pim.errors import PimError

NAMES = {"df33": (3, 3), "df3333": (3, 3, 3, 3)}


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


@pytest.fixture(params=NAMES)
def public(request, golden):
    """A density with the parameters of the public code, and what that made of it."""
    name = request.param
    arrays = {key.removeprefix(f"{name}_"): value for key, value in golden("ntc_tfc").items() if f"{name}_" in key}
    density = FactorisedDensity(3, NAMES[name]).double()
    with torch.no_grad():
        for kind, parameters in (("matrix", density.matrices), ("bias", density.biases), ("factor", density.factors)):
            for i, parameter in enumerate(parameters):
                parameter.copy_(tensor(arrays[f"{kind}{i}"]))
    return density, arrays


def random_density(channels=4, seed=0):
    torch.manual_seed(seed)
    density = FactorisedDensity(channels).double()
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.7)
    return density


def test_the_density_agrees_with_the_public_code(public):
    density, arrays = public
    x = tensor(arrays["x"]).requires_grad_()
    (slope,) = torch.autograd.grad(density.cdf(x).sum(), x)
    assert (slope.log() - tensor(arrays["logprob"])).abs().max() < 1e-6
    with torch.no_grad():
        assert (density.cdf(x) - tensor(arrays["cdf"])).abs().max() < 1e-6
        assert (density.logits(x) - tensor(arrays["logits"])).abs().max() < 1e-6
        assert (density.likelihood(x) - tensor(arrays["noisy_prob"])).abs().max() < 1e-6
        assert (density.likelihood(x + 0.1, 4.0) - tensor(arrays["softround4_noisy_prob"])).abs().max() < 1e-6
        seen = arrays["noisy_bits"] < 29
        np.testing.assert_allclose(density.bits(x).numpy()[seen], arrays["noisy_bits"][seen], atol=2e-5)


def test_medians_and_tails_agree_with_the_public_code(public):
    density, arrays = public
    assert (density.median() - tensor(arrays["median"])).abs().max() < 1e-3
    for mass in ("0.00390625", "1e-09"):
        for ours, side in zip(density.tails(float(mass)), ("lower", "upper"), strict=True):
            assert (ours - tensor(arrays[f"{side}_tail_{mass}"])).abs().max() < 1e-3


def test_a_density_is_monotone_and_sums_to_one_at_any_offset():
    density = random_density()
    x = torch.linspace(-80, 80, 4001, dtype=torch.float64)[:, None].expand(-1, 4)
    assert (density.logits(x).diff(dim=0) > 0).all()
    for offset in (-0.5, 0.0, 0.37):
        n = torch.arange(-20000, 20001, dtype=torch.float64)[:, None].expand(-1, 4) + offset
        assert (density.likelihood(n).sum(0) - 1).abs().max() < 1e-6


def test_both_tails_keep_their_digits_in_single_precision():
    density = random_density()
    lower, upper = density.tails(1e-6)
    for edge in (lower, upper):
        exact = density.likelihood(edge[None])
        assert exact.max() < 1e-5
        rough = density.float().likelihood(edge[None].float())
        density.double()
        torch.testing.assert_close(rough.double(), exact, rtol=1e-2, atol=0)


def test_channels_stay_apart_whatever_surrounds_them():
    density = random_density()
    x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = x.permute(0, 2, 3, 1).reshape(-1, 4)
    want = density.bits(flat).reshape(2, 3, 5, 4).permute(0, 3, 1, 2)
    assert torch.equal(density.bits(x), want)


def test_a_density_without_tails_is_an_error():
    density = FactorisedDensity(1).double()
    with torch.no_grad():
        for matrix in density.matrices:
            matrix.fill_(-40.0)  # softplus: no slope at all
    with pytest.raises(PimError, match="no tail"):
        density.tails(1e-3)


def test_gaussian_bits_agree_with_both_references(golden):
    ours, theirs = golden("ntc_numpy"), golden("ntc_tfc")
    y, mean, scale = (tensor(ours[f"gc_{name}"]) for name in ("y", "mu", "scale"))
    grid = torch.meshgrid(y, mean, scale, indexing="ij")
    np.testing.assert_allclose(conditional.likelihood(*grid).numpy(), ours["gc_lik"], rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(conditional.bits(*grid).numpy(), ours["gc_bits"], rtol=1e-10, atol=1e-12)
    x, mean, scale = (tensor(theirs[f"nn_{name}"]) for name in ("x", "loc", "scale"))
    seen = (scale >= 0.11) & tensor(theirs["nn_bits"] < 29).bool()
    bits = conditional.bits(x[:, None], mean, scale)
    assert seen.any()
    torch.testing.assert_close(bits[seen], tensor(theirs["nn_bits"])[seen], rtol=1e-5, atol=1e-5)


def test_the_scale_table_and_the_way_into_it(golden):
    table = conditional.scale_table()
    np.testing.assert_allclose(table.numpy(), golden("ntc_tfc")["scale_table_64"], rtol=1e-12)
    index = torch.arange(64)
    torch.testing.assert_close(conditional.scale_of(index.double()), table)


def test_a_hopeless_latent_still_feels_where_the_mean_is():
    mean = torch.zeros(1, requires_grad=True)
    conditional.bits(torch.tensor([40.0]), mean, torch.tensor([0.2])).sum().backward()
    assert mean.grad.isfinite()
