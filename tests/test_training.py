from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

from pim import PIM, PIMConfig
from pim.core import device, weights
from pim.datasets.crops import Crops, CropSettings, save_crops
from pim.errors import TrainingError, UsageError
from pim.pim.training import batches, loop
from pim.pim.training.conclusions import conclude
from pim.pim.training.network import TrainingNetwork, start_from_data
from pim.pim.training.settings import TrainSettings
from pim.pim.training.upkeep import Checkpoint, learning_rate, load_checkpoint, save_checkpoint

CONFIG = PIMConfig(filters=(4, 3), scales=1, latent=4)
SETTINGS = TrainSettings(steps=20, batch=16, per_source=4, window=24, start_crops=32, average=0.0, noise=0.05)


@pytest.fixture(scope="module")
def crops():
    """Textures of their own colour and contrast that move by a pixel between the frames of a pair."""
    rng = np.random.default_rng(0)
    pairs, source = [], []
    for s in range(8):
        tint, contrast = rng.uniform(60, 200, (3, 1, 1)), rng.uniform(5, 50)
        for _ in range(20):
            texture = tint + contrast * rng.standard_normal((3, 33, 33)).cumsum(2) / 3
            wide = texture.clip(0, 255).astype(np.uint8)
            pairs.append(np.stack([wide[:, :32, :32], wide[:, :32, 1:]]))
            source.append(s)
    count = len(pairs)
    held_out = np.array([s >= 6 for s in range(8)])
    zeros = np.zeros(count, np.int32)
    names = tuple(f"clip{s}" for s in range(8))
    settings = CropSettings(size=32)
    return Crops(np.stack(pairs), np.array(source, np.int32), zeros, zeros + 1, names, held_out, settings)


def outcome(before, after, sources):
    return loop.Outcome(after, after, before, 1024, 256, sources, 1.0)


def test_a_run_says_what_it_reached_and_how_sure_that_is():
    raised, few, people = conclude(outcome([0.5, 1.0], [2.0, 3.0], 2))
    assert "on 1024 pairs of 2 held-out videos from 0.75 to 2.50 nats, of 5.55 that are possible." in raised
    assert few.startswith("With 2 held out this is uncertain")
    assert "nothing about people" in people
    assert not any("uncertain" in said for said in conclude(outcome([0.5], [2.0], 9)))
    assert conclude(outcome([0.5, 0.0], [2.0, 0.01], 9))[1].startswith("Bands 2 (1 is the coarsest) carry almost no")


def test_a_run_that_gained_nothing_says_so():
    none = conclude(outcome([1.5], [1.5], 1))[0]
    assert none.startswith("Training did not raise the bound on 1024 pairs of 1 held-out video:")
    assert conclude(outcome([], [], 0)) == [
        "No video was held out, so nothing is known about other footage; add videos, or set --held-out."
    ]


def final(path):
    return path.read_bytes()


def test_training_raises_the_bound_on_held_out_sources(crops, tmp_path):
    short = loop.train(crops, tmp_path / "short.safetensors", CONFIG, replace(SETTINGS, steps=1))
    long = loop.train(crops, tmp_path / "long.safetensors", CONFIG, replace(SETTINGS, steps=60))
    assert np.mean(long.bound) > np.mean(short.bound) + 0.3
    assert max(long.bound) <= math.log(loop.VALIDATION_BATCH) + 0.01
    assert long.pairs == loop.VALIDATION_BATCHES * loop.VALIDATION_BATCH
    assert (long.sources, long.batch) == (2, loop.VALIDATION_BATCH)
    assert long.before == short.before  # of the same start, however long the run
    assert f"from {np.mean(long.before):.2f} to {np.mean(long.bound):.2f} nats, of 5.55" in conclude(long)[0]


