from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pim.core.info import MetricInfo
from pim.core.metric import Metric, ensure_finite, full_precision
from pim.errors import InputError, PimError, UsageError

INFO = MetricInfo("toy", "a toy", lower_is_better=True, value_range=(0, math.inf), min_size=8, spatial=True)


class Toy(Metric):
    """Mean squared difference of the contrasts to the image mean; counts how often it analyses a reference."""

    info = INFO

    def __init__(self) -> None:
        super().__init__()
        self.analysed = 0

    def _analyse(self, image: Tensor) -> Tensor:
        self.analysed += 1
        return image - image.mean((1, 2, 3), keepdim=True)

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return self._compare_map(features, distorted).mean((1, 2, 3))

    def _compare_map(self, features: Tensor, distorted: Tensor) -> Tensor:
        contrast = distorted - distorted.mean((1, 2, 3), keepdim=True)
        return (features - contrast).square().mean(1, keepdim=True)


class Flat(Toy):
    """The toy without a map, under another name."""

    info = replace(INFO, name="flat", spatial=False)


class Weighted(Metric):
    """A toy with a weight."""

    info = INFO

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return self.scale * (features - distorted).square().mean((1, 2, 3))


@pytest.fixture
def pair(random_images) -> tuple[Tensor, Tensor]:
    return random_images(8, 13, 18), random_images(8, 13, 18, seed=1)


def _by_hand(a: Tensor, b: Tensor) -> Tensor:
    difference = a.double() - b.double()
    return (difference - difference.mean((1, 2, 3), keepdim=True)).square().mean((1, 2, 3))


def test_a_batch_gives_one_value_per_pair(pair) -> None:
    values = Toy()(*pair)
    assert values.shape == (8,)
    torch.testing.assert_close(values.double(), _by_hand(*pair), rtol=1e-5, atol=0)


def test_the_value_of_a_pair_does_not_depend_on_its_batch(pair) -> None:
    a, b = pair
    together = Toy()(a, b)
    for i in range(8):
        torch.testing.assert_close(Toy()(a[i : i + 1], b[i : i + 1])[0], together[i], rtol=1e-6, atol=0)


def test_a_single_pair_gives_a_single_number(pair) -> None:
    a, b = pair
    value = Toy()(a[0], b[0])
    assert value.shape == ()
    assert value == Toy()(a[:1], b[:1])[0]


def test_a_map_has_the_image_size_and_averages_to_the_value(pair) -> None:
    a, b = pair
    maps = Toy()(a, b, spatial=True)
    assert maps.shape == (8, 1, 13, 18)
    torch.testing.assert_close(maps.mean((1, 2, 3)), Toy()(a, b))
    assert torch.equal(Toy()(a[0], b[0], spatial=True), maps[0])


def test_a_map_of_a_metric_without_maps_is_refused_by_name(pair) -> None:
    with pytest.raises(UsageError, match="flat has no spatial map"):
        Flat()(*pair, spatial=True)


def test_a_prepared_reference_gives_the_same_bits_and_is_analysed_once(pair) -> None:
    a, b = pair
    metric = Toy()
    prepared = metric.prepare(a)
    values = [metric(prepared, candidate) for candidate in (b, a, b)]
    assert metric.analysed == 1
    assert torch.equal(values[0], Toy()(a, b))
    assert torch.equal(values[1], Toy()(a, a))
    assert torch.equal(metric(prepared, b, spatial=True), Toy()(a, b, spatial=True))


def test_a_prepared_single_image_gives_a_single_number(pair) -> None:
    a, b = pair
    assert Toy()(Toy().prepare(a[0]), b[0]).shape == ()


def test_two_prepared_images_give_the_value_of_the_pair(pair) -> None:
    a, b = pair
    metric = Toy()
    first, second = metric.prepare(a), metric.prepare(b)
    assert torch.equal(metric.compare(first, second), Toy()(a, b))
    assert torch.equal(metric.compare(second, second), Toy()(b, b))
    assert metric.analysed == 2
    single = metric.compare(metric.prepare(a[0]), metric.prepare(b[0]))
    assert single.shape == ()
    assert torch.equal(single, Toy()(a[0], b[0]))


def test_two_prepared_images_that_do_not_fit_are_refused(pair) -> None:
    a, b = pair
    metric = Toy()
    with pytest.raises(InputError, match="distorted must have the shape of reference"):
        metric.compare(metric.prepare(a), metric.prepare(b[..., :-1]))
    with pytest.raises(UsageError, match="prepared by flat, not by toy"):
        metric.compare(metric.prepare(a), Flat().prepare(b))
    with pytest.raises(InputError, match="both be single images or both be batches"):
        metric.compare(metric.prepare(a[:1]), metric.prepare(b[0]))
    with pytest.raises(UsageError, match="compare takes what prepare returned; got Tensor"):
        metric.compare(metric.prepare(a), b)


def test_the_reference_prepared_by_another_metric_or_other_weights_is_refused(pair) -> None:
    a, b = pair
    with pytest.raises(UsageError, match="prepared by flat, not by toy"):
        Toy()(Flat().prepare(a), b)
    trained = Toy()
    trained.weights_hash = "0123456789abcdef"
    with pytest.raises(UsageError, match="prepared by toy@0123456789ab, not by toy"):
        Toy()(trained.prepare(a), b)


