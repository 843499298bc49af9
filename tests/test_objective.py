from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden_pim import config_of, tensor, weights_of, worst

from pim.pim import objective
from pim.pim.distance import Mixture, log_density
from pim.pim.networks import convolve
from pim.pim.training.network import TrainingNetwork

FORMS = ("position", "scale", "image")


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("pim_joint_bound_small")


@pytest.fixture(scope="module")
def network(arrays):
    network = TrainingNetwork(config_of(arrays)).double()
    weights = weights_of(arrays, "cnn", "marginal")
    network.pim.load_state_dict(weights)
    joint = {name.removeprefix("joint."): t for name, t in weights_of(arrays, "joint").items()}
    network.joint.load_state_dict(joint)
    return network


def _terms(network, arrays, form):
    x, y = tensor(arrays["x"]), tensor(arrays["y"])
    return network(x, y, lambda band, shape: tensor(arrays[f"eps.{band}"]), form, lambda mine: mine)


def test_every_log_density_of_the_bound_equals_the_golden_one(network, arrays):
    terms = _terms(network, arrays, "scale")
    for i, t in enumerate(terms):
        for ours, key in ((t.log_q_x, "logq_x"), (t.log_q_y, "logq_y"), (t.log_joint, "logp_joint")):
            assert worst(ours, arrays[f"{key}.{i}"]) < 1e-6
        assert worst(t.cross, arrays[f"logp_cross_mean.{i}"]) < 1e-9


def test_the_joint_means_equal_the_golden_ones(network, arrays):
    x, y = tensor(arrays["x"]), tensor(arrays["y"])
    bands = zip(network.pim.pyramid.of_crops(x), network.pim.pyramid.of_crops(y), strict=True)
    for i, (band_x, band_y) in enumerate(bands):
        f_x, f_y = (convolve(network.pim.cnn[i], band.compute()) for band in (band_x, band_y))
        assert worst(network.joint[i](f_x, f_y), arrays[f"joint_mean.{i}"]) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_bound_equals_the_golden_one(network, arrays, form):
    ours = objective.bound(_terms(network, arrays, form), form).detach().numpy()
    theirs = arrays[f"bound_{form}"]
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-9)


def test_gradients_of_the_bound_equal_the_golden_ones(network, arrays):
    network.zero_grad()
    objective.bound(_terms(network, arrays, "scale"), "scale").mean().backward()
    parameters = {**dict(network.pim.named_parameters()), **dict(network.named_parameters())}
    stored = [key for key in arrays if key.startswith("grad_bound_scale.")]
    assert len(stored) == 4
    for key in stored:
        ours = parameters[key.removeprefix("grad_bound_scale.")].grad
        np.testing.assert_allclose(ours, arrays[key], rtol=1e-6, atol=1e-9 * np.abs(arrays[key]).max())


def test_mixture_log_densities_equal_the_golden_ones(golden):
    arrays = golden("pim5_small")
    from golden_pim import pim_of

    metric = pim_of(arrays, torch.float64)
    totals = {}
    for side in "xy":
        latents = metric.latents(tensor(arrays[side]))
        means = []
        for i, q in enumerate(latents):
            ours = log_density(tensor(arrays[f"z.{i}"]), q)
            assert worst(ours, arrays[f"logp_{side}.{i}"]) < 1e-6
            means.append(ours.mean((1, 2)))
            if side == "x":
                assert worst(q.means[:1], arrays[f"mu_x.{i}"]) < 1e-6
                assert worst(q.logits, arrays[f"logits_x.{i}"]) < 1e-6
        totals[side] = torch.stack(means).mean(0)
        np.testing.assert_allclose(totals[side], arrays[f"logp_total_{side}"], rtol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_cannot_exceed_log_n(form):
    generator = torch.Generator().manual_seed(0)
    means = 20 * torch.randn(
        5, 3, 4, 4, generator=generator, dtype=torch.float64
    )  # pairs that are very easy to tell apart
    z = means + torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    q = Mixture(means[:, None], None)
    terms = [objective.band_terms(z, q, q, means, means, form)]
    value = objective.bound(terms, form)
    assert value.max() <= math.log(5) + 1e-5
    assert value.mean() == pytest.approx(math.log(5), abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_of_unrelated_pairs_is_below_zero(form):
    generator = torch.Generator().manual_seed(0)
    x, y, joint = (3 * torch.randn(6, 3, 4, 4, generator=generator) for _ in range(3))
    z = joint + torch.randn(6, 3, 4, 4, generator=generator)
    terms = [objective.band_terms(z, Mixture(x[:, None], None), Mixture(y[:, None], None), joint, joint, form)]
    assert objective.bound(terms, form).mean() < 0