def test_the_weights_tell_their_story_and_load(crops, tmp_path):
    outcome = loop.train(crops, tmp_path / "my.safetensors", CONFIG, SETTINGS)
    header = weights.read_header(tmp_path / "my.safetensors")
    assert header.training["sources"] == [f"clip{s}" for s in range(6)]  # not those held out
    assert header.training["steps"] == 20
    assert header.training["settings"]["batch"] == 16
    assert header.training["bound_held_out"] == [round(v, 4) for v in outcome.bound]
    metric = PIM.load(tmp_path / "my.safetensors")
    assert metric.config == CONFIG
    x = torch.rand(1, 3, 40, 40)
    assert metric(x, 1 - x) > 0
    assert not (tmp_path / "my.ckpt").exists()
    rows = (tmp_path / "my.log.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss,conditional,learning_rate,gradient_norm,band_0")
    assert [int(row.split(",")[0]) for row in rows[1:]] == [10, 20]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(crops, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        loop.train(crops, tmp_path / f"{name}.safetensors", CONFIG, replace(SETTINGS, seed=seed))
    assert final(tmp_path / "a.safetensors") == final(tmp_path / "b.safetensors")
    assert final(tmp_path / "a.safetensors") != final(tmp_path / "c.safetensors")


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_an_interrupted_run_ends_in_the_same_bits(crops, tmp_path, average):
    settings = replace(SETTINGS, average=average)
    loop.train(crops, tmp_path / "whole.safetensors", CONFIG, settings)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 10:
            raise Stop

    target = tmp_path / "stopped.safetensors"
    with pytest.raises(Stop):
        loop.train(crops, target, CONFIG, settings, save_every=0, watch=stop)
    kept = load_checkpoint(tmp_path / "stopped.ckpt", _identity(crops, settings))
    assert kept is not None
    assert 0 < kept.step < 20
    assert loop.steps_done(crops, target, CONFIG, settings) == kept.step
    told = []
    loop.train(crops, target, CONFIG, settings, watch=lambda progress: told.append(progress.fresh))
    assert sum(told) == 20 - kept.step
    assert final(target) == final(tmp_path / "whole.safetensors")
    whole_log, log = (_without_speed(tmp_path / f"{n}.log.csv") for n in ("whole", "stopped"))
    assert log == whole_log


def _identity(crops, settings):
    return loop.identity(crops, CONFIG, settings, half=False)


def _without_speed(path):
    return [row.rsplit(",", 1)[0] for row in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(crops, tmp_path):
    save_crops(tmp_path / "crops.npz", crops)

    def command(name):
        options = "--filters 4,3 --scales 1 --steps 150 --batch-size 16 --window 24 --save-every 0 --threads 1 --quiet"
        run = [sys.executable, "-m", "pim", "train", "--crops", "crops.npz", "-o", f"{name}.safetensors"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([*run, *options.split()], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    assert command("whole").wait(300) == 0
    kills = 0
    while not (tmp_path / "killed.safetensors").exists():
        before = _written(tmp_path / "killed.ckpt")
        process = command("killed")
        while process.poll() is None:
            if kills < 3 and _written(tmp_path / "killed.ckpt") > before:
                time.sleep(0.05 * kills)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait(300)
    assert kills
    assert final(tmp_path / "killed.safetensors") == final(tmp_path / "whole.safetensors")


def _written(path):
    """When a file was written, nanoseconds; 0 while it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # training removes its checkpoint at the end
        return 0


def test_a_checkpoint_of_another_run_is_refused_by_what_differs(crops, tmp_path):
    target = tmp_path / "my.safetensors"
    state = Checkpoint(_identity(crops, replace(SETTINGS, noise=0.3)), 5, {}, {}, {}, [])
    save_checkpoint(tmp_path / "my.ckpt", state)
    with pytest.raises(TrainingError, match="other noise"):
        loop.train(crops, target, CONFIG, SETTINGS)
    (tmp_path / "my.ckpt").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        loop.train(crops, target, CONFIG, SETTINGS)


def test_a_checkpoint_with_code_inside_is_refused_and_runs_nothing(crops, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    torch.save({"run": Evil()}, tmp_path / "my.ckpt")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        loop.train(crops, tmp_path / "my.safetensors", CONFIG, SETTINGS)
    assert not (tmp_path / "trace").exists()


def test_a_loss_that_is_not_finite_stops_training_with_a_hint(crops, tmp_path):
    with pytest.raises(TrainingError, match="smaller learning rate"):
        loop.train(crops, tmp_path / "my.safetensors", CONFIG, replace(SETTINGS, learning_rate=1e30, clip=1e30))
    assert not (tmp_path / "my.safetensors").exists()


def test_too_few_crops_are_named(crops, tmp_path):
    with pytest.raises(TrainingError, match="120 crops are fewer than a batch of 200"):
        loop.train(crops, tmp_path / "my.safetensors", CONFIG, replace(SETTINGS, batch=200))


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (replace(CONFIG, mixtures=3), SETTINGS),
        (replace(CONFIG, mean="linear"), replace(SETTINGS, bound="image")),
        (replace(CONFIG, pyramid="none"), replace(SETTINGS, bound="position")),
        (replace(CONFIG, pyramid="laplacian", scales=2), replace(SETTINGS, shift=2)),
        (replace(CONFIG, surround=5, distance="root_mean_square"), SETTINGS),
        (replace(CONFIG, reduction=2, detail=True, grouped=True), replace(SETTINGS, weigh=True)),
    ],
)
def test_every_variant_trains(crops, tmp_path, config, settings):
    outcome = loop.train(crops, tmp_path / "my.safetensors", config, replace(settings, steps=3))
    assert len(outcome.bound) == (1 if settings.bound == "image" else config.bands)
    assert np.isfinite(outcome.bound).all()
    saved = PIM.load(tmp_path / "my.safetensors").config
    assert replace(saved, band_weights=()) == config
    assert len(saved.band_weights) == (config.bands if settings.weigh else 0)


def test_weighed_bands_count_by_their_pictures_and_unrelated_crops_are_one_apart(crops, tmp_path):
    config = replace(CONFIG, reduction=2, grouped=True, distance="root_mean_square")
    loop.train(crops, tmp_path / "plain.safetensors", config, SETTINGS)
    loop.train(crops, tmp_path / "weighed.safetensors", config, replace(SETTINGS, weigh=True))
    plain, weighed = (PIM.load(tmp_path / f"{name}.safetensors") for name in ("plain", "weighed"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), weighed.parameters(), strict=True))
    assert plain.config.band_weights == ()
    found = torch.tensor(weighed.config.band_weights)  # low-pass by half, both orientations, high-pass
    torch.testing.assert_close(found / found[0], torch.tensor([1.0, 4.0, 2.0]))
    x, y = batches.unrelated(crops.take(held_out=False), SETTINGS, 256)
    assert 150 < len(x) < 256  # what came from the same source is left out
    large_x, large_y = (image.repeat_interleave(2, 2).repeat_interleave(2, 3) for image in (x, y))
    assert weighed(large_x, large_y).mean() == pytest.approx(1, rel=1e-4)


def test_weighing_needs_more_than_one_source(crops, tmp_path):
    alone = crops.take(held_out=False)
    alone = replace(alone, source=np.zeros_like(alone.source))
    with pytest.raises(TrainingError, match="at least two videos"):
        loop.train(alone, tmp_path / "my.safetensors", CONFIG, replace(SETTINGS, steps=1, weigh=True))
    assert not (tmp_path / "my.ckpt").exists()  # nothing was trained


def test_divisive_normalisation_starts_at_the_strength_of_the_band_and_learns(crops, tmp_path):
    config = replace(CONFIG, surround=5)
    network = TrainingNetwork(config)
    x = torch.from_numpy(crops.pairs[:96, 0]).float() / 255
    start_from_data(network, x, seed=0)
    bands = network.pim.pyramid.of_crops(x)
    for band, surround in zip(bands[1:], network.pim.surround, strict=True):
        strength = band.compute().square().mean().sqrt()
        assert 1 < surround.log_constant.exp().item() / strength.item() < 6
        assert (network.pim.normalised(1, band) != band.compute()).any()
    torch.testing.assert_close(network.pim.normalised(0, bands[0]), bands[0].compute())
    before = [s.log_constant.item() for s in network.pim.surround]
    loop.train(crops, tmp_path / "my.safetensors", config, SETTINGS)
    after = [s.log_constant.item() for s in PIM.load(tmp_path / "my.safetensors").surround]
    assert all(a != b for a, b in zip(after, before, strict=True))


def test_half_precision_ends_near_full_precision(crops, tmp_path):
    full = loop.train(crops, tmp_path / "full.safetensors", CONFIG, SETTINGS)
    half = loop.train(crops, tmp_path / "half.safetensors", CONFIG, SETTINGS, half=True)
    assert np.allclose(full.bound, half.bound, atol=0.2)
    assert final(tmp_path / "full.safetensors") != final(tmp_path / "half.safetensors")


def test_the_start_gives_every_band_unit_variance_and_lets_units_live(crops):
    torch.manual_seed(0)
    network = TrainingNetwork(PIMConfig(filters=(6, 6, 3)))
    x = torch.from_numpy(crops.pairs[:96, 0]).float() / 255
    before = list(network.pim.latents(x))[-1].means.var()
    start_from_data(network, x, seed=0)
    latents = network.pim.latents(x)
    assert before < 0.05  # what the start is for: the finest band hardly moved
    for latent in latents:
        means = latent.means[:, 0].transpose(0, 1).flatten(1)
        assert 0.1 < means.var(1).median() < 2
        assert (means.amax(1) > 0).all()


def test_the_joint_encoder_starts_near_the_marginal_one(crops):
    torch.manual_seed(0)
    network = TrainingNetwork(CONFIG)
    x = torch.from_numpy(crops.pairs[:64, 0]).float() / 255
    start_from_data(network, x, seed=0)
    terms = network(x, x, lambda band, shape: torch.zeros(shape), "scale", lambda mine: mine)
    for t in terms:
        assert (t.log_joint - t.log_q_x).mean() < 1.0  # nats; unrelated encoders are many nats apart


def test_a_batch_takes_its_share_from_every_source_without_repeats(crops):
    rng = batches.generator(SETTINGS, batches.TRAIN, 0)
    index = batches.choose(crops, SETTINGS, rng, 32)
    assert len(set(index.tolist())) == 32
    assert set(np.bincount(crops.source[index], minlength=8).tolist()) == {4}


def test_the_two_frames_of_a_pair_are_jittered_independently(crops):
    still = replace(SETTINGS, gain=0.0, offset=0.0, noise=0.0)
    x, y = batches.pairs_at(crops, still, batches.TRAIN, 0, 16, torch.device("cpu"))
    near = (x - y).abs().mean()
    x, y = batches.pairs_at(crops, replace(still, offset=0.2), batches.TRAIN, 0, 16, torch.device("cpu"))
    assert (x.mean((1, 2, 3)) - y.mean((1, 2, 3))).abs().mean() > 0.1
    centred = (x - x.mean((1, 2, 3), keepdim=True)) - (y - y.mean((1, 2, 3), keepdim=True))
    assert centred.abs().mean() == pytest.approx(float(near), rel=0.3)


def test_a_process_cuts_and_draws_its_share_of_the_same_minibatch(crops):
    cpu, jittered = torch.device("cpu"), replace(SETTINGS, chroma_noise=0.2)
    whole = batches.pairs_at(crops, jittered, batches.TRAIN, 3, 16, cpu)
    share = batches.pairs_at(crops, jittered, batches.TRAIN, 3, 16, cpu, slice(4, 8))
    for side, part in zip(whole, share, strict=True):
        torch.testing.assert_close(side[4:8], part, rtol=0, atol=1e-6)
    shape = torch.Size([16, 4, 5, 6])
    noise = batches.draw_noise(shape, SETTINGS, batches.TRAIN, 3, 1)
    assert torch.equal(noise[4:8], batches.draw_noise(shape, SETTINGS, batches.TRAIN, 3, 1, slice(4, 8)))
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_each_process_of_torchrun_takes_its_own_device(monkeypatch):
    tried = []
    monkeypatch.setattr(device.torch, "empty", lambda *size, device: tried.append(str(device)))
    for rank in ("0", "3"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        device.choose("cuda")
        device.choose("cuda:1")
        device.choose("cpu")
    assert tried == ["cuda:0", "cuda:1", "cpu", "cuda:3", "cuda:1", "cpu"]


def test_noise_of_colour_differences_leaves_luma_alone(crops):
    bare = SETTINGS.bare()
    noisy = replace(bare, chroma_noise=0.2)
    cpu = torch.device("cpu")
    still, _ = batches.pairs_at(crops, bare, batches.TRAIN, 0, 16, cpu)
    moved, other = batches.pairs_at(crops, noisy, batches.TRAIN, 0, 16, cpu)
    difference = (moved - still).double()
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    assert difference.std() > 0.05
    torch.testing.assert_close(
        torch.einsum("nchw,c->nhw", difference, luma), torch.zeros(16, 24, 24).double(), rtol=0, atol=1e-6
    )
    assert not torch.equal(moved, other)


def test_impossible_settings_are_refused():
    for wrong in ({"batch": 1}, {"noise": -1.0}, {"warm_up": 1.0}, {"bound": "other"}, {"learning_rate": 0.0}):
        with pytest.raises(UsageError):
            replace(SETTINGS, **wrong)


def test_the_learning_rate_rises_then_falls_to_its_floor():
    rates = [learning_rate(step, 100, 1.0, 0.1, 0.01) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


@pytest.mark.slow
def test_two_processes_train_the_same_weights_as_one(crops, tmp_path):
    save_crops(tmp_path / "crops.npz", crops)
    options = "--filters 4,3 --scales 1 --steps 5 --batch-size 16 --window 24 --threads 1 --quiet --device cpu"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def train(name, *launcher):
        run = [sys.executable, *launcher, "-m", "pim", "train", "--crops", "crops.npz", "-o", f"{name}.safetensors"]
        subprocess.run([*run, *options.split()], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return weights.read(tmp_path / f"{name}.safetensors")[1]

    one = train("one")
    two = train("two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
