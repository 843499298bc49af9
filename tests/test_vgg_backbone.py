"""Backbones: where they are looked for, what is refused, and that a refusal leaves no trace."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from vgg_cases import OXFORD12

from pim.core import weights
from pim.core.weights import NETWORKS
from pim.errors import MetricUnavailable, UsageError, WeightsError
from vggmetric import backbone, loading
from vggmetric.backbone import BACKBONES, VARIABLE, cached, find, missing, named, places

TV1K = BACKBONES["tv1k"]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without any backbone; what tests put there is used."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(backbone, "network_file", lambda name: None)
    (tmp_path / "cache").mkdir()
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="session")
def tensors() -> dict[str, torch.Tensor]:
    return loading.random_tensors(447)


@pytest.fixture(scope="session")
def published(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision would publish it, with a classifier; its hash stands in no table."""
    path = tmp_path_factory.mktemp("published") / TV1K.file
    torch.save({**tensors, "classifier.0.weight": torch.full((2, 2), float("nan"))}, path)
    return path


def known_as(monkeypatch: pytest.MonkeyPatch, path: Path, name: str = "tv1k", digits: int = 64) -> backbone.Backbone:
    """A table in which this file is the published one."""
    entry = replace(
        BACKBONES[name], sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:digits], size=path.stat().st_size
    )
    monkeypatch.setitem(BACKBONES, name, entry)
    return entry


def test_a_missing_backbone_is_told_with_all_the_ways_to_supply_it(nowhere: Path) -> None:
    with pytest.raises(MetricUnavailable) as caught:
        loading.load("tv1k")
    text = str(caught.value)
    for part in (
        f"{VARIABLE} (not set)",
        f"{nowhere}/cache/vgg16_tv1k_f32.safetensors, {nowhere}/cache/vgg16_tv1k_f16.safetensors",
        f"{nowhere}/torch/hub/checkpoints/vgg16-397923af.pth",
        f"{NETWORKS}; or fetch it: pim weights get vgg16;",
        f"vgg16-397923af.pth (553433881 bytes, SHA-256 {TV1K.sha256})",
    ):
        assert part in text
    assert "\n" not in text
    assert missing("tv1k") == f"the backbone tv1k is not here; {NETWORKS}; or fetch it: pim weights get vgg16"
    assert missing("oxford12") == "the backbone oxford12 is not here; to fetch it: pim weights get vgg16 --id oxford"
    assert missing("rand3") is None


def test_places_are_tried_in_their_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(nowhere / "named.pth"))
    (nowhere / "named.pth").touch()
    order = places("tv1k")
    assert [path.name for path in order] == ["named.pth", cached("tv1k").name, cached("tv1k", True).name, TV1K.file]
    monkeypatch.setattr(backbone, "network_file", lambda name: nowhere / "torch" / name)
    assert places("tv1k") == [*order, nowhere / "torch" / "vgg16_tv1k_f16.safetensors"]
    order = places("tv1k")
    assert find("tv1k") == order[0]
    monkeypatch.delenv(VARIABLE)
    for path in reversed(order[1:]):
        path.touch()
        assert find("tv1k") == path


@pytest.mark.parametrize("name", ["vgg19", "rand", "rand-1", "tv1K", "rand1234567890"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown backbone '{name}'"):
        named(name)


def test_the_published_file_is_read_without_its_classifier(
    published: Path, tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, nowhere: Path
) -> None:
    known_as(monkeypatch, published)
    target = nowhere / "torch" / "hub" / "checkpoints" / TV1K.file
    target.symlink_to(published)
    network = loading.load("tv1k")
    state = list(network.state_dict().values())
    assert all(torch.equal(got, want) for got, want in zip(state, tensors.values(), strict=True))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training
    assert find("tv1k") == target


@pytest.mark.parametrize("half", [False, True])
def test_a_converted_file_gives_the_same_tensors(half: bool, tensors: dict[str, torch.Tensor], nowhere: Path) -> None:
    path = cached("tv1k", half)
    loading.save(path, tensors, TV1K, half=half)
    assert path.stat().st_size == pytest.approx(14_714_688 * (2 if half else 4), rel=1e-3)
    found = loading.read(TV1K, find("tv1k"))
    for name, tensor in tensors.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], tensor, rtol=5e-4 if half else 0, atol=1e-7 if half else 0)
    assert weights.read_header(path).licence == "BSD-3-Clause"


