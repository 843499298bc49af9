"""`pim ntc rd`: curves of real files and of tables, their BD-rate, their picture."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from ntc import store
from ntc.coding import compress, decompress
from ntc.models import build
from ntc.models.config import CodecConfig
from ntc.rd import QUALITIES
from ntc.rd_cache import FILE
from ntc.rd_files import find
from pim.eval.bd_rate import Curve, bd_rate


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures; what is measured is kept beside them."""
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((72, 65), Image.Resampling.BICUBIC), np.float64)
        pixels = (pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_points_of_two_anchors_and_their_bd_rate(cli, photos, tmp_path) -> None:
    made = tmp_path / "rd.csv"
    ran = cli("ntc", "rd", photos, "-m", "psnr", "-m", "nlpd", "-o", made, "--plot", tmp_path / "rd.svg")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    points = rows(made.read_text())
    assert [(p["codec"], p["setting"]) for p in points] == [(c, q) for c in ("jpeg", "webp") for q in QUALITIES]
    assert {p["images"] for p in points} == {"2"}

    sizes, errors = [], []
    for number in range(2):
        original, stream = Image.open(photos / f"{number}.png"), io.BytesIO()
        original.save(stream, "JPEG", quality=30, subsampling="4:2:0", optimize=True)
        sizes.append(8 * len(stream.getvalue()) / (72 * 65))
        difference = np.asarray(original, np.float64) - np.asarray(Image.open(stream), np.float64)
        errors.append(10 * np.log10(255**2 / (difference**2).mean()))
    at_30 = points[QUALITIES.index("30")]
    assert float(at_30["bpp"]) == pytest.approx(np.mean(sizes))
    assert float(at_30["psnr"]) == pytest.approx(np.mean(errors), rel=1e-5)

    drawn = ElementTree.parse(tmp_path / "rd.svg")  # is well-formed
    titles = [t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "title middle"]
    assert titles == ["psnr", "nlpd", "psnr-y"]

    said = json.loads(cli("ntc", "rd", "--curve", made, "--against", "webp", "--format", "json").out)
    (found,) = (row for row in said["bd_rate"] if row["metric"] == "psnr")
    curves = {
        name: Curve.through(name, *([float(p[k]) for p in points if p["codec"] == name] for k in ("bpp", "psnr")))
        for name in ("webp", "jpeg")
    }
    assert (found["codec"], found["against"]) == ("jpeg", "webp")
    assert found["pchip"] == pytest.approx(bd_rate(curves["webp"], curves["jpeg"]).pchip)
    assert len(said["points"]) == len(points)
    best, percent = ("jpeg", -found["pchip"]) if found["pchip"] < 0 else ("webp", 0)
    sentence = f"At equal psnr jpeg needs the fewest bits, {percent:.1f} % fewer than webp, in the mean of 2 pictures."
    other = "At equal psnr no codec needs fewer bits than webp, in the mean of 2 pictures."
    assert said["conclusions"][0] == (sentence if best == "jpeg" else other)


def test_as_text_both_tables_are_printed(cli, photos) -> None:
    ran = cli("ntc", "rd", photos / "0.png", "-m", "psnr", "--anchor", "webp", "--anchor", "jpeg")
    assert ran.code == 0
    assert "percent of bits against webp at equal quality; negative is fewer" in ran.out
    assert ran.out.splitlines()[0].split() == ["codec", "setting", "images", "bpp", "psnr", "psnr-y"]
    assert cli("ntc", "rd", photos / "0.png", "-m", "psnr", "--anchor", "webp").out.count("BD-rate") == 0


def test_a_picture_that_fails_is_named_and_counts_for_no_codec(cli, photos) -> None:
    (photos / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    ran = cli("ntc", "rd", photos, "-m", "psnr", "--anchor", "jpeg", "--format", "csv")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "2.png" in ran.err
    assert {row["images"] for row in rows(ran.out)} == {"2"}
    ran = cli("ntc", "rd", photos / "2.png")
    assert (ran.code, ran.out) == (1, "")


def test_metrics_that_need_larger_pictures_are_left_out(cli, photos) -> None:
    ran = cli("ntc", "rd", photos, "-m", "psnr", "-m", "ms-ssim", "--anchor", "jpeg", "--format", "csv")
    assert ran.code == 0
    assert {row["ms-ssim"] for row in rows(ran.out)} == {""}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "give pictures to code"),
        ("PHOTOS --anchor jpg", "did you mean 'jpeg'"),
        ("PHOTOS --plot x.jpg", "must end in .svg, .png or .pdf"),
        ("PHOTOS --only webp", "--only chooses"),
        ("PHOTOS -m pnsr", "did you mean 'psnr'"),
        ("PHOTOS --anchor jpeg -m psnr --against wepb", "there is no such codec"),
        ("--curve CURVE --only wepb", "did you mean 'webp'"),
    ],
)
def test_wrong_usage_is_one_line_that_helps(cli, photos, tmp_path, line, said) -> None:
    table = tmp_path / "curve.csv"
    table.write_text("codec,bpp,psnr\nwebp,1,30\nwebp,2,33\n")
    words = {"PHOTOS": photos, "CURVE": table}
    ran = cli("ntc", "rd", *[words.get(word, word) for word in line.split()])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert said in ran.err


