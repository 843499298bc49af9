"""`pim.loss.Distortion`: what the loss is, and that it behaves in other people's training."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import pim
from pim import PIM, PIMConfig
from pim.calibration import MEASURED, Calibration
from pim.core.info import MetricInfo
from pim.core.metric import Metric
from pim.errors import InputError, PimError, UsageError
from pim.images.made import coarse, standard_picture
from pim.loss import Distortion
from pim.metrics.fine import FINE

KNOWN = Calibration(ratio=0.004, cosine=0.2)


class Mean(Metric):
    """Mean absolute difference: a metric that can be computed by hand."""

    info = MetricInfo("mean", "test", lower_is_better=True, value_range=(0.0, 1.0), min_size=8)

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return (features - distorted).abs().mean((1, 2, 3))


class Likeness(Mean):
    """The same as a similarity."""

    info = MetricInfo("likeness", "test", lower_is_better=False, value_range=(0.0, 1.0))

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return 1 - super()._compare(features, distorted)


class Small(Mean):
    """The same, of means of blocks of 2 x 2 pixels."""

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        first, second = (nn.functional.avg_pool2d(image, 2, ceil_mode=True) for image in (features, distorted))
        return super()._compare(first, second)


@pytest.fixture
def pair(random_images) -> tuple[Tensor, Tensor]:
    reference = random_images(3, 33, 47)
    return reference, (reference + 0.1 * random_images(3, 33, 47, seed=1) - 0.05).clamp(0, 1)


@pytest.fixture(scope="module")
def small() -> PIM:
    torch.manual_seed(0)
    return PIM(PIMConfig(filters=(3, 2), encoder_layers=1, latent=2)).eval().requires_grad_(False)


def test_the_loss_is_the_weighted_sum_of_both_terms(pair) -> None:
    reference, distorted = pair
    terms = Distortion(Mean(), mse_weight=0.7, weight=0.03).terms(reference, distorted)
    error = (reference.double() - distorted.double()).numpy()
    squares, sizes = (error**2).mean((1, 2, 3)), abs(error).mean((1, 2, 3))
    assert terms.mse.tolist() == pytest.approx(squares.tolist())
    assert terms.perceptual.tolist() == pytest.approx(sizes.tolist())
    assert terms.loss.tolist() == pytest.approx((0.7 * squares + 0.03 * sizes).tolist())


def test_a_similarity_counts_as_what_it_lacks(pair) -> None:
    distance, similarity = (Distortion(metric, weight=1.0).terms(*pair) for metric in (Mean(), Likeness()))
    assert similarity.perceptual.tolist() == pytest.approx(distance.perceptual.tolist(), rel=1e-4)


def test_single_images_and_one_batch_agree(pair) -> None:
    loss = Distortion(Mean(), weight=1.0)
    singles = [loss(a, b) for a, b in zip(*pair, strict=True)]
    assert torch.stack(singles).mean().item() == pytest.approx(loss(*pair).item())
    assert loss(*pair).shape == ()
    assert [term.shape for term in loss.terms(pair[0][0], pair[1][0])] == [()] * 3


def test_a_calibrated_loss_pulls_as_hard_as_the_mse_alone(pair, small) -> None:
    reference, distorted = pair
    for mse_weight in (0.0, 0.3, 0.9):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = Distortion(small, mse_weight=mse_weight).calibrate(reference, distorted)
        at = distorted.clone().requires_grad_()
        loss(reference, at).backward()
        alone = (2 / at.numel()) * (distorted - reference)
        assert at.grad.norm().item() == pytest.approx(alone.norm().item(), rel=1e-4)


def test_calibration_is_the_ratio_and_angle_of_the_gradients(pair) -> None:
    reference, distorted = pair
    distorted = distorted.where((distorted - reference).abs() > 1e-4, reference + 0.01)  # |x| has no slope at 0
    found = Distortion(Mean()).calibrate(reference, distorted).calibration
    error = (distorted - reference).double()
    assert found.ratio == pytest.approx((2 * error).norm().item() / math.sqrt(error.numel()), rel=1e-5)
    angle = error.abs().sum() / error.norm() / math.sqrt(error.numel())
    assert found.cosine == pytest.approx(angle.item(), rel=1e-5)


def test_calibration_repeats_by_seed_and_can_be_handed_on(pair, small) -> None:
    reference = pair[0]
    first, again, other = (Distortion(small).calibrate(reference, seed=seed) for seed in (0, 0, 1))
    assert first.calibration == again.calibration
    assert first.calibration != other.calibration
    assert Distortion(small, calibration=first.calibration).weight == first.weight
    frozen = first.weight
    first(*pair)
    assert first.weight == frozen


def test_the_coarse_copies_are_rounded_cosine_transforms() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 19, 30)
    copied = coarse(image, seed=3)
    assert copied.shape == image.shape
    assert not torch.equal(copied, coarse(image, seed=4))
    flat = torch.full((1, 3, 16, 16), 0.5)  # its only coefficient is 4 = 20 steps
    torch.testing.assert_close(coarse(flat), flat)
    assert coarse(flat + 0.01).unique().numel() == 1  # 4.08 rounds back
    torch.testing.assert_close(coarse(flat + 0.01), flat)


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_what_ships_as_calibration_is_about_right_for_the_example_picture(name, request, monkeypatch) -> None:
    room = 3
    if name.startswith("vgg"):
        room = 6  # from crop to crop its ratio varies 35-fold
        weights = request.getfixturevalue("shared") / "weights" / "vgg16_oxford_conv1_conv2_f32.safetensors"
        monkeypatch.setenv("PIM_VGG16_WEIGHTS", str(weights))
    picture = torch.from_numpy(pim.open_image(Path(__file__).parents[1] / "examples/reference.png").pixels)
    crop = picture.permute(2, 0, 1)[None, :, 30:222, 60:252].contiguous()
    bare = name.removesuffix(FINE)
    found = Distortion(bare, fine=name != bare).calibrate(crop).calibration
    assert MEASURED[name].ratio / room < found.ratio < room * MEASURED[name].ratio


def test_fine_is_the_mean_of_both_sizes(pair) -> None:
    reference, distorted = pair
    plain, twice = Small()(reference, distorted), Mean()(reference, distorted)  # means of 2 x 2 equal pixels
    fine = Distortion(Small(), weight=1.0, fine=True).terms(reference, distorted)
    torch.testing.assert_close(fine.perceptual, (plain + twice) / 2)
    assert (twice > 1.2 * plain).all()
    alike = Distortion(Likeness(), weight=1.0, fine=True).terms(reference, distorted)  # of a similarity what it lacks
    torch.testing.assert_close(alike.perceptual, twice)


def test_fine_refuses_what_its_metric_refuses() -> None:
    loss = Distortion("pim", weight=1.0, fine=True)
    image = torch.rand(1, 3, 40, 40)
    for wrong, message in ((image[..., :20], "at least 32 pixels"), (image * 255, "lie in"), (image * math.nan, "NaN")):
        with pytest.raises(InputError, match=message):
            loss(wrong, wrong)
    with pytest.raises(UsageError, match="psnr.* has no largest value"):
        Distortion("psnr", fine=True)
    with pytest.raises(UsageError, match="pim-1-fine weighs was never measured"):
        _ = Distortion("pim-1", fine=True).weight


def test_fine_sees_where_structure_of_single_pixels_runs(random_images) -> None:
    reference = random_images(1, 64, 64)
    mirrored = reference.reshape(1, 3, 32, 2, 32, 2).flip(-1).reshape(reference.shape)  # within blocks of 2 x 2
    other = random_images(1, 64, 64, seed=1)
    plain, fine = (
        [Distortion("pim", weight=1.0, fine=fine).terms(reference, y).perceptual.item() for y in (mirrored, other)]
        for fine in (False, True)
    )
    assert fine[0] / fine[1] > 2 * plain[0] / plain[1]


def test_fine_has_a_finite_gradient_at_equality_and_a_weight_of_its_own(random_images) -> None:
    image = random_images(1, 48, 40)
    at = image.clone().requires_grad_()
    loss = Distortion("pim", fine=True)
    assert loss.calibration == MEASURED["pim-fine"] != MEASURED["pim"]
    assert loss.metric.info.operations == 5 * (pim.load("pim").info.operations or 0)
    loss(image, at).backward()
    assert at.grad is not None
    assert torch.isfinite(at.grad).all()


def test_a_file_called_like_a_shipped_metric_has_no_calibration(tiny_pim, tmp_path) -> None:
    namesake = tmp_path / "pim.safetensors"
    namesake.write_bytes(tiny_pim.read_bytes())
    loss = Distortion(str(namesake))
    assert loss.metric.name == "pim"
    assert loss.calibration is None
    assert Distortion("pim").calibration == MEASURED["pim"]


def test_the_weights_follow_when_the_anchor_is_set_between_steps(pair) -> None:
    loss = Distortion(Mean(), mse_weight=1.0, calibration=KNOWN)
    assert loss.weight == 0
    assert loss(*pair).item() == loss.terms(*pair).mse.mean().item()
    loss.mse_weight = 0.6
    assert loss.weight == KNOWN.weight(0.6) > 0
    assert Calibration(0.01, 0.0).weight(0.6) == pytest.approx(0.008)
    assert Calibration(0.01, -0.5).weight(0.6) == pytest.approx(0.008)
    assert Calibration(0.01, 1.0).weight(0.6) == pytest.approx(0.004)


def test_overshoot_is_clamped_for_the_metric_and_pulled_back_by_the_anchor() -> None:
    reference = torch.full((1, 3, 16, 16), 0.9)
    at = torch.full_like(reference, 1.5).requires_grad_()
    terms = Distortion(Mean(), weight=1.0).terms(reference, at)
    assert terms.perceptual.item() == pytest.approx(0.1)
    assert terms.mse.item() == pytest.approx(0.36)
    (straight,) = torch.autograd.grad(terms.perceptual, at, retain_graph=True)
    torch.testing.assert_close(straight, torch.full_like(at, 1 / at.numel()))
    (pull,) = torch.autograd.grad(terms.mse, at)
    assert float(pull.min()) > 0
    far = Distortion(Mean(), weight=1.0).terms(reference, at.detach() * 1e9)
    assert far.perceptual.item() == pytest.approx(0.1)


@pytest.mark.parametrize("mse_weight", [0.0, 0.5])
def test_gradients_are_finite_where_images_are_equal(pair, small, mse_weight) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = Distortion(small, mse_weight=mse_weight, calibration=KNOWN)
    at = pair[0].clone().requires_grad_()
    value = loss(pair[0], at)
    value.backward()
    assert value.item() == 0
    assert torch.equal(at.grad, torch.zeros_like(at))


def test_gradcheck(small) -> None:
    torch.manual_seed(0)
    reference, distorted = (torch.rand(1, 3, 32, 33, dtype=torch.float64) * 0.8 + 0.1 for _ in range(2))
    loss = Distortion(copy.deepcopy(small), calibration=KNOWN).double()
    direction = torch.randn_like(distorted)
    at = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: loss(reference, distorted + t * direction), at)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x * 255, y), "0..255: divide"),
        (lambda x, y: (2 * x - 1, y), r"\[-1, 1\]"),
        (lambda x, y: (x, y * math.nan), "distorted contains NaN"),
        (lambda x, y: (x, y[..., 1:]), "shape of reference"),
        (lambda x, y: (x, y[:1]), "shape of reference"),
        (lambda x, y: (x.to(torch.uint8), y), "floating point"),
        (lambda x, y: (x[..., :7], y[..., :7]), "at least 8 pixels for mean"),
    ],
)
@pytest.mark.parametrize("jitter", [0, 4])
def test_the_checks_stay_on(pair, spoil, message, jitter) -> None:
    loss = Distortion(Mean(), weight=1.0, jitter=jitter)
    with pytest.raises(InputError, match=message):
        loss(*spoil(*pair))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "psnr"}, "psnr has no largest value"),
        ({"metric": "psnrr"}, "did you mean 'psnr'"),
        ({"metric": 3}, "a name or a pim.Metric; got int"),
        ({"mse_weight": 1.5}, r"mse_weight must be in \[0, 1\]; got 1.5"),
        ({"mse_weight": -1.0, "weight": 1.0}, "mse_weight must be 0 or more"),
        ({"mse_weight": math.nan, "weight": 1.0}, "mse_weight must be 0 or more"),
        ({"weight": -1.0}, "weight must be 0 or more"),
        ({"jitter": -1}, "jitter must be 0 or more"),
    ],
)
def test_what_cannot_be_a_loss_is_refused(arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        Distortion(**{"metric": Mean(), **arguments})


def test_a_metric_without_gradient_is_refused() -> None:
    class Steps(Mean):
        info = MetricInfo("steps", "test", lower_is_better=True, value_range=(0.0, 1.0), differentiable=False)

    with pytest.raises(UsageError, match="steps is not differentiable"):
        Distortion(Steps())


def test_a_weight_that_was_never_measured_is_asked_for(pair) -> None:
    with pytest.raises(UsageError, match=r"never measured: call calibrate\(images\)"):
        Distortion(Mean())(*pair)
    with pytest.raises(UsageError, match="given as a number"):
        Distortion(Mean(), weight=1.0).calibrate(pair[0])
    with pytest.raises(InputError, match="equal their references"):
        Distortion(Mean()).calibrate(pair[0], pair[0])
    with pytest.raises(InputError, match="shape of reference"):
        Distortion(Mean()).calibrate(pair[0], pair[1][:2])


def test_a_metric_without_slope_cannot_be_weighed(pair) -> None:
    class Flat(Mean):
        def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
            return 0 * super()._compare(features, distorted)

    with pytest.raises(PimError, match="0 or not finite"):
        Distortion(Flat()).calibrate(*pair)


def test_without_an_anchor_there_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="mean alone has no anchor") as caught:
        Distortion(Mean(), mse_weight=0, weight=1.0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Distortion(Mean(), mse_weight=0.1, weight=1.0)


def test_the_metric_is_nobodys_to_train(small, pair) -> None:
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Conv2d(3, 3, 1)
            self.loss = Distortion(small, calibration=KNOWN, jitter=2)

    module = Training().train().requires_grad_(True)
    assert sorted(module.state_dict()) == ["decoder.bias", "decoder.weight"]
    assert len(list(module.parameters())) == 2
    assert not module.loss.metric.training
    assert not any(p.requires_grad for p in module.loss.metric.parameters())
    before = [p.clone() for p in module.loss.metric.parameters()]
    module.loss(pair[0], module.decoder(pair[0])).backward()
    torch.optim.SGD(module.parameters(), 10.0).step()
    assert all(map(torch.equal, before, module.loss.metric.parameters()))
    assert all(p.grad is None for p in module.loss.metric.parameters())


def test_a_metric_in_training_is_copied_not_frozen() -> None:
    metric = PIM(PIMConfig(filters=(3, 2), encoder_layers=1, latent=2)).train()
    loss = Distortion(metric, calibration=KNOWN)
    assert metric.training
    assert all(p.requires_grad for p in metric.parameters())
    assert not any(p.requires_grad for p in loss.metric.parameters())


def test_in_state_only_when_asked_and_then_all_of_it() -> None:
    loss = Distortion(Mean(), calibration=KNOWN, jitter=6, in_state=True)
    state = nn.ModuleDict({"loss": loss}).state_dict()
    assert sorted(state) == ["loss.measured"]
    other = Distortion(Mean(), jitter=6, in_state=True)
    nn.ModuleDict({"loss": other}).load_state_dict(state)
    assert other.weight == pytest.approx(loss.weight, rel=1e-6)


def test_half_and_to_move_the_metric_but_do_not_coarsen_it(pair, small) -> None:
    loss = Distortion(copy.deepcopy(small), calibration=KNOWN, jitter=2, in_state=True)
    inside = nn.ModuleList([loss]).half()
    assert {p.dtype for p in loss.metric.parameters()} == {torch.float32}
    assert loss.measured.tolist() == pytest.approx(KNOWN, rel=1e-6)
    inside.double()
    assert {p.dtype for p in loss.metric.parameters()} == {torch.float64}
    assert loss(*(image.double() for image in pair)).dtype == torch.float64
    inside.to("cpu")
    assert {p.dtype for p in loss.metric.parameters()} == {torch.float64}
    inside.to("meta")
    assert {p.device.type for p in loss.metric.parameters()} == {"meta"}


def test_autocast_and_half_images_cost_no_precision(pair, small) -> None:
    reference, distorted = pair
    loss = Distortion(small, calibration=KNOWN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(reference, distorted), loss(reference, distorted))
        inside = loss(reference, distorted)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(reference, distorted))
    rounded = distorted.bfloat16()
    assert torch.equal(loss(reference, rounded), loss(reference, rounded.float()))


def test_gradients_accumulate_over_parts_of_a_batch(pair, small) -> None:
    reference, distorted = pair
    loss = Distortion(small, calibration=KNOWN)
    whole = distorted.clone().requires_grad_()
    loss(reference, whole).backward()
    parts = distorted.clone().requires_grad_()
    for i in range(len(parts)):
        (loss(reference[i : i + 1], parts[i : i + 1]) / len(parts)).backward()
    torch.testing.assert_close(parts.grad, whole.grad, rtol=1e-5, atol=1e-10)
    together = distorted.clone().requires_grad_()
    sum(loss(reference[i : i + 1], together[i : i + 1]) for i in range(len(parts))).div(len(parts)).backward()
    torch.testing.assert_close(together.grad, whole.grad, rtol=1e-5, atol=1e-10)


def windows(reference: Tensor, jitter: int) -> dict[tuple[int, int, bool], Tensor]:
    height, width = (side - jitter for side in reference.shape[-2:])
    cut = {
        (top, left, False): reference[..., top : top + height, left : left + width]
        for top, left in itertools.product(range(jitter + 1), repeat=2)
    }
    return cut | {(top, left, True): window.flip(-1) for (top, left, _), window in cut.items()}


def test_jitter_shows_the_same_window_of_both_images(pair) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watching(Mean):
        def _pair(self, reference: Tensor, distorted: Tensor) -> Tensor:
            seen.append((reference, distorted))
            return self._compare(reference, distorted)

    reference, distorted = pair
    loss = Distortion(Watching(), weight=1.0, jitter=2)
    for _ in range(150):
        loss(reference, distorted)
    of_reference, of_distorted = windows(reference, 2), windows(distorted, 2)
    places = set()
    for first, second in seen:
        (place,) = (place for place, window in of_reference.items() if torch.equal(window, first))
        assert torch.equal(of_distorted[place], second)
        places.add(place)
    assert places == set(of_reference)  # 9 shifts, flipped or not


def test_jitter_repeats_by_seed_and_rests_in_evaluation_mode(pair) -> None:
    def values(loss: Distortion, seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [loss(*pair).item() for _ in range(6)]

    loss = Distortion(Mean(), weight=1.0, jitter=5)
    first, again, other = (values(loss, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(set(first)) > 1
    plain = Distortion(Mean(), weight=1.0)
    assert set(values(loss.eval(), 0)) == set(values(plain, 0))


@pytest.mark.parametrize("reentrant", [False, True])
def test_under_gradient_checkpointing_a_jittered_loss_has_the_gradient_of_its_value(pair, small, reentrant) -> None:
    loss = Distortion(small, calibration=KNOWN, jitter=8)
    found = []
    for wrapped in (False, True):
        torch.manual_seed(3)
        at = pair[1].clone().requires_grad_()
        value = checkpoint(loss, pair[0], at, use_reentrant=reentrant) if wrapped else loss(pair[0], at)
        loss(*pair)  # another draw before the backward pass
        value.backward()
        found.append((value.detach(), at.grad))
    (value, gradient), (same, again) = found
    assert torch.equal(value, same)
    torch.testing.assert_close(again, gradient)


@pytest.mark.parametrize("transform", ["grad", "vjp"])
def test_functional_transforms_give_the_gradient(pair, small, transform) -> None:
    loss = Distortion(small, calibration=KNOWN)
    at = pair[1].clone().requires_grad_()
    loss(pair[0], at).backward()
    if transform == "grad":
        gradient = torch.func.grad(lambda y: loss(pair[0], y))(pair[1])
    else:
        value, pull = torch.func.vjp(lambda y: loss(pair[0], y), pair[1])
        (gradient,) = pull(torch.ones_like(value))
    torch.testing.assert_close(gradient, at.grad)


def test_reduction_and_default_metric(pair, small) -> None:
    each = Distortion(small, calibration=KNOWN, reduction="none")(*pair)
    assert each.shape == (len(pair[0]),)
    for reduction, want in (("mean", each.mean()), ("sum", each.sum())):
        torch.testing.assert_close(Distortion(small, calibration=KNOWN, reduction=reduction)(*pair), want)
    with pytest.raises(UsageError, match="reduction must be none, mean or sum; got 'max'"):
        Distortion(small, reduction="max")
    assert Distortion().metric.name == pim.load().name


def test_jitter_leaves_the_metric_enough_to_see(random_images) -> None:
    images = random_images(1, 8, 9)
    Distortion(Mean(), weight=1.0, jitter=5)(images, images)


def test_copies_and_pickles_give_the_same_loss(pair, small) -> None:
    loss = Distortion(small, calibration=KNOWN)
    twins = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))]
    value = loss(*pair).item()
    assert [twin(*pair).item() for twin in twins] == [value, value]
    assert twins[0].metric is not loss.metric


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_code_has_the_gradient_where_borders_are_repeated(random_images) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    form = PIMConfig(filters=(3,), kernel=3, scales=1, encoder_layers=0, high_pass=False, grouped=True, surround=3)
    metric = PIM(dataclasses.replace(form, padding="replicate")).eval().requires_grad_(False)
    reference, distorted = random_images(1, 32, 32), random_images(1, 32, 32, seed=1)
    gradients = []
    for call in (metric, torch.compile(metric, fullgraph=True)):
        at = distorted.clone().requires_grad_()
        call(reference, at).sum().backward()
        gradients.append(at.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pim", "nlpd"])
@pytest.mark.usefixtures("fresh_compiler")
def test_the_loss_compiles_into_one_graph_with_its_checks(random_images, name) -> None:
    torch.compiler.reset()
    reference = random_images(2, 70, 73)
    distorted = (reference + 0.2 * random_images(2, 70, 73, seed=1) - 0.1) * 1.1
    loss = Distortion(name, calibration=KNOWN, jitter=3)
    compiled = torch.compile(copy.deepcopy(loss), fullgraph=True, backend="aot_eager")
    for step in range(3):
        found = []
        for each in (loss, compiled):
            torch.manual_seed(step)
            at = distorted.clone().requires_grad_()
            value = each(reference, at)
            value.backward()
            found.append((value.detach(), at.grad))
        (value, gradient), (compiled_value, compiled_gradient) = found
        torch.testing.assert_close(compiled_value, value, rtol=1e-5, atol=1e-9)
        # The compiled one filters in another way, which rounds otherwise, at the kinks of a few ReLUs too.
        assert (compiled_gradient - gradient).norm() < 1e-2 * gradient.norm()
    with pytest.raises(RuntimeError, match=r"finite and lie in \[0, 1\]"):
        compiled(reference, distorted * math.nan)
    with pytest.raises(RuntimeError, match=r"finite and lie in \[0, 1\]"):
        compiled(reference * 255, distorted)


class Step(nn.Module):
    """A decoder that gives its own loss, as some training loops want it."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder = nn.Conv2d(3, 3, 3, padding=1)
        self.loss = Distortion(metric, calibration=KNOWN, in_state=True)

    def forward(self, reference: Tensor) -> Tensor:
        return self.loss(reference, self.decoder(reference))


