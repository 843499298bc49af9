"""Decoders that compute less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from reproductions import decoders, efficient, slimming
from reproductions.experiment import Context
from reproductions.ledger import Ledger
from torch import nn

from ntc import store
from ntc.gdn import GDN
from ntc.models import build, transforms
from ntc.models.config import CodecConfig
from pim.errors import TrainingError, UsageError


def decoder(width=6, latents=5, nonlinearity="gdn"):
    torch.manual_seed(0)
    made = transforms.synthesis(CodecConfig.uniform(width, latents=latents, nonlinearity=nonlinearity))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    return made


Y = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1)) * 3


def test_operations_are_those_counted_by_hand():
    n = 192
    by_hand = 25 * n * n * (1 / 256 + 1 / 64 + 1 / 16) + 25 * n * 3 / 4 + n * n * (1 / 64 + 1 / 16 + 1 / 4)
    made = transforms.synthesis(CodecConfig.uniform(n, latents=n))
    assert efficient.multiply_adds(made) == pytest.approx(by_hand)


def test_operations_are_those_that_the_layers_perform():
    made, seen = decoder(), [0]

    def count(layer, inputs, output):
        if isinstance(layer, nn.ConvTranspose2d):
            seen[0] += inputs[0][0, 0].numel() * layer.weight.numel()
        if isinstance(layer, GDN):
            seen[0] += output[0, 0].numel() * output.shape[1] ** 2

    for layer in made:
        layer.register_forward_hook(count)
    image = made(Y[:1])
    assert seen[0] / image[0, 0].numel() == pytest.approx(efficient.multiply_adds(made))


@pytest.mark.parametrize("nonlinearity", ["gdn", "gdn-2016", "relu"])
def test_open_gates_change_nothing(nonlinearity):
    made = decoder(nonlinearity=nonlinearity)
    gated = efficient.gated(made)
    assert torch.equal(gated(Y), made(Y))
    assert efficient.multiply_adds(gated) == efficient.multiply_adds(made)


@pytest.mark.parametrize("nonlinearity", ["gdn", "gdn-2016", "relu"])
def test_pruning_keeps_what_the_gated_decoder_computes(nonlinearity):
    gated = efficient.gated(decoder(nonlinearity=nonlinearity))
    gates = [layer for layer in gated if isinstance(layer, efficient.Gate)]
    with torch.no_grad():
        gates[0].scale.copy_(torch.tensor([1.3, 0.0, 0.7, -0.4, 0.0, 1.0]))
        gates[2].scale.copy_(torch.tensor([0.0, 0.0, 0.0, 0.9, 0.0, 2.0]))
    small = efficient.pruned(gated)
    torch.testing.assert_close(small(Y), gated(Y), atol=1e-5, rtol=1e-5)
    assert efficient.widths(small) == [4, 6, 2, 3]
    again = efficient.resized(decoder(nonlinearity=nonlinearity), small.state_dict())
    assert torch.equal(again(Y), small(Y))
    assert efficient.widths(again) == [4, 6, 2, 3]
    assert efficient.multiply_adds(small) == pytest.approx(efficient.multiply_adds(gated))


def test_a_channel_saves_what_goes_when_it_goes():
    gated = efficient.gated(decoder())
    before, expected = efficient.multiply_adds(gated), efficient.savings(gated)
    for gate, saved in zip((layer for layer in gated if isinstance(layer, efficient.Gate)), expected, strict=True):
        with torch.no_grad():
            gate.scale[1] = 0
            assert before - efficient.multiply_adds(gated) == pytest.approx(saved)
            gate.scale[1] = 1


def test_a_price_is_charged_in_proportion_to_cost():
    gated = efficient.gated(decoder())
    gated(Y).square().mean().backward()
    gates = efficient.gates(gated)
    before = [gate.scale.grad.clone() for gate in gates]
    efficient.charge(gated, 7.0)
    total = efficient.multiply_adds(gated)
    for gate, old, cost in zip(gates, before, efficient.savings(gated), strict=True):
        torch.testing.assert_close(gate.scale.grad, old + 7 * cost / total)


def test_gates_below_zero_close_and_the_widest_stays_open():
    gated = efficient.gated(decoder())
    first, second, third = efficient.gates(gated)
    with torch.no_grad():
        first.scale.copy_(torch.tensor([0.3, -0.1, 0.0, 1.2, -2.0, 1e-9]))
        second.scale.fill_(-1.0)
    efficient.close_gates(gated)
    assert first.scale.detach().tolist() == pytest.approx([0.3, 0, 0, 1.2, 0, 1e-9])
    assert int((second.scale > 0).sum()) == 1
    assert third.scale.detach().tolist() == [1] * 6
    assert efficient.pruned(gated)(Y).shape == (2, 3, 48, 64)


def test_a_price_closes_channels_that_do_nothing_before_others():
    gated = efficient.gated(decoder(nonlinearity="relu"))
    idle = [1, 4]
    second = efficient.stages(gated)[1].convolution
    with torch.no_grad():
        second.weight[idle] = 0  # it does not look at them
        target = gated(Y)
    scales = [gate.scale for gate in efficient.gates(gated)]
    optimiser = torch.optim.Adam(scales, lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        (gated(Y) - target).square().mean().backward()
        efficient.charge(gated, 1e-3 * float(target.square().mean()))
        optimiser.step()
        efficient.close_gates(gated)
    first = scales[0].detach()
    assert [int(i) for i in torch.nonzero(first == 0)] == idle


def test_the_control_takes_the_same_share_of_all_layers():
    made = decoder()
    small = efficient.uniform(made, 0.5)
    assert efficient.widths(small) == [3, 3, 3, 3]
    assert efficient.multiply_adds(small) <= 0.5 * efficient.multiply_adds(made)
    assert small(Y).shape == (2, 3, 48, 64)
    wider = efficient.uniform(made, 0.62)
    assert efficient.widths(wider) == [4, 4, 4, 3]
    assert 0.5 < efficient.multiply_adds(wider) / efficient.multiply_adds(made) <= 0.62


def test_gradients_reach_gates_and_pruned_layers():
    for made in (efficient.gated(decoder()), efficient.uniform(decoder(), 0.5)):
        made(Y).square().mean().backward()
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in made.parameters())


def test_layers_of_unknown_cost_are_refused():
    with pytest.raises(UsageError, match="Linear"):
        efficient.multiply_adds(nn.Sequential(nn.Linear(2, 2)))


def small_codec():
    torch.manual_seed(0)
    codec = build(CodecConfig.uniform(8, "factorised", latents=6, lambdas=(0.01, 0.05)))
    return codec.eval()


def patches(count=6):
    rng = np.random.default_rng(0)
    ramps = rng.integers(0, 255, (count, 3, 1, 1)) + np.arange(96)[:, None] - np.arange(96)
    return ramps.clip(0, 255).astype(np.uint8)


def test_a_price_slims_a_decoder_step_by_step(monkeypatch):
    monkeypatch.setattr(slimming, "DOUBLED", 3)
    monkeypatch.setattr(slimming, "GATE_RATE", 200.0)
    codec = small_codec()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    whole = efficient.multiply_adds(codec.synthesis)
    shares = [0.7, 0.3]
    steps = []
    made = list(
        slimming.slim(codec, codec.synthesis, patches(), shares, slimming.Training(1, batch=2), lambda: steps.append(1))
    )
    for decoder, share in zip(made, shares, strict=True):
        assert efficient.multiply_adds(decoder) <= share * whole
    assert 0 < len(steps) <= slimming.MOST * slimming.DOUBLED
    assert all(torch.equal(before[name], value) for name, value in codec.state_dict().items())


def test_gates_that_do_not_close_are_an_error(monkeypatch):
    monkeypatch.setattr(slimming, "DOUBLED", 1)
    monkeypatch.setattr(slimming, "MOST", 2)
    monkeypatch.setattr(slimming, "PRICE", 0.0)
    codec = small_codec()
    with pytest.raises(TrainingError, match="after 2 steps"):
        list(slimming.slim(codec, codec.synthesis, patches(), [0.5], slimming.Training(1, batch=2), lambda: None))


def test_training_again_brings_a_decoder_nearer_to_the_pictures():
    codec, pixels = small_codec(), patches()
    start = efficient.uniform(codec.synthesis, 0.5)
    training = slimming.Training(60, batch=4, learning_rate=5e-3)
    tuned = slimming.tune(codec, start, pixels, training, lambda: None)
    assert torch.equal(start[0].weight, efficient.uniform(codec.synthesis, 0.5)[0].weight)  # the old one is as it was

    def error(decoder):
        images = torch.from_numpy(pixels[..., :64, :64]).float() / 255
        codec.synthesis = decoder
        with torch.no_grad():
            torch.manual_seed(0)
            return float((codec.train()(images, 1.0).image - images).square().mean())

    assert error(tuned) < 0.5 * error(start)


@pytest.mark.slow
def test_the_experiment_measures_all_decoders_on_the_same_latents(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "TRAININGS", {"quick": slimming.Training(2, batch=2), "full": slimming.Training(2)})
    monkeypatch.setattr(decoders, "FIRST", decoders.TRAININGS)
    monkeypatch.setattr(decoders, "WIDTH", 8)
    monkeypatch.setattr(decoders, "SHOWN", (64, 64))
    monkeypatch.setattr(decoders, "PER_SOURCE", 4)
    monkeypatch.setattr(slimming, "DOUBLED", 3)
    monkeypatch.setattr(slimming, "GATE_RATE", 200.0)
    codec = small_codec()
    codec.export()
    store.save(tmp_path / "codec.safetensors", codec, {})
    for folder, count in (("video/clip", 3), ("kodak", 2)):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 255, (130, 140, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / folder / f"{i}.png")
    context = Context("full", Ledger(tmp_path / "runs"), tmp_path)
    findings = decoders._run(context)
    assert [row["method"] for row in findings.rows] == [decoders.WIDE, *["gates"] * 4, *["uniform"] * 4, decoders.OWN]
    assert findings.rows[0]["BD-rate"] == pytest.approx(0)
    assert all(row["pictures"] == 2 for row in findings.rows)
    assert len(findings.claims) == 2
    again = decoders._run(context)
    for key in ("operations", "widths", "BD-rate"):
        assert [row[key] for row in again.rows] == [row[key] for row in findings.rows]
