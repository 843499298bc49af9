"""`pim fit` and `pim ablate` on small pictures and a backbone with random weights."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import bapps
from rated_toys import rated_table

from pim.cli.app import run as pim_main
from vggmetric import VGGMetric, backbone, loading
from vggmetric.backbone import BACKBONES, cached
from vggmetric.head import Head

FAST = ("--draws", 100, "--resamples", 5, "--seed", 1, "--workers", 0)
RANDOM = ("--backbone", "rand7", *FAST)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of 4 photos in 4 versions each."""
    return rated_table(tmp_path_factory.mktemp("rated"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for all tests of this file, without any backbone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIM_CACHE", str(folder))
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.delenv("PIM_VGG16_WEIGHTS", raising=False)
        patch.setattr(backbone, "network_file", lambda name: None)
        yield folder


@pytest.fixture(scope="module")
def head(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head fitted to them."""
    target = tmp_path_factory.mktemp("fitted") / "head.safetensors"
    assert pim_main(["fit", str(table), "-o", str(target), *map(str, RANDOM), "--form", "layer", "--quiet"]) == 0
    return target


def test_a_head_tells_its_story_and_scores(head, table):
    read = Head.read(head)
    assert (read.backbone, read.form, read.norm) == ("rand7", "layer", "unit")
    assert read.story["trained_on"] == [f"{table.parent.name}/ratings"]
    assert read.story["preferences"] == 4 * 6
    assert read.story["photos"] == read.story["folds"] == 4
    metric = VGGMetric.from_head(head)
    values = []
    for photo in range(4):
        images = [
            torch.from_numpy(pixels(table.parent / "images" / name)) for name in (f"{photo}.png", f"{photo}_2.png")
        ]
        values.append(float(metric(images[0], images[1])))
    assert 0.2 < np.median(values) < 5  # a typical distance is about 1


def pixels(path: Path) -> np.ndarray:
    from pim.images.opener import open_image

    return open_image(path).pixels.transpose(2, 0, 1).copy()


def test_the_story_beside_the_head_holds_path_folds_and_agreement(head):
    story = json.loads(head.with_suffix(".json").read_text())
    path = story["paths"]["layer"]["by_strength"]
    assert [row["strength"] for row in path] == sorted((row["strength"] for row in path), reverse=True)
    assert len(path) == 13
    assert sum(row["chosen"] for row in path) == 1
    assert {"nll", "nll_error", "two_afc", "srcc", "positive"} < set(path[0])
    assert len(story["paths"]["layer"]["held_out_nll_by_fold"]) == 4
    assert abs(sum(story["shares"].values()) - 1) < 1e-9
    assert set(story["shares"]) == set(story["share_errors"])
    assert {row["metric"] for row in story["agreement"]} == {"layer", "prior"}


def test_the_distance_is_the_sum_of_the_layers_times_weights(head, table):
    """Values of the head are those of the quantities it was fitted to."""
    read, metric = Head.read(head), VGGMetric.from_head(head)
    one, two = (torch.from_numpy(pixels(table.parent / "images" / name))[None] for name in ("0.png", "0_3.png"))
    differences = metric.embedding.differences(one, two)
    total = sum(float((differences[tap] * read.weights[tap]).sum()) for tap in read.taps)
    assert np.isclose(total, float(metric(one, two)), rtol=1e-5)


def test_tables_say_what_was_held_out_and_compare_with_other_metrics(cli, table, tmp_path):
    values = tmp_path / "values.csv"
    ran = cli("fit", table, "-o", tmp_path / "h.safetensors", *RANDOM, "-m", "psnr", "--values", values)
    assert ran.code == 0, ran.err
    for text in (
        "held out in 4 folds",
        "taken: ",
        "NLL by fold",
        "share of the distance",
        "percentile bootstrap",
        "psnr",
    ):
        assert text in ran.out, text
    assert "rand7 has random weights" in ran.err
    assert "With 4 photos this is uncertain" in ran.out
    with values.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    metrics = {row["metric"] for row in rows}
    assert metrics >= {"prior", "layer", "channel", "psnr"}
    assert len(rows) == 16 * len(metrics)


def test_the_same_ratings_give_the_same_head(cli, head, table, tmp_path):
    again = tmp_path / "again.safetensors"
    assert cli("fit", table, "-o", again, *RANDOM, "--form", "layer", "--quiet", "--trained-on", "tid2013").code == 0
    assert Head.read(again).sha256 == Head.read(head).sha256
    assert Head.read(again).story["trained_on"] == [f"{table.parent.name}/ratings", "tid2013"]


def test_channels_without_normalisation_have_scales(cli, table, tmp_path):
    target = tmp_path / "h.safetensors"
    ran = cli("fit", table, "-o", target, *RANDOM, "--form", "channel", "--norm", "none", "--without", "block5")
    assert ran.code == 0, ran.err
    read = Head.read(target)
    assert (read.form, read.norm) == ("channel", "none")
    assert not any(tap.startswith("relu5") for tap in read.weights)
    assert set(read.scales) == set(read.weights) - {"pixels"}
    one, two = (torch.from_numpy(pixels(table.parent / "images" / name))[None] for name in ("1.png", "1_3.png"))
    deepest = read.taps[-1]
    features = dict(loading.load("rand7")(one))[deepest]
    assert 0.3 < float(features.square().mean().sqrt()) / read.scales[deepest] < 3
    assert float(VGGMetric.from_head(target)(one, two)) > 0


def test_the_whole_backbone_is_found_in_the_cache(cli, table, tmp_path, cache):
    """The commands of docs/fitting.md, with random weights where the real ones would be."""
    target = tmp_path / "h.safetensors"
    ran = cli("fit", table, "-o", target, *FAST)
    assert (ran.code, ran.out) == (1, "")
    assert "pim weights get vgg16" in ran.err
    loading.save(cached("tv1k"), loading.random_tensors(3), BACKBONES["tv1k"])
    try:
        ran = cli("fit", table, "-o", target, *FAST)
        assert ran.code == 0, ran.err
        assert (Head.read(target).backbone, Head.read(target).story["prior"]) == ("tv1k", "vgg")
        assert "gains" in ran.out
        assert "nats over the prior, vgg" in ran.out
        scored = cli("eval", "table", table, "-m", target, "-m", "psnr", "--run", tmp_path / "run", "--draws", 100)
        assert scored.code == 0, scored.err
        assert "this is no blind test" in " ".join(scored.out.split())
    finally:
        cached("tv1k").unlink()


def test_a_fit_starts_from_a_head_and_says_what_it_gained(cli, table, head, tmp_path):
    again = tmp_path / "again.safetensors"
    ran = cli("fit", table, "-o", again, *RANDOM, "--prior", head, "--trained-on", "mine")
    assert ran.code == 0, ran.err
    assert "nats over the prior, head: " in ran.out
    story = Head.read(again).story
    assert story["prior"] == "head"
    assert story["trained_on"] == [f"{table.parent.name}/ratings", "mine"]


def test_forced_choices_and_opinions_are_fitted_together(cli, table, tmp_path, cache):
    root = bapps(tmp_path / "bapps", split="train")
    spread_labels(root)
    ran = cli(
        "fit", table, f"bapps={root}", "-o", tmp_path / "h.safetensors", *RANDOM, "--form", "layer", "--equal-sets"
    )
    assert ran.code == 0, ran.err
    assert set(Head.read(tmp_path / "h.safetensors").story["rows"]) == {
        f"{table.parent.name}/ratings",
        "bapps-2afc-train",
    }
    alone = cli("fit", root, "-o", tmp_path / "alone.safetensors", *RANDOM, "--form", "layer", "--format", "json")
    assert alone.code == 0, alone.err
    assert json.loads(alone.out)["taken"] == "layer"


def spread_labels(root: Path) -> None:
    """Give the plain pictures of the miniature some texture: equal pictures say nothing."""
    from miniatures import textured

    for number, path in enumerate(sorted(root.rglob("*.png"))):
        textured(path, (64, 64), number)


def test_a_killed_fit_goes_on_and_ends_in_the_same_head(process, cli, table, head, tmp_path):
    folder = tmp_path / "kept"
    target = tmp_path / "h.safetensors"
    command = ("fit", table, "-o", target, *RANDOM, "--form", "layer", "--quiet", "--cache", folder)
    started = process(*command, OMP_NUM_THREADS="1")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(folder.glob("*.sqlite-wal")) and started.poll() is None:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert not target.exists()
    assert not list(tmp_path.glob("*.part"))
    assert cli(*command).code == 0
    assert Head.read(target).sha256 == Head.read(head).sha256


def test_ablation_tells_what_is_lost(cli, table, tmp_path):
    ran = cli(
        "ablate", table, "--backbone", "rand7", "--layer", "pixels", "--layer", "block4", "--draws", 100, "--workers", 0
    )
    assert ran.code == 0, ran.err
    assert "without block4 - all layers" in ran.out
    assert "fitted without" in ran.out
    assert "weights set to 0" in ran.out
    ran = cli("ablate", table, "--backbone", "rand7", "--layer", "relu5_3", "--draws", 100, "-o", tmp_path / "a.json")
    assert ran.code == 0, ran.err
    document = json.loads((tmp_path / "a.json").read_text())
    assert {row["metric"] for row in document["refitted"]} == {"all layers", "without relu5_3"}
    assert {row["statistic"] for row in document["dropped"]} == {"2AFC", "SRCC"}
    csv_ran = cli("ablate", table, "--backbone", "rand7", "--layer", "relu5_3", "--draws", 100, "--format", "csv")
    assert csv_ran.out.splitlines()[0].startswith("way,section,part,statistic,metric,value,low,high,n")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("ratings.csv", "-o", "head.pt", *RANDOM), "must end in .safetensors", 2),
        (("ratings.csv", "-o", "h.safetensors", "--backbone", "rand"), "unknown backbone 'rand'", 2),
        (("tid2031=x", "-o", "h.safetensors", *RANDOM), "unknown data set 'tid2031'; did you mean 'tid2013'?", 2),
        (("nowhere.csv", "-o", "h.safetensors", *RANDOM), "nowhere.csv", 2),
        ((".", "-o", "h.safetensors", *RANDOM), "holds none of bapps, tid2013", 2),
        (("ratings.csv", "-o", "h.safetensors", *RANDOM, "--without", "block6"), "no layer or group 'block6'", 2),
        (("ratings.csv", "-o", "h.safetensors", *RANDOM, "--prior", "vgg"), "vgg is a head for tv1k, norm unit", 2),
        (("two.csv", "-o", "h.safetensors", *RANDOM), "about 2 photos; cross-validation needs 3", 1),
        (("same.csv", "-o", "h.safetensors", *RANDOM), "judgements of the kind jnd", 1),
    ],
)
def test_what_cannot_be_fitted_is_one_line(cli, table, tmp_path, monkeypatch, arguments, said, code):
    monkeypatch.chdir(tmp_path)
    rated_table(tmp_path)
    lines = Path("ratings.csv").read_text().splitlines()
    Path("two.csv").write_text("\n".join([lines[0], *lines[1:9]]))
    Path("same.csv").write_text("a,b,same\nimages/0.png,images/0_1.png,0.5\n")
    ran = cli("fit", *arguments, "--quiet")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert len([line for line in ran.err.splitlines() if "random weights" not in line]) == 1
    assert not Path("h.safetensors").exists()


def test_no_layer_is_left_out_of_nothing(cli, table, tmp_path):
    ran = cli("ablate", table, "--backbone", "oxford12", "--draws", 100)
    assert ran.code == 1
    assert "oxford12" in ran.err
    everything = [word for number in range(1, 6) for word in ("--without", f"block{number}")]
    ran = cli("fit", table, "-o", tmp_path / "h.safetensors", *RANDOM, *everything)
    assert ran.code == 2
    assert "no layer of the network is left" in ran.err


def test_ratings_the_wrong_way_round_are_noticed(cli, table, tmp_path):
    text = table.read_text().replace(",1,photo", ",0,photo")
    other = table.parent / "turned.csv"
    other.write_text(text)
    ran = cli("fit", other, "-o", tmp_path / "h.safetensors", *RANDOM, "--form", "layer")
    assert (ran.code, ran.out) == (1, "")
    assert "is the direction of the scores right?" in ran.err
