"""The layer that makes features cheap to store."""

from __future__ import annotations

import contextlib
import random
import struct

import numpy as np
import pytest
import torch
from reproductions.feature_coders import ScalarCoder, deflated
from torch import nn

from ntc.features import CompressibleBottleneck
from pim.errors import InputError, PimError


def features(count=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.02, 1.0, 6.0, 30.0])
    return torch.randn(count, 4, generator=generator) * spread + torch.tensor([0.0, 2.0, -7.0, 0.3])


def trained(steps=400):
    torch.manual_seed(0)
    layer = CompressibleBottleneck(4)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.03)
    for step in range(steps):
        x = features(256, step + 1)
        seen, bits = layer(x)
        loss = (seen - x).square().sum(1).mean() + 0.1 * bits.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layer.eval()


@pytest.fixture(scope="module")
def layer():
    return trained()


def test_training_sees_noise_and_evaluation_sees_rounding(layer):
    x = features()
    with torch.no_grad():
        scale = torch.exp(layer.log_scale)
        seen, bits = layer(x)
        assert float(((seen - x) * scale).abs().max()) <= 0.5 + 1e-4
        assert torch.equal(seen, layer(x)[0])
        assert bits.shape == (300,)
        layer.train()
        noisy = layer(x)[0]
        layer.eval()
    assert float(((noisy - x) * scale).abs().max()) <= 0.5 + 1e-4
    assert float(((noisy - x) * scale).std()) == pytest.approx(12**-0.5, rel=0.1)
    assert not torch.equal(noisy, seen)


def test_bytes_bring_back_what_evaluation_hands_on(layer):
    x = features(123)
    data = layer.compress(x)
    assert torch.equal(layer.decompress(data), layer(x)[0].detach())


def test_real_bytes_are_those_that_training_counts_with(layer):
    x = features(1000)
    estimate = float(layer(x)[1].detach().sum()) / 8
    assert len(layer.compress(x)) <= 1.02 * estimate + 16


def test_rare_features_are_coded_too(layer):
    x = features(5)
    x[2, 1], x[3, 2] = 1e4, -1e4
    assert torch.equal(layer.decompress(layer.compress(x)), layer(x)[0].detach())


def test_no_features_are_no_problem(layer):
    assert layer.decompress(layer.compress(features(3)[:0])).shape == (0, 4)


def test_maps_share_a_density_at_all_places(layer):
    x = features(24).reshape(2, 3, 4, 4).permute(0, 3, 1, 2)
    seen, bits = layer(x)
    flat, each = layer(x.permute(0, 2, 3, 1).reshape(24, 4))
    torch.testing.assert_close(seen.permute(0, 2, 3, 1).reshape(24, 4), flat)
    torch.testing.assert_close(bits, each.reshape(2, 12).sum(1))


def test_the_price_reaches_what_made_the_features():
    torch.manual_seed(0)
    layer, before = CompressibleBottleneck(4), nn.Linear(4, 4)
    layer(before(features(32)))[1].mean().backward()
    assert float(before.weight.grad.abs().sum()) > 0
    assert float(layer.log_scale.grad.abs().sum()) > 0


def test_finer_steps_round_less_and_are_counted_as_truly():
    coarse, fine = trained(), trained()
    x, sample = features(1000, 3), features(4000, 4)
    before = list(fine.parameters())
    fine.refine(4.0, sample)
    assert all(now is then for now, then in zip(fine.parameters(), before, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(fine.log_scale, coarse.log_scale + np.log(4))
        (seen, bits), (rough, fewer) = fine(x), coarse(x)
    finer, rougher = ((made - x).square().mean(0) for made in (seen, rough))
    wide = x.std(0) > torch.exp(-coarse.log_scale)  # rounding of the others is no noise
    torch.testing.assert_close(finer[wide] * 16, rougher[wide], rtol=0.3, atol=0)
    assert float(bits.mean() - fewer.mean()) == pytest.approx(2 * int(wide.sum()), rel=0.25)
    data = fine.compress(x)
    assert torch.equal(fine.decompress(data), seen)
    assert len(data) <= 1.02 * float(bits.sum()) / 8 + 16


def test_refining_repeats_and_leaves_the_random_numbers_of_others_alone():
    layers = trained(20), trained(20)
    torch.manual_seed(7)
    for layer, seed in zip(layers, (3, 3), strict=True):
        layer.refine(2.0, features(500), seed)
    drawn = torch.rand(1)
    assert all(torch.equal(a, b) for a, b in zip(layers[0].parameters(), layers[1].parameters(), strict=True))
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.inf, np.nan])
def test_only_positive_factors_refine(layer, factor):
    with pytest.raises(InputError, match="factor"):
        layer.refine(factor, features())


@pytest.mark.parametrize("wrong", [torch.zeros(3, 5), torch.zeros(4), torch.zeros(0, 4), torch.full((2, 4), np.nan)])
def test_features_of_another_kind_do_not_refine(layer, wrong):
    scale = layer.log_scale.clone()
    with pytest.raises(InputError, match="features"):
        layer.refine(2.0, wrong)
    assert torch.equal(layer.log_scale, scale)


def test_other_weights_cannot_read_the_bytes(layer):
    data = layer.compress(features(10))
    with pytest.raises(InputError, match="other weights"):
        trained(3).decompress(data)


def test_tables_follow_weights_that_change():
    layer, other = trained(3), trained(30)
    x = features(50)
    layer.compress(x)
    layer.load_state_dict(other.state_dict())
    assert layer.compress(x) == other.compress(x)
    assert layer.table_bytes == other.table_bytes


def test_damaged_bytes_are_errors_or_other_features_but_no_crash(layer):
    data = layer.compress(features(20))
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(data)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            del broken[rng.randrange(len(broken)) :]
        with contextlib.suppress(PimError):
            assert layer.decompress(bytes(broken)).shape[1] == 4
    with pytest.raises(InputError, match="do not fit"):
        layer.decompress(data[:4] + struct.pack("<I", 1 << 23) + data[8:])
    with pytest.raises(InputError, match="no compressed features"):
        layer.decompress(b"PNTF")


@pytest.mark.parametrize("wrong", [torch.zeros(3, 5), torch.zeros(4), torch.full((2, 4), np.nan)])
def test_features_of_another_kind_are_refused(layer, wrong):
    with pytest.raises(InputError, match="features"):
        layer.compress(wrong)


@pytest.mark.parametrize("turned", [False, True])
def test_the_rival_coder_keeps_features_within_half_a_step(turned):
    x = features(2000) @ torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(5))).Q
    coder = ScalarCoder.fit(x, 0.5, turned=turned)
    seen, size = coder.code(x[:500])
    inside = (seen - x[:500]) @ coder.basis.T
    assert float(inside.abs().max()) <= 0.25 + 1e-4
    entropy = sum(_entropy(((x - coder.mean) @ coder.basis.T / 0.5).round()[:, i]) for i in range(4))
    assert size * 8 / 500 == pytest.approx(entropy, rel=0.1)


def test_principal_components_cost_fewer_bits_than_mixed_ones():
    x = features(2000) @ torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(5))).Q
    turned, plain = (ScalarCoder.fit(x, 0.5, turned=t).code(x)[1] for t in (True, False))
    assert turned < 0.9 * plain


def test_deflating_keeps_the_precision_of_its_type():
    x = features(100)
    seen, size = deflated(x, torch.float16)
    assert torch.equal(seen, x.half().float())
    assert size <= 100 * 4 * 2 + 20


def _entropy(values):
    _, counts = torch.unique(values, return_counts=True)
    p = counts.double() / counts.sum()
    return float(-(p * p.log2()).sum())