def test_curves_that_share_no_quality_get_a_row_that_says_so(cli, tmp_path) -> None:
    table = tmp_path / "curve.csv"
    table.write_text("codec,bpp,psnr\na,1,30\na,2,33\nb,1,40\nb,2,43\n")
    said = json.loads(cli("ntc", "rd", "--curve", table, "--format", "json").out)
    (row,) = said["bd_rate"]
    assert row["pchip"] is None
    assert "no quality in common" in row["notes"][0]


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of small codecs with random weights: one for two lambdas, two for one each."""
    folder, made = tmp_path_factory.mktemp("codecs"), {}
    for name, lambdas in {"both": (0.01, 0.02), "low": (0.01,), "high": (0.02,), "again": (0.01,)}.items():
        torch.manual_seed(0)
        codec = build(CodecConfig.uniform(4, "factorised", latents=6, lambdas=lambdas)).eval()
        codec.export()
        made[name] = folder / f"{name}.safetensors"
        store.save(made[name], codec, {})
    return made


def test_learned_codecs_are_measured_at_their_lambdas(cli, photos, codecs, tmp_path) -> None:
    arguments = ("--codec", codecs["both"], "--codec", f"pair={codecs['low']}", "--codec", f"pair={codecs['high']}")
    ran = cli("ntc", "rd", photos / "0.png", "-m", "psnr", "--anchor", "none", *arguments, "--format", "csv")
    assert ran.code == 0, ran.err
    points = rows(ran.out)
    assert [p["setting"] for p in points if p["codec"] == "both"][::4] == ["0", "128", "255"]
    points = [p for p in points if p["codec"] == "pair"]
    assert [p["setting"] for p in points] == ["0.01", "0.02"]
    codec = store.load(codecs["low"]).codec
    picture = np.asarray(Image.open(photos / "0.png"))
    stream = compress(codec, torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255)
    assert float(points[0]["bpp"]) == 8 * len(stream) / (72 * 65)
    decoded = (decompress(codec, stream)[0].permute(1, 2, 0).double().numpy() * 255).round()
    assert float(points[0]["psnr"]) == pytest.approx(
        10 * np.log10(255**2 / ((decoded - picture) ** 2).mean()), rel=1e-5
    )
    for other, said in (("both", "is a curve by itself"), ("again", "two codecs have one lambda")):
        refused = cli("ntc", "rd", photos, "--codec", f"a={codecs['low']}", "--codec", f"a={codecs[other]}")
        assert refused.code == 2
        assert said in refused.err


@pytest.mark.slow
def test_a_killed_measurement_goes_on_where_it_was(process, cli, photos, tmp_path) -> None:
    cache = tmp_path / "cache" / FILE
    command = ("ntc", "rd", photos, "-m", "psnr", "-m", "pim", "--format", "csv", "--quiet")
    running = process(*command, PIM_CACHE=str(cache.parent))
    deadline = time.monotonic() + 120
    while not (cache.is_file() and kept(cache)) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = kept(cache)
    assert before > 0
    resumed = cli(*command)
    assert kept(cache) == 2 * 2 * 3 * len(QUALITIES)  # pictures, codecs, metrics with psnr-y
    cache.unlink()
    assert cli(*command).out == resumed.out


def kept(cache: Path) -> int:
    import sqlite3

    connection = sqlite3.connect(cache)
    try:
        return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0
    finally:
        connection.close()


def test_another_metric_measures_only_what_it_adds(cli, photos, tmp_path, monkeypatch) -> None:
    (tmp_path / "counted.py").write_text(
        "calls = []\n\ndef f(a, b):\n    calls.append(set(a.shape[-2:]))\n    return (a - b).abs().mean((1, 2, 3))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ("ntc", "rd", photos, "--anchor", "jpeg", "--format", "csv", "-m", "counted:f")
    first = rows(cli(*command).out)
    import counted

    assert counted.calls.count({72, 65}) == 2 * len(QUALITIES)  # whatever it is tried on before
    both = rows(cli(*command, "-m", "psnr").out)
    assert counted.calls.count({72, 65}) == 2 * len(QUALITIES)
    assert [row["counted:f"] for row in both] == [row["counted:f"] for row in first]
    assert [row["bpp"] for row in both] == [row["bpp"] for row in first]
    assert all(row["psnr"] and row["psnr-y"] for row in both)


@pytest.fixture
def coded(photos: Path, tmp_path: Path) -> Path:
    """coded/SETTING/NAME.webp, and streams/NAME_qSETTING.bin with NAME_qSETTING.png decoded of it."""
    (tmp_path / "streams").mkdir()
    for setting in (5, 50, 95):
        (tmp_path / "coded" / str(setting)).mkdir(parents=True)
        for name in ("0", "1"):
            file = tmp_path / "coded" / str(setting) / f"{name}.webp"
            Image.open(photos / f"{name}.png").save(file, quality=setting, method=4)
            Image.open(file).convert("RGB").save(tmp_path / "streams" / f"{name}_q{setting}.png")
            (tmp_path / "streams" / f"{name}_q{setting}.bin").write_bytes(file.read_bytes())
    return tmp_path


def test_files_of_any_codec_are_a_curve(cli, photos, coded) -> None:
    wanted = ("--files", f"mine={coded / 'coded'}", "--files", f"theirs={coded}/streams/{{name}}_q{{setting}}.*")
    ran = cli("ntc", "rd", photos, "-m", "psnr", "--anchor", "webp", *wanted, "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    found = {(row["codec"], row["setting"]): (row["bpp"], row["psnr"]) for row in rows(ran.out)}
    assert [setting for codec, setting in found if codec == "mine"] == ["5", "50", "95"]
    for setting in ("5", "50", "95"):  # Pillow's own files, counted and compared by itself
        assert found["mine", setting] == found["theirs", setting] == found["webp", setting]


def test_a_file_that_changed_is_measured_again(cli, photos, coded) -> None:
    command = ("ntc", "rd", photos, "-m", "psnr", "--anchor", "none", "--files", f"mine={coded / 'coded'}")
    before = cli(*command, "--format", "csv").out
    (coded / "coded" / "50" / "0.webp").write_bytes((coded / "coded" / "95" / "0.webp").read_bytes())
    after = cli(*command, "--format", "csv").out
    assert before.splitlines()[1] == after.splitlines()[1]
    assert before.splitlines()[2] != after.splitlines()[2]


def test_a_picture_without_its_file_is_named_and_counts_for_none(cli, photos, coded) -> None:
    (coded / "coded" / "50" / "0.webp").unlink()
    command = ("ntc", "rd", photos, "-m", "psnr", "--anchor", "none", "--files", f"mine={coded / 'coded'}")
    ran = cli(*command, "--format", "csv")
    assert ran.code == 1
    assert "0.png: mine has no file of it at the setting 50" in ran.err
    assert {row["images"] for row in rows(ran.out)} == {"1"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("coded/", "give NAME=FOLDER or NAME=PATTERN"),
        ("mine=nowhere/", "no file fits nowhere"),
        ("mine={name}.webp", "needs {setting} exactly once"),
        ("mine=streams/{setting}/{name}/{name}.webp", "needs {name} exactly once"),
        ("mine=three/{setting}/{name}.*", "have one name; expected one file, or a decoded picture"),
        ("jpeg=coded", "two codecs are called jpeg; give one another name"),
    ],
)
def test_patterns_that_say_nothing_are_refused(cli, photos, coded, monkeypatch, pattern, message) -> None:
    monkeypatch.chdir(coded)
    (coded / "three" / "1").mkdir(parents=True)
    for ending in ("png", "bin", "avif"):
        (coded / "three" / "1" / f"0.{ending}").touch()
    ran = cli("ntc", "rd", photos, "-m", "psnr", "--files", pattern)
    assert ran.code == 2
    assert message in ran.err


def test_names_may_hold_what_settings_are_set_off_by_and_folders_brackets(coded: Path) -> None:
    (coded / "a[1]").mkdir()
    for setting in ("5", "50"):
        (coded / "a[1]" / f"{setting}_my_photo.webp").touch()
    found = find(f"mine={coded}/a[1]/{{setting}}_{{name}}.webp").files
    assert {setting: list(names) for setting, names in found.items()} == {"5": ["my_photo"], "50": ["my_photo"]}


def test_originals_of_one_name_and_streams_that_nothing_opens_are_named(cli, photos, coded) -> None:
    (coded / "more").mkdir()
    (coded / "more" / "0.jpg").write_bytes((photos / "0.png").read_bytes())
    wanted = ("-m", "psnr", "--anchor", "none", "--files", f"mine={coded}/streams/{{name}}_q{{setting}}.bin")
    ran = cli("ntc", "rd", photos, coded / "more", *wanted)
    assert (ran.code, "0.png and " in ran.err, "have one name" in ran.err) == (2, True, True)
    for file in (coded / "streams").glob("*.bin"):
        file.write_bytes(b"no picture")
    assert "a pattern that ends in .* finds a decoded .png" in cli("ntc", "rd", photos, *wanted).err


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_curves_are_drawn_for_print(cli, photos, coded, ending) -> None:
    drawn = coded / f"rd.{ending}"
    points = ("-m", "psnr", "--anchor", "none", "--files", f"mine={coded / 'coded'}")
    assert cli("ntc", "rd", photos, *points, "--plot", drawn).code == 0
    assert drawn.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[ending])


def test_the_further_anchors_have_curves_that_rise(cli, photos) -> None:
    command = ("ntc", "rd", photos, "-m", "psnr", "--anchor", "avif", "--anchor", "jpeg2000", "--format", "csv")
    found = rows(cli(*command).out)
    for codec in ("avif", "jpeg2000"):
        points = [(float(row["bpp"]), float(row["psnr"])) for row in found if row["codec"] == codec]
        assert points == sorted(points)
        assert len({rate for rate, _ in points}) > 5
