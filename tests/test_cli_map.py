"""`pim map`: the picture, the bare values, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pim
from pim.images.heatmap import colour

Cli = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ref.png, and spot.png, which differs in one corner."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("ref.png")
    pixels[60:80, 90:110] //= 2
    Image.fromarray(pixels).save("spot.png")
    return tmp_path


def test_the_mean_of_the_values_is_the_score(cli: Cli, here: Path, tiny_pim: Path) -> None:
    assert cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.npy").code == 0
    values = np.load("map.npy", allow_pickle=False)
    assert (values.shape, values.dtype) == ((90, 120), np.float32)
    assert values.mean(dtype=np.float64) == pytest.approx(pim.distance("ref.png", "spot.png", str(tiny_pim)), rel=1e-5)
    assert values[60:80, 90:110].mean() > 8 * values[:40, :70].mean()


def test_the_map_is_that_of_the_default_unless_another_is_named(cli: Cli, here: Path) -> None:
    assert cli("map", "ref.png", "spot.png", "-o", "map.npy").code == 0
    mean = np.load("map.npy", allow_pickle=False).mean(dtype=np.float64)
    assert mean == pytest.approx(pim.distance("ref.png", "spot.png", "pim"), rel=1e-5)
    assert "pim" in cli("map", "--help").out


@pytest.mark.parametrize("name", ["map.png", "map.jpg", "map.webp", "map.tif", "map.bmp"])
def test_the_picture_is_bright_where_the_images_differ(cli: Cli, here: Path, tiny_pim: Path, name: str) -> None:
    ran = cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", name)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    with Image.open(name) as picture:
        found = np.asarray(picture.convert("L"), float)
    shown = found[42 : 42 + 270, 14 : 14 + 360]  # three times as large
    assert shown[180:240, 270:330].mean() > 10 + shown[:150, :240].mean()


def test_max_fixes_the_scale(cli: Cli, here: Path, tiny_pim: Path) -> None:
    cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.npy")
    peak = float(np.load("map.npy").max())
    for factor in (1, 10):
        cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.png", "--max", factor * peak)
        with Image.open("map.png") as picture:
            brightest = np.asarray(picture.convert("L"))[42 : 42 + 270, 14 : 14 + 360].max()
        expected = 255 * colour(np.array(1 / factor)) @ [0.299, 0.587, 0.114]
        assert brightest == pytest.approx(expected, abs=2)


def test_identical_images_give_a_dark_map(cli: Cli, here: Path, tiny_pim: Path) -> None:
    ran = cli("map", "ref.png", "ref.png", "-m", tiny_pim, "-o", "map.png")
    assert (ran.code, ran.err) == (0, "")
    with Image.open("map.png") as picture:
        assert np.asarray(picture)[42 : 42 + 270, 14 : 14 + 360].max() <= 4


def test_an_overlay_shows_the_distorted_image(cli: Cli, here: Path, tiny_pim: Path) -> None:
    cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.png", "--overlay")
    with Image.open("map.png") as picture:
        shown = np.asarray(picture.convert("L"), float)[43 : 42 + 270 : 3, 15 : 14 + 360 : 3]
    with Image.open("spot.png") as distorted:
        gray = np.asarray(distorted.convert("L"), float)
    assert np.corrcoef(shown[:50].ravel(), gray[:50].ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ref.png", "missing.png", "-o", "map.png"), 1, "missing.png"),
        (("ref.png", "small.png", "-o", "map.png"), 1, "small.png is 20 x 20"),
        (("small.png", "small.png", "-o", "map.png"), 1, "at least 32"),
        (("ref.png", "spot.png", "-o", "spot.png"), 2, "overwrite"),
        (("ref.png", "spot.png", "-o", "nowhere/map.png"), 1, "nowhere/map.png"),
        (("ref.png", "spot.png"), 2, "--output"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_written(
    cli: Cli, here: Path, tiny_pim: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    Image.new("RGB", (20, 20)).save("small.png")
    before = sorted(here.iterdir())
    ran = cli("map", *arguments, "-m", tiny_pim)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(here.iterdir()) == before


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A head on random layers, the pixels among them."""
    import torch

    from vggmetric import Head

    path = tmp_path / "head.safetensors"
    Head("rand447", {"pixels": torch.ones(1), "relu1_2": torch.ones(1), "relu2_2": torch.ones(128)}).write(path)
    return path


