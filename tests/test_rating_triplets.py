"""What is asked: triplets from tables and folders, everything that keeps them from being asked, and how they look."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import miniatures
import numpy as np
import pytest
from PIL import Image

from pim.datasets import table
from pim.datasets.dataset import ManifestError
from pim.errors import DataError, PimError, UsageError
from pim.images.opener import OpenOptions, open_image
from pim.rating.export import names_from
from pim.rating.gallery import Gallery, Shown, as_png, coarse, sizes_differ, stamp_of, survey
from pim.rating.triplets import Triplet, read

HOSTILE = (
    "=1+1.png",
    'a,b;c".png',
    "<b>&amp;.png",
    "x..%2f.png",
    "\u202egnp.png",
    "@x 'y'.png",
    "-r.png",
    "日本 ü.png",
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    for seed, name in enumerate("rabc"):
        miniatures.textured(tmp_path / f"{name}.png", seed=seed)

    def writer(*lines: str) -> Path:
        path = tmp_path / "t.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return writer


def test_a_table_is_read_with_its_groups(write: Callable[..., Path], tmp_path: Path) -> None:
    given = read([write("reference,a,b,group,note", "r.png,a.png,b.png,scene,x", "r.png,a.png,c.png,,")])
    assert given.triplets == (Triplet("r.png", "a.png", "b.png", "scene"), Triplet("r.png", "a.png", "c.png", "r.png"))
    assert given.paths["c.png"] == tmp_path / "c.png"
    assert given.notes == ("columns that are not used: note",)
    assert given.references == ("r.png",)


def test_a_rated_table_is_rated_again(write: Callable[..., Path]) -> None:
    assert read([write("reference,a,b,prefer_b,n", "r.png,a.png,b.png,0.5,4")]).notes == ()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["reference,a", "r.png,a.png"], "no column 'b'"),
        (["reference,a,b"], "has no triplets"),
        (["reference,a,b", "r.png,a.png,a.png"], r"compared with itself \(1\): r.png: a.png or a.png"),
        (["reference,a,b", "r.png,a.png,b.png", "r.png,b.png,a.png"], r"more than once \(1\): r.png: b.png or a.png"),
        (["reference,a,b", "r.png,a.png,x.png", "r.png,,b.png"], r"missing in .* \(2\): \(no name\), x.png"),
    ],
)
def test_what_cannot_be_asked_is_named(write: Callable[..., Path], lines: list[str], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read([write(*lines)])


def test_folders_give_all_pairs_of_candidates(tmp_path: Path) -> None:
    for name, ending in (("refs", "png"), ("x", "PNG"), ("y", "bmp"), ("z", "jpg")):
        for stem in ("one", "two"):
            miniatures.textured(tmp_path / name / f"{stem}.{ending}")
    given = read([tmp_path / name for name in ("refs", "x", "y", "z")])
    assert [(t.reference, t.a, t.b) for t in given.triplets[:3]] == [
        ("refs/one.png", "x/one.PNG", "y/one.bmp"),
        ("refs/one.png", "x/one.PNG", "z/one.jpg"),
        ("refs/one.png", "y/one.bmp", "z/one.jpg"),
    ]
    assert len(given.triplets) == 6
    assert {t.group for t in given.triplets} == {"refs/one.png", "refs/two.png"}
    (tmp_path / "y" / "two.bmp").unlink()
    miniatures.textured(tmp_path / "z" / "three.jpg")
    with pytest.raises(
        ManifestError, match=r"do not match \(4\): .*refs lacks three, .*x lacks three, .*y lacks three, .*y lacks two"
    ):
        read([tmp_path / name for name in ("refs", "x", "y", "z")])


def test_sources_that_are_neither_say_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(ManifestError, match="is a folder; name a table, or folders"):
        read([tmp_path])
    with pytest.raises(UsageError, match="at least two folders of candidates"):
        read([tmp_path, tmp_path])
    with pytest.raises(UsageError, match="differ in the last part"):
        read([tmp_path / "a", tmp_path / "b" / "a", tmp_path / "c"])
    with pytest.raises(ManifestError, match="holds no files"):
        read([tmp_path / "a", tmp_path, tmp_path.parent])
    with pytest.raises(ManifestError, match="is not a folder"):
        read([tmp_path / "no", tmp_path, tmp_path.parent])
    with pytest.raises(UsageError, match="--images is for a table"):
        read([tmp_path / "a", tmp_path, tmp_path.parent], images=tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not allow")
def test_hostile_names_come_back_from_the_exported_table(tmp_path: Path) -> None:
    for folder in ("=refs", "a", "b"):
        for seed, name in enumerate(HOSTILE):
            miniatures.textured(tmp_path / folder / name, seed=seed)
    given = read([tmp_path / name for name in ("=refs", "a", "b")])
    names = names_from(given.paths, tmp_path)
    assert not [name for name in names.values() if name.startswith(("=", "+", "-", "@"))]
    lines = ["reference,a,b,prefer_b"]
    for triplet in given.triplets:
        cells = ('"' + names[n].replace('"', '""') + '"' for n in (triplet.reference, triplet.a, triplet.b))
        lines.append(",".join((*cells, "0.5")))
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    rated = table.read(tmp_path / "t.csv")
    rated.require_whole()
    found = {str(record.pairs[0][0]) for record in rated.records()}
    assert found == {str(tmp_path / "=refs" / name) for name in HOSTILE}


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not allow")
@pytest.mark.parametrize("name", [b"a\nb.png", b"a.png ", b"\xff.png", b"a\xc2\x85b.png"])
def test_names_that_no_table_can_hold_are_refused_at_once(tmp_path: Path, name: bytes) -> None:
    for folder in ("refs", "a", "b"):
        made = miniatures.textured(tmp_path / folder / "x.png")
        os.rename(made, os.path.join(os.fsencode(made.parent), name))
    with pytest.raises(ManifestError, match=r"names cannot stand in a table: .* \(3\)") as caught:
        read([tmp_path / folder for folder in ("refs", "a", "b")])
    assert str(caught.value).isprintable()


def test_a_survey_names_what_cannot_be_shown_and_opens_what_changed(tmp_path: Path) -> None:
    good = miniatures.textured(tmp_path / "good.png")
    paths = {"good": good}
    found = survey(paths, ["good"], OpenOptions(), {})
    assert (found["good"].width, found["good"].height, found["good"].clear) == (64, 48, True)
    kept = survey(paths, ["good"], OpenOptions(max_pixels=1), found)
    assert kept == found, "what is known is not opened again"
    miniatures.textured(good, (40, 30))
    assert survey(paths, [], OpenOptions(), found)["good"].clear is None
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    Image.new("RGBA", (8, 8)).save(tmp_path / "clear.png")
    bad = {name: tmp_path / name for name in ("text.png", "cut.png", "clear.png", "none.png", ".")}
    with pytest.raises(DataError, match=r"pictures cannot be shown \(5\)") as caught:
        survey({**paths, **bad}, [], OpenOptions(), {})
    for name in ("text.png", "cut.png", "clear.png", "none.png"):
        assert name in str(caught.value)


def test_pictures_of_unequal_size_are_named(tmp_path: Path) -> None:
    paths = {"r": miniatures.textured(tmp_path / "r.png"), "a": miniatures.textured(tmp_path / "a.png", (64, 47))}
    facts = survey(paths, [], OpenOptions(), {})
    assert sizes_differ([("r", "r", "r")], facts) == []
    assert sizes_differ([("r", "a", "r")], facts) == ["r (64 x 48), a (64 x 47), r (64 x 48)"]


def test_a_coarse_picture_is_means_of_blocks_at_half_the_contrast() -> None:
    pixels = np.random.default_rng(0).random((37, 53, 3)).astype(np.float32)
    found, overall = coarse(pixels), pixels.mean(axis=(0, 1), dtype=np.float64)
    for top in range(0, 37, 8):
        for left in range(0, 53, 8):
            block = pixels[top : top + 8, left : left + 8].mean(axis=(0, 1), dtype=np.float64)
            expected = np.broadcast_to((block + overall) / 2, found[top : top + 8, left : left + 8].shape)
            assert found[top : top + 8, left : left + 8] == pytest.approx(expected, abs=1e-6)
    assert np.abs(coarse(np.full((20, 20, 3), 0.5, np.float32)) - 0.5).max() < 1e-6


def test_a_png_holds_the_nearest_levels_and_nothing_else() -> None:
    pixels = np.random.default_rng(1).random((9, 7, 3)).astype(np.float32)
    encoded = as_png(pixels)
    with Image.open(io.BytesIO(encoded)) as picture:
        assert np.array_equal(np.asarray(picture), np.round(pixels.astype(np.float64) * 255))
        assert picture.info == {"srgb": 0}


def test_raters_see_what_metrics_see(tmp_path: Path) -> None:
    turned = Image.fromarray(np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    shown = _shown(tmp_path / "turned.png")
    with Image.open(io.BytesIO(_png(shown))) as picture:
        assert picture.size == (20, 30)
        assert np.array_equal(np.asarray(picture), (open_image(shown.path).pixels * 255).round())


def test_a_gallery_keeps_what_fits_and_gives_nothing_that_it_was_not_given(tmp_path: Path) -> None:
    paths = [miniatures.textured(tmp_path / f"{i}.png", seed=i) for i in range(3)]
    gallery = Gallery({str(i): _shown(path) for i, path in enumerate(paths)}, OpenOptions(), kept=25_000)
    first = gallery.png("0")
    assert gallery.png("0") is first
    assert gallery.png("1") != first
    assert gallery.png("2") is not None
    assert gallery.png("0") == first
    assert gallery.png("0") is not first, "it did not fit any more"
    for token in ("", "../0", str(paths[0]), "3"):
        assert gallery.png(token) is None
    miniatures.textured(paths[1], seed=9)
    with pytest.raises(PimError, match="has changed since the ratings began"):
        gallery.png("1")
    paths[1].unlink()
    with pytest.raises(PimError, match="can no longer be read"):
        gallery.png("1")


def _shown(path: Path) -> Shown:
    facts = survey({"x": path}, [], OpenOptions(), {})["x"]
    assert facts.stamp == stamp_of(path)
    return Shown(path, facts.sha256, coarse=False)


def _png(shown: Shown) -> bytes:
    found = Gallery({"x": shown}, OpenOptions()).png("x")
    assert found is not None
    return found
