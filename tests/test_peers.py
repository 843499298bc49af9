"""Metrics of other packages: order of arguments, what is missing, and that nothing is ever downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pim.core.weights import NETWORKS
from pim.errors import InputError, MetricUnavailable
from pim.images.opener import open_image
from pim.metrics import others, peers, registry
from pim.metrics.others import PEERS, VGGS, missing
from pim.metrics.registry import SHIPPED, built_in

PIQ = [name for name, peer in PEERS.items() if peer.distribution == "piq"]
LEARNED = [name for name in PEERS if name not in PIQ]
with_piq = pytest.mark.skipif(missing("vsi") is not None, reason="piq is not installed")


def test_names_of_peers_are_no_names_of_ours() -> None:
    assert not PEERS.keys() & (SHIPPED.keys() | VGGS.keys())
    assert list(built_in()) == [*SHIPPED, *VGGS, *PEERS]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_without_its_package_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(MetricUnavailable, match=rf"{name} needs the package \w+: pip install 'pim-metric\[peers\]'"):
        registry.load(name)


@pytest.mark.parametrize("name", ["lpips-alex", "dists"])
def test_a_peer_without_its_convolutions_says_how_to_get_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others.importlib.util, "find_spec", lambda module: object())
    monkeypatch.setattr(others, "network_file", lambda name: None)
    with pytest.raises(MetricUnavailable, match=f"{name} needs {PEERS[name].convolutions}; {NETWORKS}"):
        registry.load(name)


# Of TID2013, as pyiqa publishes them: picture, LPIPS on AlexNet, DISTS.
PUBLISHED = [("i04_18_5", 0.2572, 0.1424), ("i06_18_3", 0.0508, 0.0682), ("i08_15_3", 0.0521, 0.0287)]
CORNERS = {"i04": (206, 0), "i06": (43, 66), "i08": (4, 71)}  # of its references in the photos of Kodak


@pytest.mark.development_data
@pytest.mark.parametrize(("name", "column"), [("lpips-alex", 1), ("dists", 2)])
def test_learned_peers_give_published_values_without_a_download(
    name: str, column: int, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_download)
    metric = registry.load(name)
    for row in PUBLISHED:
        top, left = CORNERS[row[0][:3]]
        photo = tensor_of(shared / "data" / "kodak" / f"kodim{row[0][1:3]}.png")
        distorted = tensor_of(shared / "data" / "tid2013_dev" / "originals" / f"{row[0]}.png")
        with torch.no_grad():
            value = metric(photo[..., top : top + 384, left : left + 512], distorted).item()
        assert value == pytest.approx(row[column], abs=6e-5)


def tensor_of(file: Path) -> torch.Tensor:
    return torch.from_numpy(open_image(file).pixels).permute(2, 0, 1)[None]


def no_download(*arguments: object, **settings: object) -> None:
    raise AssertionError("a metric tried to download its weights")


@pytest.mark.parametrize("name", ["lpips-alex", "dists"])
def test_a_package_of_another_shape_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    monkeypatch.setattr(peers.weights, "read", lambda path: (None, {"features.99.weight": torch.zeros(1)}))
    monkeypatch.setattr(peers.weights, "check_digest", lambda *about: None)
    with pytest.raises(MetricUnavailable, match="is here but does not work: it has 0 of the 1 tensors"):
        registry.load(name)


def test_a_package_that_does_not_work_is_unavailable_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "piq.py").write_text("raise ImportError('built for another torch')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "piq", raising=False)
    monkeypatch.setattr(others.importlib.util, "find_spec", lambda module: object())
    with pytest.raises(MetricUnavailable, match="vsi: the package piq is here but does not work: built for another"):
        registry.load("vsi")


def test_looking_for_peers_imports_none_of_them() -> None:
    names = {module for peer in PEERS.values() for module in peer.modules} | {"torch"}
    code = f"import sys, pim; pim.list_metrics(); sys.exit(bool(set(sys.modules) & {names!r}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


@with_piq
@pytest.mark.development_data
@pytest.mark.parametrize("name", PIQ)
def test_peers_reproduce_their_published_values_with_arguments_in_their_order(name: str, shared: Path) -> None:
    folder = shared / "golden" / "baselines"
    measured = json.loads((folder / "baselines.json").read_text())["pairs"]
    metric = registry.load(name)
    key = {"fsimc": "piq_fsim"}.get(name, f"piq_{name}")
    for pair in ("kodim05_jpeg10", "kodim05_contrast60", "kodim15_blur2", "kodim15_noise15"):
        files = (folder / f"{pair.split('_')[0]}_ref.png", folder / f"{pair}.png")
        images = [torch.from_numpy(open_image(file).pixels).permute(2, 0, 1)[None] for file in files]
        assert metric(*images).item() == pytest.approx(measured[pair][key], rel=1e-4)
        if f"{key}_swapped" in measured[pair]:
            assert metric(*reversed(images)).item() == pytest.approx(measured[pair][f"{key}_swapped"], rel=1e-4)


@with_piq
@pytest.mark.parametrize("name", PIQ)
def test_peers_give_one_value_per_pair_in_their_direction(name: str, random_images) -> None:  # type: ignore[no-untyped-def]
    metric = registry.load(name)
    clean = random_images(3, 40, 52, seed=1)
    noise = random_images(3, 40, 52, seed=2) - 0.5
    near, far = (metric(clean, (clean + s * noise).clamp(0, 1)) for s in (0.1, 0.8))
    assert near.shape == (3,)
    assert ((near < far) == metric.lower_is_better).all()
    alone = torch.stack([metric(a, b) for a, b in zip(clean, (clean + 0.1 * noise).clamp(0, 1), strict=True)])
    torch.testing.assert_close(alone, near, rtol=1e-5, atol=1e-6)
    assert metric.settings["package"] == "piq"


@with_piq
def test_peers_stand_behind_the_same_checks(random_images) -> None:  # type: ignore[no-untyped-def]
    metric = registry.load("gmsd")
    with pytest.raises(InputError, match="0..255"):
        metric(random_images(1, 40, 40) * 255, random_images(1, 40, 40) * 255)
    slightly_outside = random_images(1, 40, 40) * 0 + 1.0005
    assert metric(slightly_outside, random_images(1, 40, 40)).shape == (1,)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_peers_work_where_they_are_complete(name: str, random_images) -> None:  # type: ignore[no-untyped-def]
    if (reason := missing(name)) is not None:
        pytest.skip(reason)
    metric = registry.load(name)
    clean = random_images(2, 70, 66, seed=1)
    values = metric(clean, random_images(2, 70, 66, seed=2))
    assert values.shape == (2,)
    assert (values > 0.01).all()
    torch.testing.assert_close(metric(clean, clean), torch.zeros(2), rtol=0, atol=1e-6)
