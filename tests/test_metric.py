from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pim
from pim.core.device import full_precision
from pim.core.float32 import Float32
from pim.core.info import MetricInfo
from pim.core.metric import Metric, ensure_finite
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_casts_to_half_move_a_metric_but_leave_its_weights_in_float32(pair, dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1))
    model.metric = Weighted()
    model.to(dtype)
    assert model[0].weight.dtype == dtype
    assert model.metric.scale.dtype == torch.float32
    a, b = (image.to(dtype) for image in pair)
    assert torch.equal(model.metric(a, b), Weighted()(a.float(), b.float()))
    assert model.double().metric.scale.dtype == torch.float64
    assert model.to("meta").half().metric.scale.device.type == "meta"


def test_what_another_or_a_changed_model_prepared_is_refused(pair) -> None:
    a, b = pair
    metric, other = Weighted(), Weighted()
    prepared = metric.prepare(a)
    with pytest.raises(UsageError, match="prepared by another toy"):
        other(prepared, b)
    with pytest.raises(UsageError, match="prepared by another toy"):
        copy.deepcopy(metric)(prepared, b)
    metric(prepared, b)
    with torch.no_grad():
        metric.scale.mul_(2)
    with pytest.raises(UsageError, match="before its weights changed; prepare it again"):
        metric(prepared, b)
    prepared = metric.prepare(a)
    metric.load_state_dict(other.state_dict())
    with pytest.raises(UsageError, match="before its weights changed"):
        metric.compare(prepared, metric.prepare(b))


def test_a_metric_of_a_file_is_that_of_the_file_until_its_weights_change(pair) -> None:
    a, b = pair
    metric, same = Weighted(), Weighted()
    metric.weights_hash = same.weights_hash = "0123456789abcdef"
    same(metric.prepare(a), b)
    twin = copy.deepcopy(metric).double()
    assert twin.weights_hash == "0123456789abcdef"
    with torch.no_grad():
        twin.scale.mul_(2)
    assert twin.weights_hash is None
    assert metric.weights_hash is not None


def test_operators_without_tf32_have_the_values_and_gradients_of_the_usual_ones() -> None:
    """On a machine without a GPU: what replaces them is the same mathematics, in forward and in backward."""
    draw = torch.Generator().manual_seed(0)

    def r(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=draw, requires_grad=True)

    f = nn.functional
    cases = [
        (lambda x, w, b: f.conv2d(x, w, b, (2, 3), (1, 2), (1, 2)), (r(2, 3, 17, 19), r(4, 3, 3, 5), r(4))),
        (lambda x, w: f.conv2d(x, w, stride=2, padding=3, groups=3), (r(2, 3, 16, 19), r(3, 1, 7, 7))),
        (lambda x, w: f.conv2d(x, w, padding="same"), (r(3, 16, 19), r(3, 3, 3, 5))),
        (lambda x, w: f.conv1d(x, w, padding="valid"), (r(2, 3, 19), r(3, 3, 5))),
        (
            lambda x, w: f.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
            (r(2, 3, 16, 19), r(3, 2, 4, 5)),
        ),
        (lambda a, b: a @ b, (r(2, 1, 5, 6), r(3, 6, 4))),
        (lambda a, b: torch.mm(a, b.T), (r(5, 6), r(4, 6))),
        (lambda a, b: a @ b, (r(5, 6), r(6))),
        (torch.baddbmm, (r(7, 1), r(2, 7, 3), r(2, 3, 5))),
        (f.linear, (r(2, 3, 4), r(5, 4), r(5))),
    ]
    for compute, inputs in cases:
        usual = compute(*inputs)
        with Float32():
            exact = compute(*inputs)
        torch.testing.assert_close(exact, usual)
        for ours, theirs in zip(*(torch.autograd.grad(v.square().sum(), inputs) for v in (exact, usual)), strict=True):
            torch.testing.assert_close(ours, theirs)
    names = {type(v.grad_fn).__name__ for v in (exact, usual)}
    assert len(names) == 2  # they are not the same operators


def test_on_a_gpu_what_is_recorded_asks_for_no_tf32_and_no_switch_of_the_process_moves() -> None:
    asked = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.ops.aten._convolution.default:
                asked.append(args[12])
            assert func not in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
            return func(*args, **(kwargs or {}))

    image = torch.rand(1, 3, 9, 9, requires_grad=True)
    before = torch.backends.cudnn.conv.fp32_precision, torch.get_float32_matmul_precision()
    with Watch():
        with full_precision(torch.device("cuda")):
            value = nn.functional.conv2d(image, torch.rand(3, 3, 3, 3)) @ torch.rand(7, 7)
            assert (torch.backends.cudnn.conv.fp32_precision, torch.get_float32_matmul_precision()) == before
        value.sum().backward()
    assert asked == [False] * 4


@pytest.mark.parametrize("name", ["pim", "pim-1", "nlpd", "ssim"])
def test_vmap_gives_the_values_of_single_pairs(name: str, random_images) -> None:
    first, second = random_images(2, 80, 96), random_images(2, 80, 96, seed=1)
    metric = pim.load(name)
    torch.testing.assert_close(torch.vmap(metric)(first, second), metric(first, second))


def test_values_are_checked_under_vmap(random_images) -> None:
    first, second = random_images(2, 80, 96), 255 * random_images(2, 80, 96, seed=1)
    with pytest.raises(InputError, match="distorted must lie in"):
        torch.vmap(pim.load("ssim"))(first, second)
