"""Rate and quality of codecs from real files, and their tables, averages and curves."""

from __future__ import annotations

import io
import math
import sqlite3
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from ntc.rd import ANCHORS, PillowCoder, as_picture, luma_psnr, measure
from ntc.rd_cache import FILE, rate_cache
from pim.errors import InputError, PimError
from pim.eval.rate_curves import RatePoint, average, curves, decibels, read
from pim.metrics.registry import built_in, load


@pytest.fixture
def picture() -> np.ndarray:
    """37 x 61 pixels with waves and noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:37, 0:61]
    waves = 128 + 80 * np.sin(columns / 5)[..., None] * np.cos(rows[..., None] / np.array([3.0, 4.0, 7.0]))
    return (waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)


def psnr_of(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean())


@pytest.mark.parametrize("name", sorted(ANCHORS))
def test_rate_and_quality_are_those_of_a_real_file(name, picture) -> None:
    stream = io.BytesIO()
    options = {
        "jpeg": {"subsampling": 2, "optimize": True, "quality": 40},
        "webp": {"method": 4, "quality": 40},
        "avif": {"subsampling": "4:2:0", "quality": 40},
        "jpeg2000": {"irreversible": True, "mct": 1, "quality_mode": "dB", "quality_layers": [40]},
    }[name]
    Image.fromarray(picture).save(stream, name, **options)
    decoded = np.asarray(Image.open(stream).convert("RGB"))
    (point,) = measure(picture, ANCHORS[name], ["40"], [load("psnr")])
    assert (point.codec, point.setting, point.images) == (name, "40", 1)
    assert point.bpp == 8 * len(stream.getvalue()) / (37 * 61)
    assert point.values["psnr"] == pytest.approx(psnr_of(picture, decoded), rel=1e-5)
    weights = np.array([0.299, 0.587, 0.114])
    assert point.values["psnr-y"] == pytest.approx(psnr_of(picture @ weights, decoded @ weights), rel=1e-5)


@pytest.mark.parametrize("name", sorted(ANCHORS))
def test_colours_that_are_alike_cost_an_anchor_little(name, picture) -> None:
    gray, setting = picture.mean(2).astype(np.uint8), ANCHORS[name].settings[-1]
    data, decoded = ANCHORS[name].code(np.stack([gray] * 3, 2), setting)
    stream = io.BytesIO()
    Image.fromarray(gray).save(stream, "PNG")
    assert len(data) < 1.3 * len(stream.getvalue())  # three planes by themselves cost three times as much
    assert psnr_of(decoded[..., 0], gray) > 35


def test_luma_differs_from_rgb_where_only_colour_does() -> None:
    gray = torch.full((1, 3, 4, 4), 0.5)
    colour = torch.tensor([0.587, -0.299, 0.0])[:, None, None] * 0.1 + gray
    assert luma_psnr(gray, colour).item() > 120
    assert luma_psnr(gray, gray + 0.1).item() == pytest.approx(20.0, abs=1e-4)


def test_settings_go_from_few_bits_to_many(picture) -> None:
    for coder in ANCHORS.values():
        points = list(measure(picture, coder, coder.settings, [load("psnr")]))
        assert [p.bpp for p in points] == sorted(p.bpp for p in points)
        assert points[-1].values["psnr"] > points[0].values["psnr"]


def test_pictures_are_rounded_to_eight_bits() -> None:
    assert as_picture(np.array([[[0.0, 0.5, 1.0]]], np.float32)).tolist() == [[[0, 128, 255]]]
    assert as_picture(np.array([[[-0.001, 1.001, 1.4 / 255]]], np.float32)).tolist() == [[[0, 255, 1]]]


def test_a_picture_that_a_format_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="webp cannot hold a picture of 20000 x 1"):
        ANCHORS["webp"].code(np.zeros((1, 20000, 3), np.uint8), "50")


@dataclass
class Counting:
    """A coder that counts, and crops if it is told to."""

    name: str = "counting"
    settings: tuple[str, ...] = ("1", "2")
    identity: dict = field(default_factory=lambda: {"version": 1})
    crop: int = 0
    calls: int = 0

    def code(self, picture: np.ndarray, setting: str) -> tuple[bytes, np.ndarray]:
        self.calls += 1
        return b"x" * int(setting), (picture // 16 * 16)[self.crop :]


def test_a_codec_that_changes_the_size_is_refused(picture) -> None:
    with pytest.raises(InputError, match="counting decodes a picture of shape"):
        list(measure(picture, Counting(crop=1), ["1"], []))


def test_kept_points_are_found_again_only_under_what_they_depend_on(tmp_path, picture) -> None:
    coder, point = Counting(), RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0})
    names = ["psnr"]
    with rate_cache(tmp_path / "new", {"psnr": {"v": 1}}) as cache:
        assert cache.get(picture, coder, "1", names) is None
        cache.put(picture, coder, point)
    with rate_cache(tmp_path / "new", {"psnr": {"v": 1}}) as cache:
        assert cache.get(picture, coder, "1", names) == point
        assert cache.get(picture, coder, "2", names) is None
        assert cache.get(picture[:-1], coder, "1", names) is None
        assert cache.get(picture.reshape(61, 37, 3), coder, "1", names) is None
        assert cache.get(picture, Counting(identity={"version": 2}), "1", names) is None
    with rate_cache(tmp_path / "new", {"psnr": {"v": 2}}) as cache:
        assert cache.get(picture, coder, "1", names) is None


def test_a_value_is_kept_whatever_other_metrics_stand_beside_it(tmp_path, picture) -> None:
    coder = Counting()
    with rate_cache(tmp_path, {"psnr": {"v": 1}, "ssim": {"v": 1}}) as cache:
        cache.put(picture, coder, RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0, "ssim": 0.9}))
    with rate_cache(tmp_path, {"psnr": {"v": 1}, "ssim": {"v": 2}, "nlpd": {"v": 1}}) as cache:
        found = cache.get(picture, coder, "1", ["psnr", "ssim", "nlpd"])
        assert found == RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0})
        cache.put(picture, coder, RatePoint("counting", "1", 1, 0.5, {"nlpd": 0.2}))
        found = cache.get(picture, coder, "1", ["psnr", "ssim", "nlpd"])
        assert found == RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0, "nlpd": 0.2})


def test_a_damaged_table_of_kept_points_is_named(tmp_path, picture) -> None:
    (tmp_path / FILE).write_bytes(b"no table" * 100)
    with pytest.raises(PimError, match=f"{FILE} is damaged"), rate_cache(tmp_path, {}):
        pass
    (tmp_path / FILE).unlink()
    with rate_cache(tmp_path, {}) as cache:
        cache.put(picture, Counting(), RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0}))
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE points SET body = 'cut'")
    connection.close()
    with rate_cache(tmp_path, {}) as cache, pytest.raises(PimError, match="remove it"):
        cache.get(picture, Counting(), "1", ["psnr"])


def test_errors_of_the_user_pass_through_the_table_of_kept_points(tmp_path) -> None:
    with pytest.raises(TypeError, match="mine"), rate_cache(tmp_path, {}):
        raise TypeError("mine")


def test_averages_are_over_pictures_by_codec_and_setting() -> None:
    points = [
        RatePoint("a", "1", 1, 0.2, {"psnr": 30.0, "ms-ssim": 0.9}),
        RatePoint("a", "2", 1, 0.6, {"psnr": 35.0}),
        RatePoint("a", "1", 1, 0.4, {"psnr": 32.0}),
        RatePoint("b", "1", 1, 0.1, {"psnr": 20.0}),
    ]
    assert [(p.codec, p.setting, p.images, p.bpp, p.values) for p in average(points)] == [
        ("a", "1", 2, pytest.approx(0.3), {"psnr": 31.0}),
        ("a", "2", 1, 0.6, {"psnr": 35.0}),
        ("b", "1", 1, 0.1, {"psnr": 20.0}),
    ]


def test_tables_are_read_with_the_names_that_others_use(tmp_path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(
        "codec,bpp,psnr_rgb,psnr_y,msssim_rgb,enc_time_s,source\nbpg,0.5,30.5,31,,7,them\nbpg,1,33,,0.98,7,us\n"
    )
    assert read(path) == [
        RatePoint("bpg", "", 0, 0.5, {"psnr": 30.5, "psnr-y": 31.0}),
        RatePoint("bpg", "", 0, 1.0, {"psnr": 33.0, "ms-ssim": 0.98}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,bpp\na,1\n", "has no column 'codec'"),
        ("codec,bpp,psnr\na,1,30\na,x,31\n", "line 3, bpp: 'x' is not a number"),
        ("codec,bpp,psnr\na,1,inf\n", "line 2, psnr: inf is not finite"),
        ("codec,bpp\n", "has no rows"),
        ("codec,bpp,psnr\na,1,30\n,2,31\n", "line 3: the column codec is empty"),
        ("codec,bpp,psnr,psnr_rgb\na,1,30,31\n", "two columns of psnr"),
        ("", "is empty"),
        ("codec,bpp\n\0,1\n", "is not a text"),
    ],
)
def test_what_is_no_table_of_points_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read(path)
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "missing.csv")


def test_decibels_rise_with_quality_for_distances_and_similarities() -> None:
    assert decibels(built_in()["psnr"], 31.0) == 31.0
    assert decibels(built_in()["ms-ssim"], 0.9) == pytest.approx(10.0)
    assert decibels(built_in()["pim"], 0.01) == pytest.approx(20.0)
    assert decibels(built_in()["nlpd"], 0.0) == math.inf


def test_curves_are_made_of_codecs_with_two_points() -> None:
    points = [RatePoint("a", "", 0, r, {"ms-ssim": 1 - 0.1**r}) for r in (1.0, 2.0)]
    found = curves([*points, RatePoint("b", "", 0, 1.0, {"ms-ssim": 0.9})], "ms-ssim", built_in()["ms-ssim"])
    assert list(found) == ["a"]
    assert found["a"].quality.tolist() == pytest.approx([10.0, 20.0])


def test_options_of_a_format_are_part_of_its_identity() -> None:
    one, other = (PillowCoder("jpeg", "JPEG", {"subsampling": s}) for s in ("4:2:0", "4:4:4"))
    assert one.identity != other.identity


def test_a_picture_without_loss_counts_for_no_mean_and_is_told() -> None:
    points = [
        RatePoint("a", "1", 1, 0.2, {"psnr": 30.0}),
        RatePoint("a", "2", 1, 0.6, {"psnr": 35.0}),
        RatePoint("a", "1", 1, 0.01, {"psnr": 50.0}),
        RatePoint("a", "2", 1, 0.01, {"psnr": math.inf}),
    ]
    told: list[str] = []
    assert [(p.images, p.bpp, p.values) for p in average(points, told.append)] == [
        (1, 0.2, {"psnr": 30.0}),
        (1, 0.6, {"psnr": 35.0}),
    ]
    assert "1 of 2 pictures" in told[0]
    assert [p.values for p in average(points[2:])] == [{"psnr": 50.0}, {}]


def test_values_that_are_no_such_metric_are_told_and_the_others_compared(tmp_path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("Codec;BPP;PSNR;MS-SSIM\na;0,5;30,5;96,5\na;1000;33;97\n")
    told: list[str] = []
    found = read(path, told.append)
    assert found[0] == RatePoint("a", "", 0, 0.5, {"psnr": 30.5})
    assert "line 2, ms-ssim: 96.5 is outside the range [0, 1]; values in dB or percent" in told[0]
    assert "other units" in told[1]
    path.write_text("codec,bpp,ssim\na,1,-1.5\n")
    with pytest.raises(InputError, match="outside the range"):
        read(path, told.append)


def test_what_is_not_read_and_what_looks_like_single_pictures_is_told(tmp_path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("codec,setting,bpp,psnr,MSSSIM\na,q1,1,30,.9\na,q1,2,31,.9\na,q2,3,32,.9\n")
    told: list[str] = []
    read(path, told.append)
    assert [line.partition(" has ")[2] for line in told] == [
        "columns of no known metric, which are not read: msssim",
        "a at setting q1 2 times; a curve goes through means over pictures",
    ]


def test_a_codec_without_a_curve_is_named() -> None:
    points = [RatePoint("a", "", 0, r, {"psnr": 30 + r}) for r in (1.0, 2.0)]
    points += [RatePoint("b", "", 0, 1.0, {"psnr": 30.0}), RatePoint("c", "", 0, 1.0, {})]
    points += [RatePoint("d", "", 0, r, {"psnr": 40 - r}) for r in (1.0, 2.0)]
    told: list[str] = []
    assert list(curves(points, "psnr", built_in()["psnr"], told.append)) == ["a"]
    assert [name in line for name, line in zip(("b is", "c is", "d: a curve"), told, strict=True)] == [True] * 3


def test_a_place_where_points_cannot_be_kept_is_done_without(tmp_path, picture) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    with rate_cache(tmp_path / "file" / "cache", {}, told.append) as cache:
        assert cache.get(picture, Counting(), "1", ("psnr",)) is None
        cache.put(picture, Counting(), RatePoint("counting", "1", 1, 0.5, {"psnr": 30.0}))
    assert "points cannot be kept" in told[0]
