"""Entropy-penalised weights, and the file that they fit into."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from ntc import reparameterise as epr
from ntc.reparameterise import forms, model_file, tensor_code
from ntc.reparameterise.forms import set_steps
from ntc.reparameterise.tensor_code import Reader
from ntc.tables import PRECISION
from pim.errors import InputError, PimError, UsageError, WeightsError


def small_net(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 5, (3, 5)), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 1), nn.Flatten(), nn.Linear(3 * 4 * 5, 7)
    )
    nn.init.normal_(net[1].bias)
    net(torch.randn(3, 2, 6, 9))  # statistics of the normalisation are not those of a new one
    return net.eval()


def compressed_net(seed=0, step=0.3):
    net = small_net(seed)
    epr.reparameterise(net)
    set_steps(net, step)
    with torch.no_grad():
        for found in epr.reparameterised(net):
            found.original[::3] = 0
    return net


X = torch.randn(4, 2, 6, 9, generator=torch.Generator().manual_seed(1))


def test_rounding_and_steps_agree_with_the_stored_arrays(golden):
    stored = golden("ntc_numpy")
    form = forms.ScalarForm(torch.Size((4, 5))).double()
    with torch.no_grad():
        form.log_step.fill_(float(stored["epr_log_step"]))
    latent = torch.from_numpy(stored["epr_latent"])
    np.testing.assert_allclose(form(latent.reshape(-1, 1)).detach().numpy(), stored["epr_weight"], atol=1e-12)


def test_the_price_of_a_latent_is_that_of_the_public_code(golden):
    stored = golden("ntc_tfc")
    x = torch.from_numpy(stored["nn_x"]).double()[:, None]
    centred = x - torch.from_numpy(stored["nn_loc"]).double()
    bits = forms.noisy_logistic_bits(centred, torch.from_numpy(stored["nn_scale"]).double())
    np.testing.assert_allclose(bits.numpy(), stored["nlogistic_bits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.05, 0.7, 9.0])
def test_prices_of_whole_numbers_are_code_lengths(scale):
    k = torch.arange(-4000, 4001, dtype=torch.float64)
    bits = forms.noisy_logistic_bits(k, torch.tensor(scale, dtype=torch.float64))
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-9)
    assert bool(torch.isfinite(bits).all())


@pytest.mark.parametrize(("height", "width"), [(5, 5), (4, 3), (1, 6)])
def test_the_fourier_basis_is_orthonormal_and_one_frequency_a_row(height, width):
    basis = forms.real_fourier_basis(height, width).double()
    torch.testing.assert_close(basis @ basis.T, torch.eye(height * width, dtype=torch.float64), atol=1e-6, rtol=0)
    for row in basis.reshape(-1, height, width):
        power = torch.fft.fft2(row).abs().square().numpy()
        frequencies = {(min(i, height - i), min(j, width - j)) for i, j in zip(*np.nonzero(power > 1e-8), strict=True)}
        assert len(frequencies) == 1


def test_reparameterised_weights_are_the_old_ones_up_to_half_a_step():
    net, plain = small_net(), small_net()
    epr.reparameterise(net)
    set_steps(net, 1e-4)
    torch.testing.assert_close(net(X), plain(X), atol=1e-3, rtol=1e-3)
    assert [found.name for found in epr.reparameterised(net)] == [name for name, _ in plain.named_parameters()]


def test_a_choice_leaves_tensors_as_they_are():
    net = small_net()
    epr.reparameterise(net, lambda name, weight: None if "bias" in name else forms.ScalarForm(weight.shape))
    assert {found.name for found in epr.reparameterised(net)} == {"0.weight", "1.weight", "3.weight", "5.weight"}


def test_gradients_reach_weights_steps_and_densities():
    net = small_net()
    net(X).sum().backward()  # old gradients have another shape
    epr.reparameterise(net)
    loss = net(X).square().mean() + 1e-3 * epr.code_length(net, torch.Generator().manual_seed(0))
    loss.backward()
    for found in epr.reparameterised(net):
        for parameter in (found.original, found.form.log_step, found.form.log_scale):
            assert bool(torch.isfinite(parameter.grad).all())
            assert bool(parameter.grad.abs().sum() > 0)


def test_a_price_on_bits_makes_the_file_smaller():
    def trained(price):
        net = compressed_net()
        target = small_net()(X).detach()
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(80):
            loss = (net(X) - target).square().mean() + price * epr.code_length(net, torch.Generator().manual_seed(0))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return len(epr.dumps(net))

    assert trained(1e-3) < 0.8 * trained(0.0)


def test_a_file_decodes_to_identical_predictions():
    net, first, second = compressed_net(), small_net(7), small_net(8)
    content = epr.dumps(net, {"about": "a test"})
    assert epr.loads(content, first) == epr.loads(content, second) == {"about": "a test"}
    assert torch.equal(first(X), second(X))
    epr.loads(content, net)
    assert torch.equal(net(X), first(X))
    assert not list(epr.reparameterised(net))


def test_what_is_decoded_is_steps_times_rounded_latents():
    net, fresh = compressed_net(), small_net(7)
    epr.loads(epr.dumps(net), fresh)
    state = fresh.state_dict()
    for found in epr.reparameterised(net):
        step = np.exp(found.form.log_step.detach().numpy()).astype(np.float16).astype(np.float64)
        values = np.rint(found.original.detach().double().numpy() / step) * step
        if isinstance(found.form, forms.FourierForm):
            values = values @ found.form.basis.double().numpy()
        np.testing.assert_allclose(state[found.name].numpy(), values.reshape(found.form.shape), atol=1e-6)
    plain = dict(net.named_buffers())
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(state[name], plain[name])


def test_the_file_goes_through_a_disk(tmp_path):
    net, fresh = compressed_net(), small_net(7)
    (tmp_path / "net.pntm").write_bytes(epr.dumps(net))
    epr.loads((tmp_path / "net.pntm").read_bytes(), fresh)
    assert torch.equal(fresh(X), (epr.loads(epr.dumps(net), net), net(X))[1])


def test_files_are_smaller_than_their_ideal_length_by_symbol_plus_a_head():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 100, bias=False))
    epr.reparameterise(net)
    set_steps(net, 1.0)
    (found,) = epr.reparameterised(net)
    _, counts = torch.unique(found.form.integers(found.original), return_counts=True)
    p = counts.double() / counts.sum()
    ideal = float(-(counts * p.log2()).sum()) / 8
    assert ideal < len(epr.dumps(net)) < ideal * 1.003 + 48


def test_empty_rows_and_columns_cost_a_bit_each():
    latents = np.random.default_rng(0).integers(-2, 3, (60, 50, 1)).astype(np.int32)
    latents[20:] = 0
    latents[:, 10:] = 0
    plan = tensor_code.plan(latents)
    assert (plan.rows.sum(), plan.columns.sum(), plan.count) == (20, 10, 200)
    symbols = tensor_code.symbols(latents, plan)
    back = tensor_code.from_bytes(Reader(tensor_code.to_bytes(plan)), latents.shape)
    assert np.array_equal(tensor_code.restore(symbols, back), latents)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 2), (1, 40, 3)])
def test_any_latents_survive_planning(shape):
    rng = np.random.default_rng(1)
    for spread in (0, 1, 400, 40_000):
        latents = (rng.standard_cauchy(shape) * spread).clip(-1e6, 1e6).astype(np.int32)
        plan = tensor_code.plan(latents)
        back = tensor_code.from_bytes(Reader(tensor_code.to_bytes(plan)), shape)
        assert np.array_equal(tensor_code.restore(tensor_code.symbols(latents, plan), back), latents)


def test_tables_are_valid_and_close_to_the_frequencies():
    rng = np.random.default_rng(2)
    symbols = np.rint(rng.laplace(0, 3, 5000)).astype(np.int64)
    lengths = tensor_code.fit_lengths(symbols)
    made = tensor_code.tables_of([lengths])
    counts = np.diff(made.table(0))
    assert counts.min() >= 1
    assert counts.sum() == 1 << PRECISION
    bits = PRECISION - np.log2(counts[symbols - lengths.low])
    _, frequency = np.unique(symbols, return_counts=True)
    entropy = -(frequency * np.log2(frequency / len(symbols))).sum()
    assert bits.sum() == pytest.approx(entropy, rel=0.003)


def test_groups_share_a_table_where_that_is_cheaper():
    rng = np.random.default_rng(3)
    alike = rng.integers(-1, 2, (20, 1, 25)).astype(np.int32)
    assert tensor_code.plan(alike).shared
    unlike = (alike.repeat(100, axis=0) * np.arange(1, 26)).astype(np.int32)
    assert not tensor_code.plan(unlike).shared
    for latents in (alike, unlike):
        plan = tensor_code.plan(latents)
        back = tensor_code.from_bytes(Reader(tensor_code.to_bytes(plan)), latents.shape)
        assert np.array_equal(tensor_code.restore(tensor_code.symbols(latents, plan), back), latents)
        assert np.array_equal(plan.index(), back.index())


def test_far_out_symbols_escape():
    symbols = np.array([0, 0, 1, -1, 0, 100_000, -100_000] * 3)
    lengths = tensor_code.fit_lengths(symbols)
    assert len(lengths.eighths) <= tensor_code.MOST
    assert lengths.low <= -1
    assert lengths.low + len(lengths.eighths) > 1


def test_a_damaged_file_is_an_error_and_leaves_the_module_alone():
    content = epr.dumps(compressed_net(), {"a": 1})
    fresh = small_net(7)
    before = copy.deepcopy(fresh.state_dict())
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(content)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            del broken[rng.randrange(len(broken)) :]
        with pytest.raises(WeightsError):
            epr.loads(bytes(broken), fresh)
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


@pytest.mark.slow
def test_bytes_with_a_forged_checksum_never_crash():
    net = compressed_net()
    content, fresh = epr.dumps(net, {"a": 1}), small_net(7)
    layout = list(model_file._tensors(fresh))
    rng = random.Random(1)
    refused = 0
    for _ in range(1500):
        broken = bytearray(content[:-4])
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(5, len(broken))] = rng.randrange(256)
        if rng.random() < 0.2:
            del broken[rng.randrange(5, len(broken)) :]
        forged = bytes(broken) + struct.pack("<I", model_file._checksum(bytes(broken), layout))
        try:
            epr.loads(forged, fresh)
        except PimError:
            refused += 1
    assert refused > 150


def test_files_of_other_versions_and_architectures_are_refused():
    content = epr.dumps(compressed_net())
    with pytest.raises(WeightsError, match="not of this architecture"):
        epr.loads(content, nn.Sequential(nn.Linear(3, 4)))
    with pytest.raises(WeightsError, match="version 9"):
        epr.loads(content[:4] + b"\x09" + content[5:], small_net())
    with pytest.raises(WeightsError, match="no compressed model"):
        epr.read_metadata(b"PNTX" + content[4:])
    with pytest.raises(WeightsError, match="cut short"):
        epr.read_metadata(b"PN")


def test_metadata_that_inflates_without_end_is_not_believed():
    content = epr.dumps(compressed_net())
    bomb = zlib.compress(json.dumps({"a": "x" * (model_file.METADATA_LIMIT + 1)}).encode(), 9)
    with pytest.raises(WeightsError, match="metadata"):
        epr.read_metadata(content[:5] + struct.pack("<I", len(bomb)) + bomb + content[9:])


def test_weights_that_are_not_finite_are_refused():
    net = compressed_net()
    first = next(iter(epr.reparameterised(net)))
    with torch.no_grad():
        first.original[0] = math.nan
    with pytest.raises(InputError, match="0.weight holds values that are not finite"):
        epr.dumps(net)
    with pytest.raises(UsageError, match="positive"):
        set_steps(net, 0.0)
    broken = compressed_net()
    with torch.no_grad():
        next(iter(epr.reparameterised(broken))).form.log_step.fill_(40.0)
    with pytest.raises(InputError, match="float16"):
        epr.dumps(broken)
