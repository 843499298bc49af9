"""The commands `pim ntc compress`, `decompress` and `train`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ntc_toys import codec, picture
from PIL import Image

from ntc import coding, store
from vggmetric import Head, VGGMetric


def save_picture(path, height=40, width=56, seed=0):
    array = (picture(height, width, seed)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(array).save(path)


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a picture and a codec."""
    save_picture(tmp_path / "a.png")
    store.save(tmp_path / "my.safetensors", codec("mean-scale"), {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_goes_there_and_back_as_the_library_would_have_it(desk, cli):
    ran = cli("ntc", "compress", "a.png", "--codec", "my.safetensors", "--quality", 60)
    assert (ran.code, ran.out) == (0, "a.pntc\n")
    data = (desk / "a.pntc").read_bytes()
    assert f"{len(data)} bytes, {8 * len(data) / (40 * 56):.3f} bits per pixel" in ran.err
    image = coding.from_pixels(pixels("a.png").astype(np.float32) / 255)
    assert data == coding.compress(codec("mean-scale"), image, 153)
    ran = cli("ntc", "decompress", "a.pntc", "-o", "b.png", "--codec", "my.safetensors")
    assert (ran.code, ran.out) == (0, "b.png\n")
    want = codec("mean-scale")(image, codec("mean-scale").level(153)).image
    assert np.array_equal(pixels("b.png"), coding.to_8_bit(want))


def test_the_shipped_codec_is_found_by_the_id_in_the_file(desk, cli, monkeypatch):
    monkeypatch.setattr(store, "shipped", lambda: {"ntc-small": desk / "my.safetensors"})
    assert cli("ntc", "compress", "a.png", "-q").code == 0
    ran = cli("ntc", "decompress", "a.pntc", "-o", "b.webp", "-q")
    assert (ran.code, ran.err) == (0, "")
    assert (desk / "b.webp").read_bytes()[8:12] == b"WEBP"
    store.save("other.safetensors", codec("mean-scale", seed=1), {})
    cli("ntc", "compress", "a.png", "--codec", "other.safetensors", "-o", "c.pntc")
    ran = cli("ntc", "decompress", "c.pntc", "-o", "d.png")
    assert ran.code == 1
    assert "c.pntc was coded by" in ran.err
    assert "--codec" in ran.err


def test_nothing_is_replaced_unless_asked(desk, cli):
    assert cli("ntc", "compress", "a.png", "--codec", "my.safetensors").code == 0
    before = (desk / "a.png").read_bytes()
    for command in (("compress", "a.png"), ("decompress", "a.pntc")):
        ran = cli("ntc", *command, "--codec", "my.safetensors")
        assert ran.code == 2
        assert "exists; name another file with --output, or use --force" in ran.err
    assert (desk / "a.png").read_bytes() == before
    assert cli("ntc", "decompress", "a.pntc", "--codec", "my.safetensors", "--force").code == 0
    assert (desk / "a.png").read_bytes() != before
    ran = cli("ntc", "compress", "a.png", "-o", "a.png", "--codec", "my.safetensors")
    assert ran.code == 2
    assert "would overwrite an input" in ran.err
    for ending in ("xyz", "psd"):  # unknown; known but not written by Pillow
        ran = cli("ntc", "decompress", "a.pntc", "--codec", "my.safetensors", "-o", f"d.{ending}")
        assert (ran.code, f"--output d.{ending} must end in .png" in ran.err) == (2, True)


def test_several_pictures_go_on_after_one_that_fails(desk, cli):
    save_picture(desk / "b.png", 20, 30, 1)
    (desk / "no.png").write_bytes(b"no picture")
    ran = cli("ntc", "compress", "a.png", "no.png", "gone.png", "b.png", "--codec", "my.safetensors")
    assert ran.code == 1
    assert ran.out.split() == ["a.pntc", "b.pntc"]
    assert "no.png" in ran.err
    assert "gone.png does not exist" in ran.err
    assert not (desk / "no.pntc").exists()
    (desk / "b.pntc").write_bytes((desk / "b.pntc").read_bytes()[:-3])
    ran = cli("ntc", "decompress", "a.pntc", "b.pntc", "gone.pntc", "--codec", "my.safetensors", "--force")
    assert ran.code == 1
    assert ran.out.split() == ["a.png"]
    assert "b.pntc is cut short" in ran.err
    assert "gone.pntc cannot be read: No such file" in ran.err
    ran = cli("ntc", "compress", "a.png", "b.png", "-o", "c.pntc", "--codec", "my.safetensors")
    assert ran.code == 2
    ran = cli("ntc", "compress", "a.png", "./a.jpg", "--codec", "my.safetensors", "--force")
    assert ran.code == 2
    assert "would both become a.pntc" in ran.err


def test_what_is_no_codec_is_named(desk, cli):
    for name, message in (("mi.safetensors", "cannot read mi.safetensors"), ("other", "unknown codec 'other'")):
        ran = cli("ntc", "compress", "a.png", "--codec", name)
        assert ran.code != 0
        assert message in ran.err
    (desk / "broken.safetensors").write_bytes(b"\x10" + bytes(7) + b"no json at all")
    ran = cli("ntc", "compress", "a.png", "--codec", "broken.safetensors")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1


def test_without_the_fast_coder_the_bytes_are_the_same(desk, cli, monkeypatch):
    assert cli("ntc", "compress", "a.png", "--codec", "my.safetensors", "-o", "fast.pntc").code == 0
    monkeypatch.setattr("ntc.coder.fast", lambda: False)
    ran = cli("ntc", "compress", "a.png", "--codec", "my.safetensors", "-o", "slow.pntc")
    assert ran.code == 0
    assert "pip install 'pim-metric[ntc]'" in ran.err
    assert (desk / "slow.pntc").read_bytes() == (desk / "fast.pntc").read_bytes()
    assert cli("ntc", "decompress", "fast.pntc", "-o", "slow.png", "--codec", "my.safetensors").code == 0


@pytest.mark.parametrize("distortion", ["mse", "ms-ssim", "pim", "vgg"])
def test_a_codec_is_trained_and_used(tmp_path, cli, monkeypatch, distortion):
    monkeypatch.chdir(tmp_path)
    if distortion == "vgg":  # random layers for the backbone that cannot be had here; no weight ships for it either
        head = Head("rand7", {"relu1_2": torch.ones(1), "relu2_2": torch.ones(1)})
        monkeypatch.setattr("pim.loss._frozen", lambda name: VGGMetric(head).eval().requires_grad_(False))
    for seed in range(3):
        save_picture(tmp_path / f"{seed}.png", 200, 210, seed)
    small = "--widths 4,4,5 --hyper 3 --latents 6 --batch-size 2 --steps 3"
    small += " --patches-per-source 6 --largest-reduction 1 --threads 1"
    window = 192 if distortion == "ms-ssim" else 64
    options = [*small.split(), "--window", window, "--distortion", distortion, "-o", "own.safetensors"]
    threads = torch.get_num_threads()
    try:
        ran = cli("ntc", "train", "0.png", "1.png", "2.png", "--held-out", 0.4, *options)
    finally:
        torch.set_num_threads(threads)
    assert (ran.code, ran.out) == (0, "own.safetensors\n")
    assert "on held-out patches" in ran.err
    assert store.load("own.safetensors").training["settings"]["distortion"] == distortion
    assert cli("ntc", "compress", "0.png", "--codec", "own.safetensors").code == 0
    assert cli("ntc", "decompress", "0.pntc", "--codec", "own.safetensors", "-o", "x.png").code == 0
    assert pixels("x.png").shape == (200, 210, 3)


def test_training_goes_on_from_a_codec_in_its_shape(desk, cli):
    save_picture(desk / "b.png", 200, 210)
    small = "ntc train b.png --batch-size 2 --steps 1 --window 64 --patches-per-source 6 --largest-reduction 1 -q"
    begun = [*small.split(), "--threads", torch.get_num_threads(), "--start", "my.safetensors"]
    assert cli(*begun, "--learning-rate", 1e-9, "--average", 0, "-o", "own.safetensors").code == 0
    first, own = (store.load(name).codec for name in ("my.safetensors", "own.safetensors"))
    assert own.config == first.config
    before, after = (each.synthesis[0].weight for each in (first, own))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    for more, message in (
        (["--latents", 7], "--latents differs from that of my.safetensors"),
        (["--lambda", 0.5], "--lambda differs"),
        (["-o", "my.safetensors"], "would overwrite an input"),
        (["--start", "ntc-smal"], "did you mean 'ntc-small'?"),
    ):
        ran = cli(*begun, *more)
        assert ran.code == 2
        assert message in ran.err


def test_training_says_what_cannot_be(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png", 100, 100)
    for options, message, code in (
        (["gone"], "gone does not exist", 1),
        (["a.png", "-o", "x.bin"], "must end in .safetensors", 2),
        (["a.png", "--lambda", -1], "rising positive numbers", 2),
        (["a.png", "--window", 100], "multiple of 64", 2),
        (["a.png", "--window", 64, "--distortion", "ms-ssim"], "--window", 2),
        (["a.png", "--window", 64, "--patches-per-source", 2], "fewer than a batch", 1),
    ):
        ran = cli("ntc", "train", *options, "-q")
        assert ran.code == code, ran.err
        assert message in ran.err
        assert len(ran.err.splitlines()) == 1


def test_a_learned_codec_is_measured_beside_others(desk, cli, monkeypatch):
    monkeypatch.setenv("PIM_CACHE", str(desk / "cache"))
    ran = cli("ntc", "rd", "a.png", "--codec", "my.safetensors", "--anchor", "jpeg", "-m", "psnr", "-o", "rd.csv", "-q")
    assert ran.code == 0, ran.err
    rows = [line.split(",") for line in (desk / "rd.csv").read_text().splitlines()]
    column = {name: i for i, name in enumerate(rows[0])}
    ours = [row for row in rows[1:] if row[column["codec"]] == "my"]
    assert [row[column["setting"]] for row in ours] == ["0", "32", "64", "96", "128", "159", "191", "223", "255"]
    assert sum(row[column["codec"]] == "jpeg" for row in rows) > 5
    cli("ntc", "compress", "a.png", "--codec", "my.safetensors", "--quality", 100, "-q")
    bits = 8 * len((desk / "a.pntc").read_bytes()) / (40 * 56)
    assert float(ours[-1][column["bpp"]]) == pytest.approx(bits, rel=1e-4)
    save_picture(desk / "b.png", seed=2)
    store.save(desk / "sub.safetensors", codec("scale", lambdas=(0.01,)), {})
    ran = cli("ntc", "rd", "b.png", "--codec", "sub.safetensors", "--anchor", "none", "-m", "psnr", "-q")
    assert ran.code == 0, ran.err
    assert "cannot judge" not in ran.err
    store.save(desk / "pims.safetensors", codec("scale", lambdas=(0.01,)), {"settings": {"distortion": "pim"}})
    ran = cli("ntc", "rd", "b.png", "--codec", "pims.safetensors", "--anchor", "none", "-m", "psnr", "-m", "pim")
    assert ran.code == 0, ran.err
    assert "pims was trained with pim: pim cannot judge it" in ran.err
    ran = cli("ntc", "rd", "b.png", "--codec", "nothing", "--anchor", "none", "-m", "psnr", "-q")
    assert ran.code == 2
