"""The box probe: energies to the unit, metrics whose answer is known, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from vgg_cases import random_metric

from pim.errors import InputError, UsageError
from pim.eval.boxes import BRIGHTNESS, FLAT, OVERLAP, TEXTURE, Box, controls, luma
from pim.eval.estimate import IntervalOptions
from pim.eval.matched_energy import DISTORTIONS, energy, matched, residual, window
from pim.eval.probe import ProbeOptions, Target, distance, probe, scrambled
from pim.eval.probe_summary import NOT_SHOWN, SHOWN, of_boxes, of_images
from pim.eval.sensitivity import inside_over_outside, local_variance, sensitivity
from pim.metrics.custom import CustomMetric
from pim.metrics.registry import load

BOX = Box(40, 24, 24, 20)


def mean_squared_error(reference: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    return ((reference.double() - distorted.double()) ** 2).mean((1, 2, 3))


def middle_counts_double(reference: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    """Errors inside BOX count twice."""
    errors = (reference.double() - distorted.double()) ** 2
    errors[..., BOX.slices[0], BOX.slices[1]] *= 2
    return errors.mean((1, 2, 3))


def texture(seed: int, height: int = 90, width: int = 130) -> np.ndarray:
    """The same texture everywhere, so that most boxes are alike."""
    random = np.random.default_rng(seed)
    coarse = np.kron(random.integers(60, 190, (height // 2 + 1, width // 2 + 1, 3)), np.ones((2, 2, 1)))
    return coarse[:height, :width].astype(np.uint8)


def named(function):
    return CustomMetric(function, f"tests:{function.__name__}")


@pytest.fixture(scope="module")
def mse():
    return named(mean_squared_error)


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_the_energy_is_met_to_the_unit(distortion):
    pixels = texture(1)
    change = residual(pixels, distortion, 5)
    wanted = energy(pixels, change, BOX)
    for box in (BOX, Box(3, 60, 24, 20), Box(100, 5, 24, 20)):
        found = matched(pixels, change, box, wanted, 5)
        errors = found.astype(int) - pixels
        assert (errors**2).sum() == wanted
        outside = errors.copy()
        outside[box.slices] = 0
        assert not outside.any()


def test_the_energy_is_met_near_black_and_white_where_values_are_clipped():
    pixels = texture(1)
    pixels[:, :60] = pixels[:, :60] // 30
    pixels[:, 60:] = 255 - pixels[:, 60:] // 30
    change = residual(pixels, "noise", 5)
    wanted = energy(pixels, change, BOX)
    found = matched(pixels, change, Box(90, 30, 24, 20), wanted, 5)
    assert ((found.astype(int) - pixels) ** 2).sum() == wanted


def test_a_box_that_would_need_another_distortion_is_left_out():
    pixels = texture(1)
    pixels[60:] = 128  # flat: nothing to blur
    change = residual(pixels, "blur", 0)
    assert matched(pixels, change, Box(40, 66, 24, 20), energy(pixels, change, BOX), 0) is None


def test_distortions_fade_in_at_the_sides_of_a_box():
    seen = window(BOX)[..., 0]
    assert seen.shape == (20, 24)
    assert seen[10, 12] == 1.0
    assert np.allclose(seen[10, :5], [0.5 - 0.5 * np.cos(np.pi * (i + 0.5) / 4) for i in range(4)] + [1.0])
    assert np.allclose(seen, seen[::-1, ::-1])


def test_control_boxes_look_like_the_box_and_keep_away_from_it():
    pixels = texture(2)
    pixels[:, 90:] = pixels[:, 90:] // 3  # darker and smoother
    found = controls(pixels, BOX, avoid=[Box(0, 0, 20, 20)])
    assert len(found) >= 8
    gray = luma(pixels)
    for box in found:
        part, own = gray[box.slices], gray[BOX.slices]
        assert abs(part.mean() - own.mean()) <= BRIGHTNESS * (own.mean() + FLAT)
        assert abs(part.std() - own.std()) <= TEXTURE * (own.std() + FLAT)
        assert box.shared(BOX) == 0
        assert box.shared(Box(0, 0, 20, 20)) == 0
        assert (box.width, box.height) == (24, 20)
    assert all(a.shared(b) <= OVERLAP for i, a in enumerate(found) for b in found[:i])
    assert len(controls(pixels, BOX, loosen=4)) > len(found)


def test_mean_squared_error_counts_every_box_alike(mse):
    found, refused = probe(Target("a.png", texture(1), BOX), [mse, load("psnr")], ProbeOptions())
    assert refused == []
    assert len(found) == 2 * len(DISTORTIONS)
    for summary in of_boxes(found):
        assert abs(summary.ratio.value - 1) < 1e-5
        assert summary.ratio.low <= 1 <= summary.ratio.high
        assert summary.verdict == NOT_SHOWN


def test_a_metric_that_counts_one_box_double_gives_two():
    metric = named(middle_counts_double)
    found, _ = probe(Target("a.png", texture(1), BOX), [metric], ProbeOptions(distortions=("noise",)))
    (summary,) = of_boxes(found)
    assert abs(summary.ratio.value - 2) < 1e-5
    assert summary.ratio.low > 1.9
    assert summary.verdict == "stands out"
    assert abs(summary.scrambled.value - 2) < 1e-5  # it is the place that counts, not what is there


def test_over_pictures_the_interval_is_over_pictures_and_all_controls_are_needed(mse):
    metric = named(middle_counts_double)
    found = []
    for number in range(6):
        target = Target(f"{number}.png", texture(number), BOX)
        found += probe(target, [metric, mse], ProbeOptions(distortions=("noise",)))[0]
    by_metric = {s.metric: s for s in of_images(found, mse.name, IntervalOptions(draws=200))}
    own = by_metric[metric.name]
    assert (own.images, own.boxes) == (6, 6)
    assert abs(own.ratio.value - 2) < 1e-5
    assert own.ratio.low > 1.9
    assert own.over_control.low > 1.9
    assert own.verdict == f"{NOT_SHOWN}: scrambled content does as much"
    assert by_metric[mse.name].verdict == f"{NOT_SHOWN}: S is not above 1"
    few = of_images([r for r in found if r.image < "4"], mse.name, IntervalOptions(draws=200))
    assert few[0].ratio.low is None
    assert few[0].verdict.startswith(f"{NOT_SHOWN}: 4 pictures")


def test_what_passes_all_controls_is_shown(mse):
    found = []
    for number in range(6):
        target = Target(f"{number}.png", texture(number), BOX)
        rows = probe(target, [named(middle_counts_double), mse], ProbeOptions(distortions=("noise",)))[0]
        found += [r if r.metric == mse.name else replace(r, scrambled=1 + 0.01 * number) for r in rows]
    verdicts = [s.verdict for s in of_images(found, mse.name, IntervalOptions(draws=200))]
    assert verdicts[0] == SHOWN
    as_much = [*found, *(replace(r, metric="as much") for r in found if r.metric != mse.name)]
    assert of_images(as_much, "as much", IntervalOptions(draws=200))[0].verdict.endswith(
        "the control metric does as much"
    )
    alone = of_images(found, None, IntervalOptions(draws=200))
    assert alone[0].verdict == f"{NOT_SHOWN}: no metric as a control"


def test_a_box_without_likes_is_refused(mse):
    pixels = texture(1)
    pixels[BOX.slices] = pixels[BOX.slices] // 4
    found, refused = probe(Target("a.png", pixels, BOX), [mse], ProbeOptions())
    assert found == []
    assert {r.distortion for r in refused} == set(DISTORTIONS)
    assert all("only 0 boxes look like it" in r.reason for r in refused)


def test_scrambled_content_keeps_its_values():
    pixels = texture(1)
    turned = scrambled(pixels, BOX, "turn", 0)
    assert (turned[BOX.slices] == pixels[BOX.slices][::-1, ::-1]).all()
    tiles = scrambled(pixels, BOX, "tiles", 0)
    inner = Box(BOX.x, BOX.y, 24, 16)
    assert (np.sort(tiles[inner.slices], axis=None) == np.sort(pixels[inner.slices], axis=None)).all()
    assert (tiles[inner.slices] != pixels[inner.slices]).any()
    tiles[inner.slices] = pixels[inner.slices]
    assert (tiles == pixels).all()


def test_random_phases_keep_the_spectrum_and_the_mean():
    pixels = texture(1)
    found = scrambled(pixels, BOX, "phases", 3)
    before, after = (np.abs(np.fft.fft2(image[BOX.slices], axes=(0, 1))) for image in (pixels, found))
    assert np.abs(after - before).mean() < 0.02 * before.mean()  # what rounding and clipping cost
    assert np.abs(after - before)[0, 0].max() < before[0, 0].max() / 100
    assert np.corrcoef(pixels[BOX.slices].ravel(), found[BOX.slices].ravel())[0, 1] < 0.5
    found[BOX.slices] = pixels[BOX.slices]
    assert (found == pixels).all()


def test_flat_and_textured_parts_can_be_the_controls():
    pixels = texture(1)
    pixels[:, 80:] = 120 + pixels[:, 80:] // 16
    inside = {like: controls(pixels, BOX, like=like) for like in ("flat", "texture")}
    assert all(len(boxes) == 8 for boxes in inside.values())
    assert all(box.x >= 80 for box in inside["flat"])
    assert all(box.x + box.width <= 80 for box in inside["texture"])


def test_values_become_distances():
    assert distance(load("ssim"), 0.75) == 0.25
    assert np.isclose(distance(load("psnr"), 20.0), 0.01)
    assert distance(load("nlpd"), 0.3) == 0.3


@pytest.mark.parametrize(("text", "said"), [("1,2,3", "x,y,width,height"), ("1,2,3,x", "x,y,width,height")])
def test_what_is_no_box_is_said(text, said):
    with pytest.raises(UsageError, match=said):
        Box.parse(text)


@pytest.mark.parametrize("box", [Box(120, 0, 24, 20), Box(-1, 0, 24, 20), Box(0, 0, 24, 10)])
def test_a_box_outside_or_too_small_is_refused(box, mse):
    with pytest.raises(InputError, match="must lie inside the 130 x 90 pixels and have sides of at least 16"):
        probe(Target("a.png", texture(1), box), [mse], ProbeOptions())


def test_the_command_prints_one_line_for_a_metric_and_a_distortion(cli, tmp_path):
    Image.fromarray(texture(1)).save(tmp_path / "a.png")
    ran = cli(
        "probe", tmp_path / "a.png", "--box", "40,24,24,20", "-m", "psnr", "-m", "ssim", "--picture", tmp_path / "p.png"
    )
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert len(lines) == 1 + 6 + 2
    assert lines[1].startswith("psnr    noise")
    assert "1.000 [1.000, 1.000]" in lines[1]
    assert lines[1].rstrip().endswith("not shown")
    with Image.open(tmp_path / "p.png") as drawn:
        assert drawn.size == (130, 90)
        assert drawn.getpixel((40, 24)) == (230, 30, 30)


def test_the_command_reads_a_table_of_boxes(cli, tmp_path):
    for number in range(5):
        Image.fromarray(texture(number)).save(tmp_path / f"{number}.png")
    rows = "".join(f"{n}.png,40,24,24,20,face\n" for n in range(5))
    (tmp_path / "boxes.csv").write_text("image,x,y,w,h,label\n" + rows)
    ran = cli(
        "probe", tmp_path / "boxes.csv", "-m", "ssim", "--control", "psnr", "--distortion", "noise", "--format", "csv"
    )
    assert ran.code == 0, ran.err
    assert (
        ran.out.splitlines()[0] == "metric,distortion,pictures,boxes,S,S scrambled,over scrambled,over control,verdict"
    )
    assert ran.out.splitlines()[1].startswith("ssim,noise,5,5,")
    assert "not shown" in ran.out.splitlines()[2]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("a.png",), "--box x,y,width,height", 2),
        (("a.png", "--box", "1,2,3"), "x,y,width,height", 2),
        (("a.png", "--box", "40,24,24,20", "--distortion", "fog"), "unknown distortion 'fog'", 2),
        (("nowhere.png", "--box", "40,24,24,20"), "nowhere.png does not exist", 1),
        (("a.png", "--box", "0,0,200,200"), "must lie inside the 130 x 90 pixels", 1),
        (("a.png", "--box", "40,24,24,20", "-m", "pmis"), "unknown metric", 2),
    ],
)
def test_what_cannot_be_probed_is_one_line(cli, tmp_path, monkeypatch, arguments, said, code):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(texture(1)).save("a.png")
    ran = cli("probe", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_the_sensitivity_of_mean_squared_error_is_the_same_everywhere(mse):
    found = sensitivity(mse, texture(1), draws=2)
    assert found.shape == (90 // 8, 130 // 8)
    assert np.allclose(found, 1 / (90 * 130), rtol=1e-4)


def test_the_sensitivity_of_what_counts_double_is_double():
    found = sensitivity(named(middle_counts_double), texture(1), draws=2)
    assert np.isclose(inside_over_outside(found, [BOX]), 2, rtol=0.1)  # blocks on the sides of the box hold both
    assert np.isclose(found[3, 5], 2 / (90 * 130), rtol=1e-4)


def test_noise_costs_ssim_less_where_there_is_texture():
    pixels = texture(1)
    pixels[:, :64] = 120 + pixels[:, :64] // 40
    smooth = Box(0, 0, 56, 88)
    found = sensitivity(load("ssim"), pixels, draws=4)
    assert inside_over_outside(found, [smooth]) > 5
    assert inside_over_outside(local_variance(pixels), [smooth]) < 0.1


def test_a_metric_without_a_gradient_at_identity_has_no_sensitivity():
    with pytest.raises(UsageError, match="psnr has no gradient at identical pictures"):
        sensitivity(load("psnr"), texture(1))
    with pytest.raises(UsageError, match="not all of them"):
        inside_over_outside(np.ones((4, 4)), [Box(0, 0, 32, 32)])


def test_the_command_draws_sensitivity(cli, tmp_path):
    Image.fromarray(texture(1)).save(tmp_path / "a.png")
    target = tmp_path / "s.png"
    ran = cli(
        "probe",
        tmp_path / "a.png",
        "--box",
        "40,24,24,20",
        "-m",
        "ssim",
        "--distortion",
        "noise",
        "--sensitivity",
        target,
    )
    assert ran.code == 0, ran.err
    assert "noise costs ssim" in ran.out
    with Image.open(target) as drawn:
        assert drawn.width > 130


def test_layers_answer_for_themselves_and_add_up():
    metric = random_metric(last=2)
    target = Target("toy", texture(6), BOX)
    options = ProbeOptions(("noise",), "none", layers=True)
    found, refused = probe(target, [metric, load("psnr")], options)
    assert not refused
    by_name = {response.metric: response for response in found}
    assert list(by_name) == ["vgg", "vgg pixels", "vgg relu1_1", "vgg relu1_2", "psnr"]
    parts = [by_name[f"vgg {tap}"] for tap in metric.taps]
    assert np.isclose(sum(part.inside for part in parts), by_name["vgg"].inside)
    whole, _ = probe(target, [metric], ProbeOptions(("noise",), "none"))
    assert np.allclose(
        [*whole[0].controls, whole[0].inside], [*by_name["vgg"].controls, by_name["vgg"].inside], rtol=1e-4
    )
    assert by_name["vgg pixels"].ratio == pytest.approx(1, rel=0.02)  # weighted squared errors