def _train_in_parallel(rank: int, folder: str, metric: Metric, images: Tensor) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(Step(metric))
    optimiser = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(2):
        optimiser.zero_grad()
        model(images[2 * rank : 2 * rank + 2]).backward()
        optimiser.step()
    torch.save(model.module.state_dict(), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()
    os._exit(0)  # a thread that gloo leaves behind can abort the usual exit, after all is done


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_whole_batch(random_images, small, tmp_path) -> None:
    images = random_images(4, 32, 35)
    torch.multiprocessing.spawn(_train_in_parallel, (str(tmp_path), small, images), nprocs=2)
    alone = Step(small)
    optimiser = torch.optim.SGD(alone.parameters(), 1.0)
    for _ in range(2):
        optimiser.zero_grad()
        alone(images).backward()
        optimiser.step()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=2e-6)
    assert (alone.decoder.weight - Step(small).decoder.weight).abs().max() > 1e-2


def test_a_step_of_training_lowers_it(pair, small) -> None:
    loss = Distortion(small, calibration=KNOWN, jitter=2)
    at = pair[1].clone().requires_grad_()
    optimiser = torch.optim.Adam([at], 0.002)
    before = loss.eval()(*pair).item()
    for _ in range(10):
        optimiser.zero_grad()
        loss.train()(pair[0], at).backward()
        optimiser.step()
    assert loss.eval()(pair[0], at).item() < 0.8 * before


