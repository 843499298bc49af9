"""Files of heads: what is written comes back, and what cannot be right is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import random as random_module
from pathlib import Path

import pytest
import torch

from pim.core import weights
from pim.core.files import sha256_of
from pim.errors import UsageError, WeightsError
from vggmetric import Head, VGGMetric
from vggmetric.features import CHANNELS
from vggmetric.head import shipped, uniform

CHANNEL_WEIGHTS = {"relu1_2": torch.linspace(0, 2, 64), "relu2_2": torch.rand(128, generator=torch.Generator())}


@pytest.fixture
def head() -> Head:
    return Head("rand447", CHANNEL_WEIGHTS, scales={"relu1_2": 2.5}, temperature=0.5, story={"triplets": 7})


def test_a_head_comes_back_as_it_was_written(head: Head, tmp_path: Path) -> None:
    head.write(tmp_path / "mine.safetensors")
    found = Head.read(tmp_path / "mine.safetensors")
    assert found.settings == head.settings
    assert found.sha256 == head.sha256
    assert found.story == {"triplets": 7}
    assert list(found.weights) == ["relu1_2", "relu2_2"]
    for tap, values in CHANNEL_WEIGHTS.items():
        assert torch.equal(found.weights[tap], values)


def test_the_order_of_layers_changes_nothing(head: Head, tmp_path: Path) -> None:
    turned = dataclasses.replace(head, weights=dict(reversed(CHANNEL_WEIGHTS.items())))
    assert turned.sha256 == head.sha256
    header = weights.WeightHeader("vgg-head", head.settings)
    weights.write(tmp_path / "a.safetensors", {f"w/{tap}": w for tap, w in reversed(CHANNEL_WEIGHTS.items())}, header)
    assert Head.read(tmp_path / "a.safetensors").sha256 == head.sha256


def test_weights_settings_and_not_the_story_make_the_identity(head: Head) -> None:
    told = dataclasses.replace(head, story={"other": 1})
    assert told.sha256 == head.sha256
    changes = ({"eps": 1e-8}, {"norm": "none"}, {"pool": "l2"}, {"temperature": 1.0}, {"scales": {}})
    others = [dataclasses.replace(head, **change) for change in changes]
    heavier = {**CHANNEL_WEIGHTS, "relu1_2": CHANNEL_WEIGHTS["relu1_2"] + 1e-3}
    others.append(dataclasses.replace(head, weights=heavier))
    assert len({head.sha256, *(other.sha256 for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": {"relu1_2": torch.tensor([-0.1])}}, "weights of relu1_2 must not be negative; the lowest is -0.1"),
        ({"weights": {"relu1_2": torch.tensor([float("nan")])}}, "weights of relu1_2 must be finite"),
        ({"weights": {"relu1_2": torch.ones(63)}}, r"relu1_2 takes 1 weight or 64; got shape \(63,\)"),
        ({"weights": {"relu1_2": torch.ones(1, 64)}}, "relu1_2 takes 1 weight or 64"),
        ({"weights": {"relu1_3": torch.ones(1)}}, "rand447 has no tap 'relu1_3'"),
        ({"weights": {"relu1_2": torch.zeros(1)}}, "a head needs a weight above 0"),
        ({"weights": {}}, "a head needs a weight above 0"),
        ({"backbone": "oxford12", "weights": {"relu3_1": torch.ones(1)}}, "oxford12 has no tap 'relu3_1'"),
        ({"backbone": "vgg19"}, "unknown backbone 'vgg19'"),
        ({"norm": "lenght"}, "norm must be one of unit, none; got 'lenght'"),
        ({"pool": "mean"}, "pool must be one of max, l2"),
        ({"eps": 0.0}, "eps must be a number above 0"),
        ({"temperature": float("inf")}, "temperature must be a number above 0"),
        ({"scales": {"relu1_2": -1.0}}, "relu1_2 must be a number above 0"),
        ({"scales": {"relu9": 1.0}}, "scales of unknown taps: relu9"),
    ],
)
def test_an_impossible_head_is_refused_in_memory_and_in_a_file(change, said: str, head: Head, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        dataclasses.replace(head, **change)
    values = {f"w/{tap}": w for tap, w in change.get("weights", CHANNEL_WEIGHTS).items()}
    config = {**head.settings, **{key: value for key, value in change.items() if key != "weights"}}
    config["backbone_sha256"] = (
        "" if config["backbone"] != "oxford12" else uniform("oxford12").settings["backbone_sha256"]
    )
    weights.write(tmp_path / "bad.safetensors", values, weights.WeightHeader("vgg-head", config))
    with pytest.raises(WeightsError, match=said):
        Head.read(tmp_path / "bad.safetensors")


def test_what_is_no_head_is_named(head: Head, tiny_pim: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds weights of kind 'pim', not a head"):
        Head.read(tiny_pim)
    path = tmp_path / "h.safetensors"
    tensors = {f"w/{tap}": w for tap, w in CHANNEL_WEIGHTS.items()}
    weights.write(path, tensors, weights.WeightHeader("vgg-head", {**head.settings, "colour": 1}))
    with pytest.raises(WeightsError, match="no usable head: .*colour"):
        Head.read(path)
    weights.write(path, tensors, weights.WeightHeader("vgg-head", {**head.settings, "backbone_sha256": "00"}))
    with pytest.raises(WeightsError, match="made for another file of the backbone rand447"):
        Head.read(path)
    head.write(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="is damaged"):
        Head.read(path)


def test_the_heads_that_ship_are_what_their_names_say() -> None:
    heads = {name: Head.read(path) for name, path in shipped().items()}
    assert list(heads) == ["vgg", "lpips-vgg"]
    lpips = heads["lpips-vgg"]
    assert (lpips.backbone, lpips.form, lpips.licence, lpips.story["trained_on"]) == (
        "tv1k",
        "channel",
        "BSD-2-Clause",
        ["bapps"],
    )
    assert [len(values) for values in lpips.weights.values()] == [CHANNELS[tap] for tap in lpips.weights]


def test_a_metric_takes_name_hash_and_history_from_its_head(head: Head, tmp_path: Path) -> None:
    dataclasses.replace(head, story={"trained_on": ["tid2013"]}).write(tmp_path / "mine.safetensors")
    metric, digest = VGGMetric.from_head(tmp_path / "mine.safetensors"), sha256_of(tmp_path / "mine.safetensors")
    assert (metric.name, metric.weights_hash, metric.trained_on) == ("mine", digest, ("tid2013",))
    assert VGGMetric(head).weights_hash == head.sha256
    assert metric.settings["backbone"] == "rand447"
    with pytest.raises(UsageError, match="unknown head 'lpips-vvg'; did you mean 'lpips-vgg'"):
        VGGMetric.from_head("lpips-vvg")


def test_no_mutation_of_a_file_does_more_than_a_refusal(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "mutated.safetensors"
    head.write(path)
    content, random = path.read_bytes(), random_module.Random(0)
    start = content.index(b"__metadata__")
    refusals = []
    for _ in range(150):
        mutated = bytearray(content)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(start, start + 600) if random.random() < 0.8 else random.randrange(len(mutated))
            mutated[at] = random.choice(b'0127"{}[],:.-eE \\ntf')
        path.write_bytes(mutated[: random.choice((len(mutated), random.randrange(len(mutated))))])
        with contextlib.suppress(WeightsError):
            Head.read(path)
            continue
        with pytest.raises(WeightsError) as caught:
            Head.read(path)
        refusals.append(str(caught.value))
    assert len(refusals) > 90
    assert all(str(path) in text and "\n" not in text for text in refusals)
