"""The codecs: what comes out of a file is what the evaluation promised, bit for bit, on any machine."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ntc_toys import codec, picture
from torch import nn
from torch.nn import functional as F

from ntc import coding
from ntc.models import fixedpoint, transforms
from ntc.models.autoregressive import Joint, MaskedConv2d, causal_mask, diagonals
from ntc.models.config import KINDS, CodecConfig
from ntc.models.exchange import Measure
from ntc.models.fixedpoint import PriorNet
from ntc.models.latents import Proxy, soft_index
from pim.errors import InputError, UsageError, WeightsError


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


# Layers


def test_strided_convolutions_see_the_pixels_that_those_of_the_public_code_see(golden):
    arrays = golden("ntc_tfc")
    image = tensor(arrays["sc_img"]).permute(0, 3, 1, 2)
    kernel = tensor(arrays["sc_kernel"])
    layer = transforms.down(2, 3).double()
    layer.weight.data, layer.bias.data = kernel.permute(3, 2, 0, 1), torch.zeros(3).double()
    assert (layer(image).permute(0, 2, 3, 1) - tensor(arrays["sc_down2"])).abs().max() < 1e-5
    layer = transforms.up(2, 3).double()
    layer.weight.data, layer.bias.data = kernel.permute(2, 3, 0, 1), torch.zeros(3).double()
    assert (layer(image).permute(0, 2, 3, 1) - tensor(arrays["sc_up2"])).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["A", "B"])
def test_masked_convolutions_see_only_the_past(golden, kind):
    arrays = golden("ntc_numpy")
    assert torch.equal(causal_mask(5, centre=kind == "B"), tensor(arrays[f"mask_{kind}_5x5"]).float())
    layer = MaskedConv2d(2, 4, 5, centre=kind == "B").double()
    layer.weight.data, layer.bias.data = tensor(arrays["mc_w"]), tensor(arrays["mc_b"])
    assert (layer(tensor(arrays["mc_x"])) - tensor(arrays[f"mc_y_{kind}"])).abs().max() < 1e-10


def test_tiles_give_what_the_whole_image_gives():
    torch.manual_seed(0)
    config = CodecConfig(widths=(3, 4, 5), latents=4)
    forward, backward = transforms.analysis(config), transforms.synthesis(config)
    with torch.no_grad():
        image, latents = torch.rand(1, 3, 16 * 11, 16 * 7), 3 * torch.randn(1, 4, 11, 7)
        for tile in (1, 2, 4, 5):
            whole = forward(image)
            assert (transforms.analyse(forward, image, tile) - whole).abs().max() < 1e-4 * whole.abs().max()
            whole = backward(latents)
            assert (transforms.synthesise(backward, latents, tile) - whole).abs().max() < 1e-4 * whole.abs().max()


# Networks in whole numbers


def net_and_input(seed=0, channels=24):
    torch.manual_seed(seed)
    net = PriorNet(
        transforms.up(channels, channels), transforms.up(channels, channels), nn.Conv2d(channels, 6, 3, padding=1)
    )
    return net, fixedpoint.activations(fixedpoint.grid(20 * torch.randn(2, channels, 5, 7)))


def permuted(net, order):
    """The same network with the channels between its layers in another order: sums run in another order."""
    other = copy.deepcopy(net)
    first, second, third = other.layers
    first.weight.data, first.bias.data = first.weight[:, order], first.bias[order]
    second.weight.data = second.weight[order][:, order]
    second.bias.data = second.bias[order]
    third.weight.data = third.weight[:, order]
    return other


def test_whole_numbers_do_not_depend_on_the_order_of_sums_and_floats_do():
    net, x = net_and_input()
    for layer in net.whole():
        assert all(torch.equal(part, part.round()) for part in layer)
    other = permuted(net, torch.randperm(24))
    assert torch.equal(net.exact(x, net.whole()), other.exact(x, other.whole()))
    floats = x.float() / 1024
    assert not torch.equal(net(floats), other(floats))


def test_whole_numbers_do_not_depend_on_threads_layout_batch_or_denormals():
    net, x = net_and_input(1)
    whole = net.whole()
    want = net.exact(x, whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(net.exact(x, whole), want)
        torch.set_flush_denormal(True)
        assert torch.equal(net.exact(x, whole), want)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    assert torch.equal(net.exact(x.contiguous(memory_format=torch.channels_last), whole), want)
    assert torch.equal(net.exact(x[1:], whole), want[1:])
    assert torch.equal(net.exact(torch.cat([x, x.flip(0)]), whole)[:2], want)


def test_whole_numbers_are_near_the_floats_of_training():
    net, x = net_and_input(2)
    with torch.no_grad():
        near = net.double()(x / 1024)
    assert (net.exact(x, net.whole()) / 2.0**24 - near).abs().max() < 0.02


def test_weights_that_could_leave_the_exact_range_are_refused():
    net, _ = net_and_input()
    net.layers[1].weight.data.mul_(1e6)
    with pytest.raises(WeightsError, match="layer 1"):
        net.whole()
    net.layers[1].weight.data.fill_(float("nan"))
    with pytest.raises(WeightsError, match="layer 1"):
        net.whole()


def test_rounding_of_sums_is_to_the_nearest_with_halves_up_and_leaks_below_zero():
    step = 2.0**14  # of activations, in steps of sums
    sums = torch.tensor([0.5, 1.49, -0.5, 2.5], dtype=torch.float64) * step
    assert fixedpoint.saturate(sums).tolist() == [1, 1, 0, 3]
    assert fixedpoint.activate(torch.tensor([-128.0, -64.0, 3.0], dtype=torch.float64) * step).tolist() == [-1, 0, 3]
    huge = torch.tensor([1e15, -1e15], dtype=torch.float64)
    assert fixedpoint.saturate(huge).tolist() == [2.0**22, -(2.0**22)]


# Diagonals


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (4, 4), (5, 9), (8, 4)])
def test_diagonals_visit_every_position_after_all_that_it_looks_at(size):
    time = torch.full(size, -1)
    for t, (rows, columns) in enumerate(diagonals(size)):
        assert (time[rows, columns] == -1).all()
        time[rows, columns] = t
    assert (time >= 0).all()
    assert len(diagonals(size)) <= size[1] + 3 * (size[0] - 1)
    for r in range(size[0]):
        for c in range(size[1]):
            for dr, dc in causal_mask(5, centre=False).nonzero().tolist():
                row, column = r + dr - 2, c + dc - 2
                if 0 <= row < size[0] and 0 <= column < size[1]:
                    assert time[row, column] < time[r, c]


def test_the_joint_codec_agrees_with_a_plain_loop_over_positions():
    made = codec("joint")
    assert isinstance(made, Joint)
    y = 3 * torch.randn(1, 8, 4, 8, generator=torch.Generator().manual_seed(0))
    hyper, context, parameters = made.prior_nets()
    with torch.no_grad():
        got = made.exact(y, (4, 8), Measure())
        offset = made.hyper_prior.offset[:, None, None]
        z = torch.round(made.hyper_analysis(y) - offset) + offset
        side = fixedpoint.saturate(hyper.exact(fixedpoint.activations(z), hyper.whole()))
        latents = torch.zeros(1, 8, 4, 8)
        for r in range(4):
            for c in range(8):
                seen = fixedpoint.saturate(context.exact(fixedpoint.activations(latents), context.whole()))
                both = parameters.exact(torch.cat([side, seen], 1), parameters.whole())[0, :, r, c] / 2.0**24
                mean = torch.floor(both[8:] * 16 + 0.5) / 16
                k = torch.round(y[0, :, r, c] - mean.float())
                latents[0, :, r, c] = k + mean.float()
    assert torch.equal(got, latents)


# Codecs


def sizes():
    """Heights 1 to 70 with widths all over 1 to 50."""
    return [(h, 1 + (37 * h) % 50) for h in range(1, 71)] + [(70, 50), (1, 50), (70, 1)]


def check_round_trip(made, image, quality):
    data = coding.compress(made, image, quality)
    decoded = coding.decompress(made, data)
    promised = made(image, made.level(quality or 0))
    assert torch.equal(decoded, promised.image)
    bits = float(sum(part.sum() for part in promised.bits.values()))
    height, width = image.shape[-2:]
    stream = 8 * (len(data) - coding.overhead(data))
    assert abs(stream - bits) <= 0.001 * bits + 64
    assert decoded.shape == (1, 3, height, width)
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_comes_back_as_the_evaluation_promised(kind):
    made = codec(kind)
    for i, (height, width) in enumerate(sizes()):
        check_round_trip(made, picture(height, width, seed=i), quality=(i * 37) % 256)


@pytest.mark.parametrize("kind", KINDS)
def test_codecs_for_one_lambda_work_alike(kind):
    made = codec(kind, lambdas=(0.01,))
    check_round_trip(made, picture(40, 70), None)
    with pytest.raises(UsageError, match="one quality"):
        coding.compress(made, picture(40, 70), 10)


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_thread_wrote_two_read(kind):
    made = codec(kind, width=16, latents=20)
    data = coding.compress(made, picture(200, 130), 255)
    threads = torch.get_num_threads()
    one = coding.decompress(made, data)
    try:
        torch.set_num_threads(2)
        two = coding.decompress(made, data)  # would fail on its checksum if a single symbol differed
    finally:
        torch.set_num_threads(threads)
    assert (one - two).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["scale", "mean-scale", "joint"])
def test_what_networks_behind_the_prior_get_are_whole_numbers(kind):
    offset = codec(kind).hyper_prior.offset
    assert offset.abs().max() > 0
    steps = fixedpoint.activations(torch.arange(-3, 4)[:, None] + offset)
    assert torch.equal(steps, steps.round())


def test_images_of_many_tiles_come_back():
    check_round_trip(codec("mean-scale"), picture(700, 1100), 128)


def test_more_quality_takes_more_bits_and_finer_steps():
    made = codec("mean-scale")
    image = picture(64, 128)
    lengths = [len(coding.compress(made, image, quality)) for quality in (0, 64, 128, 255)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_batches_are_measured_image_by_image():
    made = codec("scale")
    images = torch.cat([picture(40, 50, seed) for seed in range(3)])
    together = made(images, 0.5)
    for i in range(3):
        alone = made(images[i : i + 1], 0.5)
        assert torch.equal(alone.image[0], together.image[i])
        assert alone.bits_per_pixel()[0] == together.bits_per_pixel()[i]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounding", ["noise", "mixed", "straight", "dither", "soft"])
def test_training_gives_finite_gradients_to_every_weight(kind, rounding):
    made = copy.deepcopy(codec(kind)).train()
    made.zero_grad()
    coded = made(torch.cat([picture(64, 128), picture(64, 128, 1)]), torch.tensor([0.0, 0.6]), Proxy(rounding))
    (coded.bits_per_pixel().sum() + coded.image.square().sum()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_of_training_is_near_that_of_files(kind):
    made = copy.deepcopy(codec(kind))
    image = picture(256, 320)
    exact = float(made(image, 1.0).bits_per_pixel())
    made.train()
    torch.manual_seed(0)
    with torch.no_grad():
        noisy = float(made(image, 1.0, Proxy("noise")).bits_per_pixel())
    assert noisy == pytest.approx(exact, rel=0.25)


def test_soft_index_stays_in_the_table_and_lets_gradients_lead_back():
    raw = torch.tensor([-3.0, 2.0, 99.0], requires_grad=True)
    index = soft_index(raw)
    assert index.tolist() == [0, 16, 63]
    index.sum().backward()
    assert raw.grad.tolist() == [0, 8, 8]  # descent lowers the index: only the one below 0 must not go further
    raw.grad = None
    (-soft_index(raw)).sum().backward()
    assert raw.grad.tolist() == [-8, -8, 0]


def test_codecs_refuse_what_they_cannot_code():
    made = codec("mean-scale")
    good = picture(20, 30)
    for wrong, message in (
        (good * 255, "0..255"),
        (good.masked_fill(good > 0.5, float("nan")), "NaN"),
        ((good * 255).to(torch.uint8), "floating point"),
        (good[:, :1], "three colour|gray"),
        (torch.cat([good, good]), "one image"),
    ):
        with pytest.raises(InputError, match=message):
            coding.compress(made, wrong, 10)
    with pytest.raises(UsageError, match="quality must lie"):
        coding.compress(made, good, 256)
    with pytest.raises(UsageError, match="level must lie"):
        made(good, 1.5)
    with pytest.raises(InputError, match="multiples of 64 pixels; got 30 x 20"):
        copy.deepcopy(made).train()(good)


def test_a_codec_without_tables_or_in_training_says_so():
    torch.manual_seed(0)
    fresh = copy.deepcopy(codec("factorised"))
    fresh.id = None
    with pytest.raises(UsageError, match="no tables yet"):
        fresh(picture(16, 16))
    with pytest.raises(UsageError, match="evaluation mode"):
        coding.compress(copy.deepcopy(codec("factorised")).train(), picture(16, 16))


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_other_weights_are_refused(kind):
    made = copy.deepcopy(codec(kind))
    data = coding.compress(made, picture(16, 16), 255)
    with torch.no_grad():
        next(iter(made.synthesis.parameters())).add_(1e-3)
    with pytest.raises(UsageError, match="stale"):
        coding.compress(made, picture(16, 16), 255)
    with pytest.raises(UsageError, match="stale"):
        coding.decompress(made, data)
    made.export()
    with pytest.raises(InputError, match="another codec"):
        coding.decompress(made, data)


def test_latents_that_are_not_finite_are_an_error():
    made = copy.deepcopy(codec("factorised"))
    with torch.no_grad():
        made.analysis[1].weight.fill_(float("inf"))
    with pytest.raises(InputError, match="not finite"):
        coding.compress(made, picture(16, 16), 0)


def test_impossible_settings_are_refused():
    wrong_widths = ({"widths": (4, 4)}, {"widths": (4, 4, 0)}, {"latents": 5000}, {"hyper": 0})
    for wrong in ({"kind": "other"}, {"lambdas": ()}, {"lambdas": (0.2, 0.1)}, {"lambdas": (0.0,)}, *wrong_widths):
        with pytest.raises(UsageError):
            CodecConfig(**wrong)
    with pytest.raises(UsageError, match="widht"):
        CodecConfig.from_dict({"widht": 3})
    assert CodecConfig.from_dict({"lambdas": [0.1, 0.2]}).conditioned


def test_leaky_slopes_of_training_and_of_whole_numbers_agree():
    x = torch.tensor([-4.0, 4.0])
    assert torch.equal(F.leaky_relu(x, 2.0**-fixedpoint.SLOPE_BITS), torch.tensor([-4.0 / 128, 4.0]))