class Poison:
    """What a hostile pickle would do when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("in_table", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_poisoned_pickle_is_refused_and_leaves_no_trace(
    in_table: bool, legacy: bool, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trace = nowhere / "torch" / "hub" / "checkpoints" / TV1K.file, nowhere / "trace"
    if legacy:
        path.write_bytes(pickle.dumps({"features.0.weight": Poison(trace)}, protocol=2))
    else:
        torch.save({"features.0.weight": Poison(trace)}, path)
    content = path.read_bytes()
    if in_table:  # even one with the right hash could run nothing
        known_as(monkeypatch, path)
    said = "is damaged" if in_table else "has SHA-256 [0-9a-f]{64}, expected 397923af.* it was not opened"
    with pytest.raises(WeightsError, match=said):
        loading.load("tv1k")
    assert not trace.exists()
    assert path.read_bytes() == content
    assert list((nowhere / "cache").iterdir()) == []
    pickle.loads(pickle.dumps(Poison(trace)))  # the poison does work
    assert trace.exists()


def test_a_wrong_or_damaged_file_is_named_with_what_is_wrong(
    published: Path, tensors: dict[str, torch.Tensor], tiny_pim: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached("tv1k")

    def said(match: str) -> None:
        with pytest.raises(WeightsError, match=match):
            loading.load("tv1k")

    path.write_bytes(b"")
    said("has SHA-256 e3b0c442")
    path.write_bytes(tiny_pim.read_bytes())
    said("holds weights of kind 'pim', not a backbone")
    few = dict(list(tensors.items())[:8])
    loading.save(path, few, BACKBONES["oxford12"])
    said("holds the backbone oxford12, not tv1k")
    header = weights.WeightHeader(loading.KIND, {"backbone": "tv1k", "tensors_sha256": weights.digest_of(few)})
    weights.write(path, few, header)
    said("lacks the tensor features.10.weight; is it a VGG-16")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said("damaged: its tensors are not those it was written with; remove it")
    path.write_bytes(content[:-100])
    said("is damaged")
    path.unlink()
    with pytest.raises(WeightsError, match=r"cannot read .*nowhere\.pth"):
        loading.load("tv1k", nowhere / "nowhere.pth")
    path.write_bytes(published.read_bytes())
    known_as(monkeypatch, published, "oxford", digits=8)
    path.rename(nowhere / "torch" / "hub" / "checkpoints" / TV1K.file)
    monkeypatch.setitem(BACKBONES, "oxford", replace(BACKBONES["oxford"], size=0))
    said(r"vgg16-397923af\.pth holds the backbone oxford, not tv1k")


def test_a_variable_for_another_backbone_is_passed_over_and_a_wrong_one_is_told(
    tensors: dict[str, torch.Tensor], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = nowhere / "other.safetensors"
    loading.save(other, tensors, BACKBONES["oxford"])
    monkeypatch.setenv(VARIABLE, str(other))
    with pytest.raises(MetricUnavailable, match=rf"not found in {VARIABLE} \(which holds another one\), {nowhere}"):
        find("tv1k")
    cached("tv1k").touch()
    assert find("tv1k") == cached("tv1k")
    assert find("oxford") == find("oxford12") == other
    monkeypatch.setenv(VARIABLE, str(nowhere / "nothing.pth"))
    said = f"{VARIABLE} names {nowhere}/nothing.pth, which is no file"
    assert missing("tv1k") == said
    with pytest.raises(MetricUnavailable, match=said):
        find("tv1k")


def test_tensors_of_other_shapes_or_values_are_refused(tensors: dict[str, torch.Tensor], nowhere: Path) -> None:
    few = dict(list(tensors.items())[:8])
    shallow, path = BACKBONES["oxford12"], nowhere / "few.safetensors"
    loading.save(path, {**few, "features.2.bias": torch.zeros(65)}, shallow)
    with pytest.raises(WeightsError, match=r"features\.2\.bias has shape \(65,\), expected \(64,\)"):
        loading.read(shallow, path)
    loading.save(path, {**few, "features.2.bias": torch.full((64,), float("inf"))}, shallow)
    with pytest.raises(WeightsError, match=r"features\.2\.bias contains values that are not finite"):
        loading.read(shallow, path)


def test_the_first_layers_of_the_whole_network_will_do_for_the_part(
    tensors: dict[str, torch.Tensor], nowhere: Path
) -> None:
    loading.save(cached("oxford"), tensors, BACKBONES["oxford"])
    network = loading.load("oxford12")
    assert len(network.convolutions) == 4
    assert torch.equal(network.convolutions[3].weight, tensors["features.7.weight"])


def test_the_file_of_keras_is_turned_into_the_layout_of_torch(
    tensors: dict[str, torch.Tensor], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    monkeypatch.setenv("KERAS_HOME", str(nowhere / "keras"))
    path = nowhere / "keras" / "models" / backbone.KERAS_FILE
    path.parent.mkdir(parents=True)
    numbers = iter(tensors.values())
    with h5py.File(path, "w") as file:
        for layer in loading.KERAS_LAYERS:
            kernel, bias = next(numbers), next(numbers)
            turned = kernel.flip(1) if layer == "block1_conv1" else kernel  # blue first
            group = file.create_group(layer)
            group[f"{layer}_W_1:0"] = turned.permute(2, 3, 1, 0).numpy()
            group[f"{layer}_b_1:0"] = bias.numpy()
    with pytest.raises(WeightsError, match=f"has MD5 [0-9a-f]{{32}}, expected {loading.KERAS_MD5}; it was not opened"):
        loading.load("oxford")
    monkeypatch.setattr(loading, "KERAS_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    for name in ("oxford", "oxford12"):
        state = loading.load(name).state_dict().values()
        assert all(torch.equal(got, want) for got, want in zip(state, tensors.values(), strict=False))
    with pytest.raises(WeightsError, match="holds the backbone oxford, not tv1k"):
        loading.load("tv1k", path)


@pytest.mark.development_data
def test_the_real_layers_are_recognised_by_their_hash(
    shared: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(shared / OXFORD12))
    kernel = loading.load("oxford12").convolutions[0].weight
    assert kernel[0, 0, 0, 0].item() == pytest.approx(0.48001540, abs=1e-8)
    assert kernel[0, 2, 0, 0].item() == pytest.approx(0.42947057, abs=1e-8)
    with pytest.raises(MetricUnavailable, match="which holds another one"):
        loading.load("tv1k")
    with pytest.raises(WeightsError, match="holds the backbone oxford12, not tv1k"):
        loading.load("tv1k", shared / OXFORD12)


def test_looking_for_backbones_imports_no_torch() -> None:
    code = "import sys, vggmetric.backbone as b; b.missing('tv1k'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_backbones_are_looked_for_where_torch_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variables in ({"TORCH_HOME": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}, {}):
        for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        assert str(backbone.checkpoints()) == str(Path(torch.hub.get_dir()) / "checkpoints")
