"""Experiments from the command line: claims, files, going on after an interruption."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reproductions import digits, features, lenet, mnist, penalised, sawbridge, toy_sources
from reproductions.catalogue import CATALOGUE
from reproductions.experiment import Context
from reproductions.ledger import Ledger
from reproductions.run import EXPERIMENTS
from reproductions.toys.training import Recipe

from pim.errors import DataError, PimError, TrainingError, UsageError

ROOT = Path(__file__).resolve().parents[1]
TINY = {"quick": Recipe(8, 32), "full": Recipe(8, 32)}
FEW = {"quick": 2_000, "full": 2_000}


def test_every_listed_experiment_can_be_run():
    assert [entry.name for entry in CATALOGUE] == list(EXPERIMENTS)
    assert all(experiment.steps("quick") < experiment.steps("full") for experiment in EXPERIMENTS.values())


def test_the_list_needs_nothing_heavy():
    code = (
        "import sys; from pim.cli.app import run; code = run(['ntc', 'reproduce']); "
        "print(code, sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == "0 []"


def test_names_are_listed_and_misspelt_ones_corrected(cli):
    listed = cli("ntc", "reproduce")
    assert listed.code == 0
    assert all(entry.name in listed.out for entry in CATALOGUE)
    wrong = cli("ntc", "reproduce", "sawbrigde")
    assert wrong.code == 2
    assert "did you mean 'sawbridge'?" in wrong.err


def test_an_experiment_that_needs_data_asks_for_it(cli, tmp_path):
    ran = cli("ntc", "reproduce", "lenet300", "-o", tmp_path)
    assert ran.code == 2
    assert "MNIST" in ran.err
    assert "--data" in ran.err
    ran = cli("ntc", "reproduce", "lenet300", "-o", tmp_path, "--data", tmp_path)
    assert ran.code == 1
    assert "lacks train-images-idx3-ubyte.gz" in ran.err


@pytest.fixture
def tiny_toys(monkeypatch):
    """Experiments on toy sources that take a moment."""
    monkeypatch.setattr(toy_sources, "RECIPES", TINY)
    monkeypatch.setattr(toy_sources, "TEST", FEW)
    monkeypatch.setattr(toy_sources, "CODEWORDS", {1: 16, 2: 16})
    monkeypatch.setattr("reproductions.toy_runs.LLOYD_SAMPLES", 2_000)
    monkeypatch.setattr("reproductions.toy_figures.PIXELS", 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laplace", "banana"])
def test_a_toy_experiment_writes_rows_claims_and_figures(tiny_toys, cli, tmp_path, name):
    ran = cli("ntc", "reproduce", name, "-o", tmp_path, "--threads", "0")
    assert ran.code == 0, ran.err
    plan = {"laplace": toy_sources.LAPLACE, "banana": toy_sources.BANANA}[name]
    assert ran.out.count("lambda") >= 2 * len(plan.lambdas)
    with (tmp_path / f"{name}-quick.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 7 * len(plan.lambdas)
    assert {row["source"] for row in rows} == {name}
    assert all(float(row["loss"]) > 0 for row in rows)
    figures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert figures == sorted(
        f"{name}-quick-{f}.png" for f in ("tradeoff", "quantizers" if name == "laplace" else "cells")
    )
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))


@pytest.mark.slow
def test_the_sawbridge_experiment_writes_rows_claims_and_a_figure(monkeypatch, cli, tmp_path):
    monkeypatch.setattr(sawbridge, "RECIPES", TINY)
    monkeypatch.setattr(sawbridge, "TEST", FEW)
    monkeypatch.setattr(sawbridge, "POINTS", {"quick": 16, "full": 16})
    ran = cli("ntc", "reproduce", "sawbridge", "-o", tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0].split() == ["holds", "claim", "expected", "found", "source"]
    assert (tmp_path / "sawbridge-quick-sawbridge.png").exists()
    rows = list(csv.DictReader((tmp_path / "sawbridge-quick.csv").read_text().splitlines()))
    assert {row["lambda"] for row in rows} == {"15.0", "40.0", "96.0"}


def test_finished_runs_are_not_done_again(tmp_path):
    ledger, calls = Ledger(tmp_path / "runs"), []

    def work():
        calls.append(1)
        return {"loss": 0.5}

    assert ledger.run({"a": 1}, work) == ledger.run({"a": 1}, work) == {"loss": 0.5}
    assert len(calls) == 1
    ledger.run({"a": 2}, work)
    assert len(calls) == 2
    (first,) = [path for path in (tmp_path / "runs").iterdir() if json.loads(path.read_text())["settings"] == {"a": 1}]
    first.write_text("{")
    with pytest.raises(PimError, match="damaged; delete it"):
        ledger.run({"a": 1}, work)
    first.write_text(json.dumps({"settings": {"a": 3}, "result": {}}))
    with pytest.raises(PimError, match="another run"):
        ledger.run({"a": 1}, work)


def test_an_interrupted_experiment_goes_on_and_ends_alike(tiny_toys, monkeypatch, tmp_path):
    monkeypatch.setattr(toy_sources, "LAPLACE", replace(toy_sources.LAPLACE, lambdas=(1.0, 3.0)))

    def run(folder, watch):
        return toy_sources._run(toy_sources.LAPLACE, Context("quick", Ledger(folder), None, watch)).rows

    count = 0

    def stop(steps=1, note=""):
        nonlocal count
        count += steps
        if count > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", stop)
    kept = len(list((tmp_path / "a").glob("*.json")))
    assert kept > 0
    assert run(tmp_path / "a", lambda steps=1, note="": None) == run(tmp_path / "b", lambda steps=1, note="": None)


def write_digits(folder: Path, monkeypatch, counts=(96, 40)):
    """Small files in the form of MNIST: the label is how bright the picture is."""
    monkeypatch.setattr(mnist, "COUNTS", dict(zip(("train", "test"), counts, strict=True)))
    rng = np.random.default_rng(0)
    for stem, count in zip(mnist.STEMS.values(), counts, strict=True):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        images = np.clip(labels[:, None, None] * 25 + rng.integers(0, 9, (count, 28, 28)), 0, 255).astype(np.uint8)
        with gzip.open(folder / f"{stem}-images-idx3-ubyte.gz", "wb") as stream:
            stream.write(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    return folder


def test_digits_are_read_and_split(tmp_path, monkeypatch):
    write_digits(tmp_path, monkeypatch)
    part, rest = digits.training_parts(tmp_path, 30)
    assert (len(part), len(rest)) == (66, 30)
    assert part.images.shape == (66, 1, 28, 28)
    assert 0 <= float(part.images.min()) < float(part.images.max()) <= 1
    whole = mnist.read(tmp_path, "train")
    both = torch.cat([part.labels, rest.labels])
    assert sorted(both.tolist()) == sorted(whole.labels.tolist())
    shade = torch.cat([part.images, rest.images]).mean((1, 2, 3)) * 255
    assert bool(((shade / 25).floor() == both).all())


def test_files_that_are_not_digits_are_refused(tmp_path, monkeypatch):
    write_digits(tmp_path, monkeypatch)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(good[:-1])
    with pytest.raises(DataError, match="expected 40"):
        mnist.read(tmp_path, "test")
    labels.write_bytes(good[:8] + bytes([11]) + good[9:])
    with pytest.raises(DataError, match="up to 11"):
        mnist.read(tmp_path, "test")
    labels.write_bytes(struct.pack(">2i", 2049, 41) + good[8:])
    with pytest.raises(DataError, match="another data set"):
        mnist.read(tmp_path, "test")
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot read"):
        mnist.read(tmp_path, "test")
    packed.unlink()
    with pytest.raises(DataError, match="lacks t10k-images"):
        mnist.read(tmp_path, "test")


@pytest.mark.slow
@pytest.mark.parametrize("plan", [lenet.DENSE, lenet.CONVOLUTIONAL], ids=lambda plan: plan.name)
def test_compressed_networks_are_judged_by_their_files(tmp_path, monkeypatch, plan):
    folder = write_digits(tmp_path, monkeypatch, (256, 40))
    monkeypatch.setattr(lenet, "HELD_OUT", 20)
    monkeypatch.setattr(lenet, "SEEDS", (0, 1))
    small = replace(plan, epochs={"quick": 2, "full": 2})
    context = Context("quick", Ledger(tmp_path / "runs"), folder)
    findings = lenet._run(small, context)
    assert len(findings.rows) == 3
    for row in findings.rows:
        settings = {key: row[key] for key in ("network", "lambda", "epochs", "seed", "held_out")}
        content = context.ledger.artefact(settings, ".pntm").read_bytes()
        assert len(content) == row["bytes"]
        net = small.build()
        lenet.epr.loads(content, net)
        held_out = int(row["held_out"])
        judged = digits.training_parts(folder, held_out)[1] if held_out else digits.test_part(folder)
        assert digits.error_rate(net, judged) == row["error"]


def test_the_networks_have_the_published_sizes():
    counts = [sum(p.numel() for p in plan.build().parameters()) for plan in (lenet.DENSE, lenet.CONVOLUTIONAL)]
    assert counts == [266_610, 431_080]


@pytest.mark.slow
def test_the_features_experiment_compares_real_bytes(tmp_path, monkeypatch):
    folder = write_digits(tmp_path, monkeypatch, (256, 40))
    monkeypatch.setattr(features, "HELD_OUT", 20)
    monkeypatch.setattr(features, "SEEDS", (0,))
    monkeypatch.setattr(features, "EPOCHS", {"quick": 2, "full": 2})
    monkeypatch.setattr(features, "MORE_SEEDS", {"quick": (1, 2)})
    findings = features._run(Context("quick", Ledger(tmp_path / "runs"), folder))
    methods = [row["method"] for row in findings.rows]
    assert methods.count("learned") == (2 * len(features.PRICES["quick"]) + 2) * len(features.FINENESS)
    assert methods.count("float32") == 3
    assert "float16, zlib" in methods
    assert len(findings.claims) == 4
    assert "3 seeds, price" in findings.claims[1].statement
    coarse, *_, fine = (
        row for row in findings.rows if row["method"] == "learned" and row["judged_on"] == "test digits"
    )
    assert fine["fineness"] == 4
    assert coarse["fineness"] == 1
    assert all(row["bits"] > 0 for row in findings.rows)
    raw = next(row for row in findings.rows if row["method"] == "float32")
    assert raw["bits"] == 2048


def test_the_price_rises_and_the_rate_of_learning_falls(tmp_path, monkeypatch):
    part = digits.test_part(write_digits(tmp_path, monkeypatch, (256, 640)))
    weight = torch.nn.Parameter(torch.zeros(10))
    seen, last = [], [0.0]

    def forward(images):
        seen.append(float(weight.detach().sum()) - last[0])
        last[0] = float(weight.detach().sum())
        return torch.zeros(len(images), 10) + 0 * weight, -weight.sum()

    penalised.train(forward, [([weight], 1.0)], part, 1.0, penalised.Schedule(8, 32, 0.01))
    assert len(seen) == 8 * 20
    assert seen[1] == 0  # no price at first
    assert 0 < seen[2] < seen[30]
    assert seen[97] / seen[96] == pytest.approx(0.1, rel=0.03)  # what steps 96 and 95 of 160 changed
    assert seen[145] / seen[144] == pytest.approx(0.1, rel=0.03)

    def broken(images):
        return torch.full((len(images), 10), torch.nan), torch.zeros(())

    with pytest.raises(TrainingError, match="in epoch 0"):
        penalised.train(broken, [([weight], 1.0)], part, 1.0, penalised.Schedule(1))


def test_data_that_is_asked_for_in_vain_is_an_error_of_use():
    with pytest.raises(UsageError, match="name its folder with --data"):
        Context("quick", Ledger(Path("unused"))).need_data("some files")