def test_maps_of_layers_add_up_to_the_map(cli: Cli, here: Path, head: Path) -> None:
    assert cli("map", "ref.png", "spot.png", "-m", head, "-o", "map.npy", "--layers").code == 0
    whole, *layers = np.load("map.npy", allow_pickle=False)
    assert len(layers) == 3
    assert layers[0].shape == (90, 120)
    np.testing.assert_allclose(np.sum(layers, 0), whole, rtol=1e-4, atol=1e-6)
    assert whole.mean(dtype=np.float64) == pytest.approx(pim.distance("ref.png", "spot.png", str(head)), rel=1e-5)


def test_maps_of_layers_are_drawn_side_by_side(cli: Cli, here: Path, head: Path) -> None:
    sizes = {}
    for name, more in (("one.png", ()), ("all.png", ("--layers",)), ("over.png", ("--layers", "--overlay"))):
        ran = cli("map", "ref.png", "spot.png", "-m", head, "-o", name, *more)
        assert (ran.code, ran.err) == (0, "")
        with Image.open(name) as picture:
            sizes[name] = picture.size
    assert sizes["all.png"] == sizes["over.png"]
    assert sizes["all.png"][1] == 2 * sizes["one.png"][1]  # four maps in two rows
    assert sizes["all.png"][0] > 1.5 * sizes["one.png"][0]


def test_layers_are_refused_where_there_are_none(cli: Cli, here: Path, tiny_pim: Path) -> None:
    ran = cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.png", "--layers")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "tiny has no maps by layer" in ran.err


def test_a_triptych_shows_reference_distorted_and_map(cli: Cli, here: Path, tiny_pim: Path) -> None:
    cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.png")
    assert cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "three.png", "--triptych").code == 0
    drawn, three = (np.asarray(Image.open(name)) for name in ("map.png", "three.png"))
    assert np.array_equal(three[:, -drawn.shape[1] :], drawn)
    width = (three.shape[1] - drawn.shape[1]) // 2
    for left, name in ((0, "ref.png"), (width, "spot.png")):
        shown = three[42 : 42 + 270, left + 14 : left + 14 + 360]
        assert np.array_equal(shown, np.asarray(Image.open(name)).repeat(3, 0).repeat(3, 1))


def test_folders_give_a_folder_of_maps(cli: Cli, here: Path, tiny_pim: Path) -> None:
    for folder, source in (("ref", "ref.png"), ("dist", "spot.png")):
        for name in ("one", "sub/two", "torn"):
            (here / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (here / folder / f"{name}.png").write_bytes((here / source).read_bytes())
    (here / "dist" / "torn.png").write_bytes(b"torn")
    cli("map", "ref.png", "spot.png", "-m", tiny_pim, "-o", "map.png")
    ran = cli("map", "ref", "dist", "-m", tiny_pim, "-o", "maps")
    assert ran.code == 1
    assert "dist/torn.png" in ran.err
    assert "1 of 3 maps failed" in ran.err
    made = sorted(path for path in (here / "maps").rglob("*") if path.is_file())
    assert [path.relative_to(here).as_posix() for path in made] == ["maps/one.png", "maps/sub/two.png"]
    assert all(path.read_bytes() == (here / "map.png").read_bytes() for path in made)


@pytest.mark.parametrize(("target", "said"), [("map.png", "must be a folder"), ("ref", "would overwrite an input")])
def test_maps_of_folders_go_to_a_folder_of_their_own(cli: Cli, here: Path, target: str, said: str) -> None:
    for folder in ("ref", "dist"):
        (here / folder).mkdir()
        (here / folder / "one.png").write_bytes((here / "ref.png").read_bytes())
    ran = cli("map", "ref", "dist", "-o", target)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("folder", "gone", "-o", "maps"), 2, "gone is not there; folder is a folder, so it should be one too"),
        (("ref.png", "folder", "-o", "map.png"), 2, "ref.png is a file; folder is a folder"),
        (("ref.png", "ref.png", "-o", "map.npy", "--triptych"), 2, "map.npy holds bare values, without"),
        (("long.png", "long.png", "-o", "map.webp", "--triptych"), 1, "more than a .webp holds; write a .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    cli: Cli, here: Path, tiny_pim: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (here / "folder").mkdir()
    Image.open("ref.png").resize((2000, 40)).save("long.png")
    ran = cli("map", *arguments, "-m", tiny_pim)
    assert (ran.code, ran.err.count("\n")) == (code, 1)
    assert said in ran.err
