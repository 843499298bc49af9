"""Metrics of other packages: order of arguments, what is missing, and that nothing is ever downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pim.errors import InputError, MetricUnavailable
from pim.images.opener import open_image
from pim.metrics import peer_catalogue, registry
from pim.metrics.catalogue import BUILT_IN, SHIPPED
from pim.metrics.peer_catalogue import PEERS, missing
from pim.metrics.vgg_catalogue import VGGS

PIQ = [name for name, peer in PEERS.items() if peer.distribution == "piq"]
LEARNED = [name for name in PEERS if name not in PIQ]
with_piq = pytest.mark.skipif(missing("vsi") is not None, reason="piq is not installed")


def test_names_of_peers_are_no_names_of_ours() -> None:
    assert not PEERS.keys() & (SHIPPED.keys() | VGGS.keys())
    assert list(BUILT_IN) == [*SHIPPED, *VGGS, *PEERS]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_without_its_package_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_catalogue.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(MetricUnavailable, match=rf"{name} needs the package \w+: pip install 'pim-metric\[peers\]'"):
        registry.load(name)


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "dists"])
def test_a_peer_without_its_backbone_names_the_file_and_downloads_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peer_catalogue.importlib.util, "find_spec", lambda module: object())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricUnavailable, match=f"{PEERS[name].backbone} in {tmp_path}/hub/checkpoints"):
        registry.load(name)
    assert not list(tmp_path.iterdir())


def test_backbones_are_looked_for_where_torch_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variables in ({"TORCH_HOME": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}, {}):
        for variable in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        assert str(peer_catalogue.checkpoints()) == str(Path(torch.hub.get_dir()) / "checkpoints")


def test_a_package_that_does_not_work_is_unavailable_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "piq.py").write_text("raise ImportError('built for another torch')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "piq", raising=False)
    monkeypatch.setattr(peer_catalogue.importlib.util, "find_spec", lambda module: object())
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
