"""Training codecs: it learns, it goes on after any interruption to the same bits, it says what is wrong."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from ntc_toys import codec, picture
from PIL import Image
from safetensors.torch import load_file, save_file
from test_frames import moving, write_folder, write_video

from ntc import coding, store, training
from ntc.losses import mse
from ntc.models import build
from ntc.models.config import KINDS, CodecConfig
from ntc.models.transforms import start_from_images
from ntc.patches import Patches, PatchSettings, collect
from ntc.settings import CodecTraining
from pim.datasets.frames import find_sources
from pim.errors import DataError, InputError, TrainingError, UsageError, WeightsError

CONFIG = CodecConfig(widths=(4, 5, 6), latents=8, hyper=6, lambdas=(0.005, 0.02))
SETTINGS = CodecTraining(steps=12, batch=2, window=64)


@pytest.fixture(scope="module")
def patches():
    """Pieces of smooth pictures from three sources, the last of them held out."""
    pixels = [(picture(64, 64, seed)[0].numpy() * 255).astype(np.uint8) for seed in range(24)]
    source = np.arange(24, dtype=np.int32) // 8
    held_out = np.array([False, False, True])
    return Patches(np.stack(pixels), source, ("a", "b", "c"), held_out, PatchSettings(size=64))


def trained(patches, path, settings=SETTINGS, config=CONFIG, **options):
    reached = training.train(training.Run(patches, path, config, settings), mse, **options)
    return load_file(path), reached


@pytest.mark.parametrize("kind", KINDS)
def test_thirty_steps_already_help_and_the_file_loads_and_codes(patches, tmp_path, kind):
    """The loss at a fixed lambda on held-out patches, before and after."""
    config = replace(CONFIG, kind=kind, lambdas=(0.02,))
    losses = []
    for steps in (1, 30):
        path = tmp_path / f"{steps}.safetensors"
        _, (reached,) = trained(patches, path, replace(SETTINGS, steps=steps, average=0.0), config)
        losses.append(reached.bits_per_pixel + 0.02 * 255**2 * 10 ** (-reached.psnr / 10))
    assert losses[1] < 0.8 * losses[0]
    stored = store.load(path)
    assert stored.training["held_out"][0]["psnr"] == pytest.approx(reached.psnr, abs=1e-3)
    assert stored.training["sources"] == ["a", "b"]
    image = picture(40, 70)
    data = coding.compress(stored.codec, image)
    assert torch.equal(coding.decompress(stored.codec, data), stored.codec(image).image)


class Killed(Exception):
    pass


@pytest.mark.parametrize("options", [{}, {"optimiser": "sadam", "rounding": "soft", "average": 0.0}])
def test_an_interrupted_run_ends_in_the_same_bits(patches, tmp_path, options):
    settings = replace(SETTINGS, steps=25, **options)
    undisturbed, _ = trained(patches, tmp_path / "a.safetensors", settings)

    def stop(progress):
        if progress.step == 10:
            raise Killed

    with pytest.raises(Killed):
        trained(patches, tmp_path / "b.safetensors", settings, watch=stop, save_every=0.0)
    run = training.Run(patches, tmp_path / "b.safetensors", CONFIG, settings)
    assert 0 < run.steps_done() < 25
    resumed, _ = trained(patches, tmp_path / "b.safetensors", settings)
    assert resumed.keys() == undisturbed.keys()
    for name, tensor in undisturbed.items():
        assert torch.equal(resumed[name], tensor), name
    assert (tmp_path / "a.log.csv").read_text() == (tmp_path / "b.log.csv").read_text()
    assert not (tmp_path / "b.ckpt").exists()


def test_a_checkpoint_of_another_run_is_refused(patches, tmp_path):
    def stop(progress):
        raise Killed

    path = tmp_path / "a.safetensors"
    with pytest.raises(Killed):
        trained(patches, path, watch=stop, save_every=0.0)
    with pytest.raises(TrainingError, match="learning_rate"):
        trained(patches, path, replace(SETTINGS, learning_rate=1e-4))
    other = replace(patches, source=patches.source[::-1].copy())
    with pytest.raises(TrainingError, match="patches"):
        trained(other, path)


def test_a_run_can_start_from_another_codec(patches, tmp_path):
    first, _ = trained(patches, tmp_path / "first.safetensors")
    run = training.Run(
        patches,
        tmp_path / "second.safetensors",
        CONFIG,
        replace(SETTINGS, steps=1, learning_rate=1e-9, average=0.0),
        tmp_path / "first.safetensors",
    )
    training.train(run, mse)
    second = load_file(tmp_path / "second.safetensors")
    torch.testing.assert_close(second["synthesis.0.weight"], first["synthesis.0.weight"], atol=1e-6, rtol=0)
    wrong = replace(run, config=replace(CONFIG, hyper=7))
    with pytest.raises(TrainingError, match="other settings"):
        training.train(wrong, mse)


def test_a_loss_that_is_not_finite_stops_the_run(patches, tmp_path):
    with pytest.raises(TrainingError, match="became nan at step 0"):
        training.train(
            training.Run(patches, tmp_path / "a.safetensors", CONFIG, SETTINGS), lambda a, b: mse(a, b) * float("nan")
        )


def test_too_few_patches_and_impossible_settings_are_refused(patches, tmp_path):
    with pytest.raises(TrainingError, match="fewer than a batch"):
        trained(patches, tmp_path / "a.safetensors", replace(SETTINGS, batch=40))
    with pytest.raises(TrainingError, match="larger than the patches"):
        trained(patches, tmp_path / "a.safetensors", replace(SETTINGS, window=128))
    for wrong in ({"steps": 0}, {"window": 65}, {"average": 1.0}, {"rounding": "hard"}, {"optimiser": "sgd"}):
        with pytest.raises(UsageError):
            replace(SETTINGS, **wrong)


def test_lambdas_between_the_given_ones_are_log_linear():
    got = training.lambdas_at(CodecConfig(lambdas=(0.01, 0.04, 0.08)), torch.tensor([0.0, 0.5, 1.0, 2.0]))
    torch.testing.assert_close(got, torch.tensor([0.01, 0.02, 0.04, 0.08]))
    assert training.lambdas_at(CodecConfig(lambdas=(0.3,)), torch.tensor([0.0])).item() == pytest.approx(0.3)


def test_losses_of_high_rates_weigh_less_and_those_of_one_rate_fully():
    config = CodecConfig(lambdas=(0.01, 0.04))
    weights = training.fair(config, torch.tensor([0.01, 0.02, 0.04]))
    torch.testing.assert_close(weights, torch.tensor([2.0**0.5, 1.0, 0.5**0.5]))
    assert training.fair(CodecConfig(lambdas=(0.5,)), torch.tensor([0.5])) == 1.0


def test_soft_rounding_grows_steeper_over_the_first_quarter():
    settings = CodecTraining(steps=400, rounding="soft", alpha=9.0)
    proxies = [settings.proxy_at(step) for step in (0, 25, 50, 100, 250, 399)]
    assert [proxy.alpha for proxy in proxies] == [1, 3, 5, 9, 9, 9]
    assert {proxy.rounding for proxy in proxies} == {"soft"}


# Patches


def test_patches_come_from_videos_folders_and_single_pictures(tmp_path):
    frames = moving(count=6, height=96, width=160)
    write_video(tmp_path / "clip.mp4", frames)
    write_folder(tmp_path / "folder", frames)
    Image.fromarray(frames[0]).save(tmp_path / "one.png")
    sources = find_sources([tmp_path / "clip.mp4", tmp_path / "folder", tmp_path / "one.png"], 0.0)
    got = collect(sources, PatchSettings(size=64, per_source=9, largest_reduction=1.5))
    assert got.names == ("clip.mp4", "folder", "one.png")
    assert np.bincount(got.source).tolist() == [9, 9, 9]
    assert got.pixels.shape == (27, 3, 64, 64)
    again = collect(sources, PatchSettings(size=64, per_source=9, largest_reduction=1.5))
    assert again.fingerprint == got.fingerprint
    other = collect(sources, PatchSettings(size=64, per_source=9, largest_reduction=1.5, seed=1))
    assert other.fingerprint != got.fingerprint


def test_a_patch_without_reduction_is_a_window_of_its_picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    got = collect(find_sources([tmp_path / "one.png"], 0.0), PatchSettings(size=64, per_source=1))
    assert np.array_equal(got.pixels[0].transpose(1, 2, 0), pixels)


def test_flat_small_and_broken_sources_are_named(tmp_path):
    Image.new("RGB", (80, 80), "gray").save(tmp_path / "flat.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 99, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    told = []
    sources = find_sources([tmp_path / name for name in ("broken.png", "flat.png", "small.png")], 0.0)
    with pytest.raises(DataError, match="none of the sources"):
        collect(sources, PatchSettings(size=64, per_source=3), problem=told.append)
    assert [name in line for name, line in zip(("broken", "flat", "small"), told, strict=True)] == [True] * 3


# Codec files


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "codec.safetensors"
    store.save(path, codec("mean-scale"), {"note": "random"})
    return path


def test_a_stored_codec_is_the_same_codec(stored):
    loaded = store.load(stored)
    assert loaded.training == {"note": "random"}
    assert loaded.codec.id == codec("mean-scale").id
    image = picture(30, 40)
    assert coding.compress(loaded.codec, image, 90) == coding.compress(codec("mean-scale"), image, 90)


def rewritten(path, change):
    from pim.core import weights

    header, tensors = weights.read(path)
    change(tensors)
    weights.write(path, tensors, header)
    return path


def test_codec_files_with_stale_or_damaged_parts_are_refused(stored, tmp_path):
    original = stored.read_bytes()

    def weight(tensors):
        tensors["hyper_synthesis.layers.0.weight"] = tensors["hyper_synthesis.layers.0.weight"] + 0.01

    def table(tensors):
        tensors["tables.y.low"] = tensors["tables.y.low"] + 1

    def order(tensors):
        tensors["tables.z.cdf"] = tensors["tables.z.cdf"].flip(0)

    def fewer(tensors):
        for part in ("start", "low", "cdf"):
            tensors[f"tables.z.{part}"] = tensors[f"tables.y.{part}"].clone()

    def shape(tensors):
        tensors["synthesis.0.weight"] = tensors["synthesis.0.weight"][:1]

    def missing(tensors):
        del tensors["id"]

    cases = [
        (weight, "do not belong"),
        (table, "do not belong"),
        (order, "damaged"),
        (fewer, "instead of"),
        (shape, "do not fit"),
        (missing, "no usable codec"),
    ]
    for change, message in cases:
        stored.write_bytes(original)
        with pytest.raises(WeightsError, match=message):
            store.load(rewritten(stored, change))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no readable pim header"):
        store.load(tmp_path / "other.safetensors")


def test_mutated_codec_files_are_refused_or_decode_the_same(stored):
    """What is not in the id, such as the encoder or the story, may change; a decoder may not."""
    original = stored.read_bytes()
    header = 8 + int.from_bytes(original[:8], "little")
    rng = np.random.default_rng(0)
    kept = 0
    for trial in range(60):
        data = bytearray(original)
        for _ in range(rng.integers(1, 4)):
            data[int(rng.integers(header if trial % 2 else len(data)))] = rng.integers(256)
        if trial % 10 == 0:
            del data[int(rng.integers(len(data))) :]
        stored.write_bytes(data)
        try:
            loaded = store.load(stored)
        except WeightsError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            kept += 1
            assert loaded.codec.id == codec("mean-scale").id
    assert kept < 30


def test_files_find_their_codec_by_its_id(stored, monkeypatch):
    data = coding.compress(codec("mean-scale"), picture(20, 20), 5)
    monkeypatch.setattr(store, "shipped", lambda: {"mine": stored})
    assert store.find_by_id(data).id == codec("mean-scale").id
    assert store.find(None) == stored
    assert store.find("mine") == stored
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        store.find("mime")
    foreign = coding.compress(codec("mean-scale", seed=1), picture(20, 20), 5)
    with pytest.raises(InputError, match="no codec that ships"):
        store.find_by_id(foreign)


@pytest.mark.slow
def test_a_training_killed_outright_goes_on_to_the_same_codec(process, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        pixels = (picture(96, 128, seed)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
    small = "--steps 40 --widths 4,4,5 --hyper 3 --latents 6 --batch-size 2 --window 64 --patches-per-source 20"
    command = f"ntc train . {small} --save-every 0 --threads 1 --device cpu -q -o".split()
    cut = process(*command, "cut.safetensors", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(cut.pid, signal.SIGKILL)
    cut.wait()
    assert (tmp_path / "cut.ckpt").exists()
    assert not (tmp_path / "cut.safetensors").exists()
    threads = torch.get_num_threads()
    try:
        for name in ("cut.safetensors", "whole.safetensors"):
            assert cli(*command, name).code == 0
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_start_from_images_is_their_truncated_block_transform():
    images = torch.cat([picture(64, 64, seed) for seed in range(6)])
    torch.manual_seed(0)
    made = build(CodecConfig(widths=(12, 48, 192), latents=768, hyper=4))
    start_from_images(made.analysis, made.synthesis, images)
    with torch.no_grad():
        back = made.synthesis(made.analysis(images))
    assert (back - images).abs().max() < 0.15  # nothing is left out; only GDN is not undone exactly
    fewer = build(CodecConfig(widths=(12, 24, 24), latents=24, hyper=4))
    start_from_images(fewer.analysis, fewer.synthesis, images)
    with torch.no_grad():
        error = (fewer.synthesis(fewer.analysis(images)) - images).square().mean()
    blocks = torch.nn.functional.pixel_unshuffle(images, 16).transpose(0, 1).flatten(1).double() - 0.5
    values = torch.linalg.eigvalsh(blocks @ blocks.T / blocks.shape[1])
    least = values[:-24].sum() / 768  # no block transform of 24 coefficients leaves less
    assert float(least) * 0.8 < float(error) < 6 * float(least)
    relu = build(CodecConfig(widths=(4, 4, 4), latents=4, hyper=4, nonlinearity="relu"))
    with pytest.raises(UsageError, match="needs GDN"):
        start_from_images(relu.analysis, relu.synthesis, images)


def test_codecs_in_half_precision_take_half_the_bytes(patches, tmp_path):
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        tensors, _ = trained(patches, path, replace(SETTINGS, steps=2, half=half))
        sizes.append(sum(t.numel() * t.element_size() for n, t in tensors.items() if n.endswith("weight")))
        stored = store.load(path)
        image = picture(20, 30)
        assert torch.equal(
            coding.decompress(stored.codec, coding.compress(stored.codec, image)), stored.codec(image).image
        )
    assert sizes[1] == sizes[0] / 2
