from __future__ import annotations

import shlex

import numpy as np
import pytest
from PIL import Image

import pim
from pim import PIM, PIMConfig
from pim.core import weights
from pim.datasets.crops import load_crops
from pim.errors import TrainingError
from pim.pim.training import loop
from pim.pim.training.recipe import Recipe, recipe_of

SHAPE = ("--like", "pim-1", "--filters", "3,2", "--scales", 1, "--average", 0.9)
TINY = (*SHAPE, "--steps", 2, "--batch-size", 8, "--window", 16, "--threads", 1)


@pytest.fixture
def footage(tmp_path, monkeypatch):
    """Two folders of frames in which a texture moves."""
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two"):
        folder = tmp_path / "footage" / name
        folder.mkdir(parents=True)
        texture = np.random.default_rng(len(name)).integers(0, 256, (110, 140, 3), np.uint8)
        for t in range(6):
            Image.fromarray(texture[:, 2 * t : 2 * t + 110]).save(folder / f"{t}.png")
    return tmp_path / "footage"


def test_train_writes_weights_that_score_and_prints_their_path(cli, footage, tmp_path):
    target = tmp_path / "my.safetensors"
    ran = cli("train", footage, *TINY, "-o", target)
    assert ran.code == 0, ran.err
    assert ran.out.strip() == str(target)
    assert "1024 pairs of 1 held-out video" in ran.err
    assert PIM.load(target).config.filters == (3, 2)
    scored = cli("score", footage / "one" / "0.png", footage / "one" / "5.png", "-m", target)
    assert float(scored.out.split("\t")[0]) > 0


def test_packed_crops_train_the_same_weights_without_the_videos(cli, footage, tmp_path):
    direct, packed = tmp_path / "direct.safetensors", tmp_path / "packed.safetensors"
    assert cli("train", footage, *TINY, "-o", direct, "--quiet").code == 0
    ran = cli("train", footage, "--pack", tmp_path / "crops.npz", "--quiet")
    assert ran.out.strip() == str(tmp_path / "crops.npz")
    assert sorted(load_crops(tmp_path / "crops.npz").names) == ["one", "two"]
    assert cli("train", "--crops", tmp_path / "crops.npz", *TINY, "-o", packed, "--quiet").code == 0
    assert packed.read_bytes() == direct.read_bytes()


def test_like_takes_over_all_settings_but_what_is_typed(cli, footage, tmp_path):
    first, second, third = (tmp_path / f"{name}.safetensors" for name in "abc")
    own = (*TINY, "--window", 32, "--reduction", 2, "--detail", "--no-high-pass")
    more = ("--noise", 0.2, "--crops-per-source", 90)
    assert cli("train", footage, *own, *more, "-o", first, "--seed", 1, "-q").code == 0
    ran = cli("train", footage, "--like", first, "--threads", 1, "-o", second, "--seed", 1, "-q")
    assert ran.code == 0, ran.err
    assert second.read_bytes() == first.read_bytes()
    assert (
        cli("train", footage, "--like", first, "--no-detail", "--high-pass", "--steps", 1, "-o", third, "-q").code == 0
    )
    header = weights.read_header(third)
    assert header.training["settings"]["seed"] == 0
    assert header.training["settings"]["steps"] == 1
    assert header.training["settings"]["window"] == 32
    assert header.training["crop_settings"]["per_source"] == 90
    assert (header.config["detail"], header.config["high_pass"], header.config["reduction"]) == (False, True, 2)


@pytest.mark.parametrize("name", ["pim-1", "pim-5", "pim"])
def test_every_pim_that_ships_can_be_taken_as_a_model(cli, name):
    ran = cli("train", "--like", name, "--help")
    assert ran.code == 0
    filters = ",".join(map(str, weights.read_header(weights.shipped()[name]).config["filters"]))
    assert f"[default: {filters}]" in " ".join(ran.out.split())


def test_like_refuses_what_it_cannot_take_over(cli, tmp_path):
    config = {**PIMConfig().to_dict(), "latent": 7}
    weights.write(tmp_path / "odd.safetensors", {}, weights.WeightHeader("pim", config))
    weights.write(tmp_path / "head.safetensors", {}, weights.WeightHeader("vgg-head", {}))
    weights.write(tmp_path / "bare.safetensors", {}, weights.WeightHeader("pim", {}))
    for name, said in (
        ("odd.safetensors", "no option for: {'latent': 7}"),
        ("head.safetensors", "needs a PIM"),
        ("bare.safetensors", "does not say how"),
        ("none.safetensors", "cannot read"),
    ):
        ran = cli("train", "nowhere.mp4", "--like", tmp_path / name)
        assert ran.code in (1, 2)
        assert said in ran.err
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ((), "either VIDEOS or a file of packed crops", 2),
        (("nowhere.mp4",), "nowhere.mp4 does not exist", 1),
        (("nowhere.mp4", "--crops", "crops.npz"), "either VIDEOS or", 2),
        (("nowhere.mp4", "-o", "weights.pt"), "must end in .safetensors", 2),
        (("nowhere.mp4", "--filters", "8;8"), "--filters must be numbers", 2),
        (("nowhere.mp4", "--batch-size", "1"), "--batch-size", 2),
        (("--crops", "nowhere.npz"), "nowhere.npz is not a file of packed crops", 1),
    ],
)
def test_what_cannot_be_trained_is_one_line(cli, tmp_path, monkeypatch, arguments, said, code):
    monkeypatch.chdir(tmp_path)
    ran = cli("train", *arguments)
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    assert list(tmp_path.iterdir()) == []


def test_quiet_leaves_out_progress_and_figures(cli, footage, tmp_path):
    loud = cli("train", footage, *TINY, "-o", tmp_path / "loud.safetensors")
    quiet = cli("train", footage, *TINY, "-o", tmp_path / "quiet.safetensors", "--quiet")
    assert "held-out" in loud.err
    assert "held-out" not in quiet.err
    assert quiet.out.strip() == str(tmp_path / "quiet.safetensors")


@pytest.mark.parametrize("name", ["pim-1", "pim-5", "pim"])
def test_the_command_on_a_card_has_the_settings_of_the_file(cli, footage, tmp_path, monkeypatch, name):
    """`pim` has none to name: its settings are the defaults."""
    card = weights.shipped()[name].with_suffix(".md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith("pim train ")]
    asked = []
    monkeypatch.setattr(loop, "_Run", lambda *given: asked.append(given) or Stopped())
    words = ["footage" if word == "VIDEO_FOLDER" else word for word in shlex.split(line)[1:]]
    monkeypatch.chdir(tmp_path)
    assert "only how it was asked" in cli(*words).err
    ((crops, _, config, settings, *_),) = asked
    assert Recipe(config, settings, crops.settings) == recipe_of(name)


def test_training_from_python_is_like_the_default_metric_unless_told_otherwise(footage, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "_Run", lambda *given: asked.append(given) or Stopped())
    with pytest.raises(TrainingError):
        pim.train([footage], tmp_path / "my.safetensors")
    ((crops, _, config, settings, *_),) = asked
    assert Recipe(config, settings, crops.settings) == recipe_of("pim")


class Stopped:
    """A run that does not begin."""

    def execute(self, *given):
        raise TrainingError("only how it was asked counts")