def test_the_package_offers_it_lazily() -> None:
    assert pim.loss.Distortion is Distortion


def test_an_aligned_loss_descends_with_the_displacement_held_fixed() -> None:
    whole = torch.nn.functional.pad(standard_picture(), (4, 4, 4, 4), mode="reflect")
    reference, wanted = whole[..., 20:116, 20:116], whole[..., 18:114, 17:113]  # 3 px to the right, 2 px down
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    image = (wanted + 0.1 * noise).clamp(0, 1).requires_grad_()
    loss, plain = (Distortion("pim", calibration=KNOWN, align=align) for align in (True, False))
    optimiser = torch.optim.Adam([image], 0.01)
    start, before = loss(reference, image).item(), plain(reference, image).item()
    assert start < before / 2
    for _ in range(25):
        optimiser.zero_grad()
        loss(reference, image).backward()
        optimiser.step()
    assert loss(reference, image).item() < start / 4
    inner = (..., slice(8, -8), slice(8, -8))
    left, was = ((found - wanted)[inner].square().mean().item() for found in (image.detach(), wanted + 0.1 * noise))
    assert left < was / 4  # the picture stays where it lay
    single = loss.terms(reference[0], image[0])
    torch.testing.assert_close(single.loss, loss(reference, image), rtol=1e-5, atol=0)
    assert single.perceptual.item() < plain.terms(reference, image).perceptual.item() / 4


def test_an_aligned_loss_of_pictures_that_are_not_displaced_is_the_plain_one(pair, small) -> None:
    plain, aligned = (Distortion(small, calibration=KNOWN, align=align) for align in (False, True))
    torch.testing.assert_close(aligned(*pair), plain(*pair), rtol=1e-5, atol=0)