@pytest.mark.parametrize("prepared", [False, True])
def test_one_image_is_never_broadcast_against_a_batch(pair, prepared) -> None:
    a, b = pair
    reference = Toy().prepare(a[:1]) if prepared else a[:1]
    with pytest.raises(InputError, match="shape of reference"):
        Toy()(reference, b)
    with pytest.raises(InputError, match="both be single images or both be batches"):
        Toy()(Toy().prepare(a[0]) if prepared else a[0], b[:1])


@pytest.mark.parametrize("prepared", [False, True])
def test_the_distorted_image_is_checked(pair, prepared) -> None:
    a, b = pair
    reference = Toy().prepare(a) if prepared else a
    for wrong, message in [
        (b * 255, "^distorted must lie in .*0..255"),
        ((b * 255).byte(), "^distorted must be floating point"),
        (b.permute(0, 2, 3, 1), "^distorted must have shape"),
        (b[..., 1:], "^distorted must have the shape of reference"),
        (b[..., 11:], "for toy; distorted is 7 x 13"),
        (b.to("meta"), "^distorted must be on the device of reference, cpu; got meta"),
    ]:
        with pytest.raises(InputError, match=message):
            Toy()(reference, wrong)


@pytest.mark.parametrize("door", ["forward", "prepare"])
def test_the_reference_is_checked(pair, door) -> None:
    a, b = pair
    for wrong, message in [
        (a * 2 - 1, r"^reference must lie in .*\[-1, 1\]"),
        (a[:, :1], "^reference must have shape"),
        (a[:0], "^reference is empty"),
        (a[..., 11:], "for toy; reference is 7 x 13"),
    ]:
        with pytest.raises(InputError, match=message):
            Toy().prepare(wrong) if door == "prepare" else Toy()(wrong, b)


def test_images_on_another_device_than_the_weights_are_refused(pair) -> None:
    a, b = pair
    with pytest.raises(InputError, match="reference is on cpu, toy is on meta; move one"):
        Weighted().to("meta")(a, b)


def test_precision_follows_the_weights_or_without_weights_the_images(pair) -> None:
    a, b = pair
    assert Weighted().double()(a, b).dtype == torch.float64
    assert Weighted()(a.double(), b.double()).dtype == torch.float32
    assert Toy()(a.double(), b.double()).dtype == torch.float64
    assert Toy()(a.half(), b.half()).dtype == torch.float32


def test_convolutions_on_gpus_are_not_rounded_to_tf32() -> None:
    """As far as a machine without one can tell: the switch that convolutions read is off inside, then back."""
    on_gpu, switch = SimpleNamespace(device=torch.device("cuda")), torch.backends.cudnn.conv
    before = switch.fp32_precision
    assert before != "ieee"

    def fails() -> None:
        with full_precision(on_gpu):
            assert switch.fp32_precision == "ieee"
            torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))  # reads the switch on every device
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert switch.fp32_precision == before
    with full_precision(torch.ones(1)):
        assert switch.fp32_precision == before


def test_autocast_does_not_lower_the_precision(pair) -> None:
    class Matrix(Toy):
        def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
            return (features.flatten(1) @ distorted.flatten(1).T).diagonal()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Matrix()(*pair)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, Matrix()(*pair))


def test_gradients_reach_both_images(pair) -> None:
    a, b = (image.clone().requires_grad_() for image in pair)
    Toy()(a, b).sum().backward()
    torch.testing.assert_close(a.grad, -b.grad)
    assert float(a.grad.abs().max()) > 0


def test_overshoot_of_a_thousandth_is_accepted_and_kept(pair) -> None:
    a, b = pair
    over = b.clone()
    over[0, 0, 0, 0] = 1.001
    torch.testing.assert_close(Toy()(a, over).double(), _by_hand(a, over), rtol=1e-5, atol=0)


def test_name_and_direction_can_be_read() -> None:
    assert (Toy().name, Toy().lower_is_better, Toy().device) == ("toy", True, None)
    assert Weighted().device == torch.device("cpu")


def test_a_metric_survives_copying_and_pickling(pair) -> None:
    metric = Weighted()
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert torch.equal(twin(*pair), metric(*pair))


@pytest.mark.usefixtures("fresh_compiler")
def test_the_whole_call_compiles_into_one_graph_and_still_refuses_bad_values(pair) -> None:
    a, b = pair
    compiled = torch.compile(Toy(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(a, b), Toy()(a, b))
    with pytest.raises(RuntimeError, match=r"finite and lie in \[0, 1\]"):
        compiled(a, b * 255)


def test_the_whole_call_exports_with_its_check(pair) -> None:
    a, b = pair
    program = torch.export.export(Toy(), (a, b)).module()
    torch.testing.assert_close(program(a, b), Toy()(a, b))
    with pytest.raises(RuntimeError, match=r"finite and lie in \[0, 1\]"):
        program(a, b * 255)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_an_error_that_names_the_pair(bad) -> None:
    with pytest.raises(PimError, match=f"^toy of b.png is {bad}"):
        ensure_finite(torch.tensor([1.0, bad]), INFO, ["a.png", "b.png"])


def test_only_an_unbounded_similarity_may_be_infinite_and_only_at_its_best() -> None:
    decibels = replace(INFO, name="psnr", lower_is_better=False)
    values = torch.tensor([30.0, math.inf])
    assert ensure_finite(values, decibels, ["a", "b"]) is values
    with pytest.raises(PimError, match="^psnr of a is -inf"):
        ensure_finite(-values[1:], decibels, ["a"])
    with pytest.raises(PimError, match="^ssim of b is inf"):
        ensure_finite(values, replace(decibels, name="ssim", value_range=(-1.0, 1.0)), ["a", "b"])
