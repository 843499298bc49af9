"""Weights of PIM in fewer bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from reproductions import pim_weights
from reproductions.experiment import Context
from reproductions.ledger import Ledger

from ntc import compressed_weights
from ntc import reparameterise as epr
from pim.core import weights
from pim.errors import UsageError, WeightsError
from pim.pim.model import PIM


def test_small_steps_keep_the_metric_and_large_ones_the_bytes(tiny_pim, random_images):
    a, b = random_images(2, 40, 53), random_images(2, 40, 53, seed=1)
    original = PIM.load(tiny_pim)
    change, size = [], []
    for step in (0.01, 0.3):
        content = compressed_weights.compress(tiny_pim, step)
        _, tensors = compressed_weights.expand(content)
        again = PIM.load(tiny_pim)
        again.load_state_dict(tensors)
        change.append(float((again(a, b) / original(a, b) - 1).abs().max()))
        size.append(len(content))
    assert change[0] < 0.01 < change[1]
    assert size[1] < 0.7 * size[0]


def test_every_weight_is_within_half_a_step(tiny_pim):
    _, tensors = weights.read(tiny_pim)
    found = compressed_weights.expand(compressed_weights.compress(tiny_pim, 0.2))[1]
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        step = 0.2 * float(value.square().mean().sqrt())
        assert float((found[name] - value).abs().max()) <= 0.51 * step + 1e-4


def test_the_story_of_the_weights_stays_with_them(tiny_pim):
    header = weights.read_header(tiny_pim)
    found = compressed_weights.expand(compressed_weights.compress(tiny_pim, 0.2))[0]
    assert found.config == json.loads(json.dumps(header.config))
    assert found.training == {**header.training, "relative_step": 0.2}
    assert found.licence == header.licence


def test_what_is_no_compressed_pim_is_refused(tiny_pim):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(WeightsError, match="no weights of a PIM"):
        compressed_weights.expand(epr.dumps(net, {"kind": "pim"}))
    metadata = {"kind": "pim", "config": {"wings": 2}, "training": {}, "licence": "none"}
    with pytest.raises(WeightsError, match="settings that this version does not know"):
        compressed_weights.expand(epr.dumps(net, metadata))
    content = bytearray(compressed_weights.compress(tiny_pim, 0.2))
    content[-20] ^= 1
    with pytest.raises(WeightsError, match="damaged"):
        compressed_weights.expand(bytes(content))
    with pytest.raises(UsageError, match="positive"):
        compressed_weights.compress(tiny_pim, 0.0)


def test_weights_go_through_the_command_line(tiny_pim, cli, tmp_path):
    small, back = tmp_path / "tiny.pntm", tmp_path / "back.safetensors"
    ran = cli("weights", "compress", tiny_pim, "-o", small)
    assert (ran.code, ran.out) == (0, f"{small}\n")
    assert f"became {small.stat().st_size}" in ran.err
    ran = cli("weights", "expand", small, "-o", back)
    assert (ran.code, ran.out) == (0, f"{back}\n")
    assert cli("weights", "check", back).code == 0
    assert cli("weights", "expand", small, "-o", tmp_path / "back.bin").code == 2
    assert cli("weights", "expand", tiny_pim, "-o", back).code == 1
    assert cli("weights", "compress", tiny_pim, "-o", tiny_pim).code == 2


@pytest.mark.slow
def test_agreement_is_measured_on_rated_tables(tmp_path, tiny_pim, monkeypatch):
    monkeypatch.setattr(pim_weights, "SIDE", 32)
    monkeypatch.setattr(weights, "shipped", lambda: {"pim": tiny_pim})
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (40, 36, 3)).astype(np.uint8) for _ in range(6)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i}.png")
    rows = [f"0.png,{i}.png,{i}.0,0" for i in range(1, 6)]
    (folder / "table.csv").write_text("\n".join(["reference,distorted,score,higher_is_better", *rows]))
    context = Context("quick", Ledger(tmp_path / "runs"), tmp_path)
    findings = pim_weights._run(context)
    assert [row["method"] for row in findings.rows] == ["float32", "float16, zlib", "step 0.25", "step 0.5", "step 1"]
    first = findings.rows[0]
    assert first["ratio"] == 1
    assert first["set PLCC with original"] == pytest.approx(1)
    original = PIM.load(tiny_pim)
    reference = pim_weights._middle(folder / "0.png")
    assert reference.shape == (3, 32, 32)
    assert torch.equal(reference, torch.from_numpy(pictures[0][4:36, 2:34]).permute(2, 0, 1) / 255)
    values = [float(original(reference, pim_weights._middle(folder / f"{i}.png"))) for i in range(1, 6)]
    order = np.argsort(np.argsort(values))
    assert first["set SRCC with people"] == pytest.approx(np.corrcoef(order, np.arange(5))[0, 1])
    assert pim_weights._run(context).rows == findings.rows
