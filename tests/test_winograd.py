"""Fast convolutions against the plain ones in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vggmetric import winograd


def convolution(channels: int, out: int) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(channels, out, 3, padding=1).requires_grad_(False)


def features(count: int, channels: int, height: int, width: int) -> Tensor:
    values = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(2))
    return values.contiguous(memory_format=torch.channels_last)


def exact(values: Tensor, layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return F.conv2d(values.double(), layer.weight.double(), layer.bias.double(), padding=1)


@pytest.mark.parametrize("at_once", [1, 1 << 19])
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (30, 19), (4, 70)])
def test_it_is_the_convolution_for_any_size_and_in_any_strips(size, at_once, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    layer, values = convolution(20, 5), features(2, 20, *size)
    want = exact(values, layer)
    found = winograd.convolve(values, layer, winograd.Room())
    torch.testing.assert_close(found.double(), want, rtol=0, atol=3e-6 * float(want.abs().max()))


def test_in_float64_polynomials_multiply_exactly() -> None:
    back, kernel, into = winograd.matrices(winograd.POINTS)
    signal, taps = torch.rand(6, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    want = [float(signal[i : i + 3] @ taps) for i in range(4)]
    torch.testing.assert_close(
        torch.from_numpy(back @ ((kernel @ taps.numpy()) * (into @ signal.numpy()))), torch.tensor(want).double()
    )


def test_an_image_has_the_same_bits_in_any_batch() -> None:
    layer, values, room = convolution(32, 16), features(3, 32, 24, 37), winograd.Room()
    values[2] = values[0]
    together = winograd.convolve(values, layer, room)
    assert torch.equal(together[0], together[2])
    for image, found in zip(values, together, strict=True):
        assert torch.equal(winograd.convolve(image[None], layer, room)[0], found)


def test_weights_that_changed_are_transformed_anew() -> None:
    layer, values, room = convolution(16, 4), features(1, 16, 16, 16), winograd.Room()
    before = winograd.convolve(values, layer, room)
    layer.weight.mul_(2)
    layer.bias.mul_(2)
    torch.testing.assert_close(winograd.convolve(values, layer, room), 2 * before)


def test_graphs_transforms_small_images_and_float64_take_the_plain_way() -> None:
    layer, large = convolution(16, 4), features(1, 16, 16, 16)
    assert not winograd.suits(large, layer)  # a graph may be recorded
    seen = []
    with torch.no_grad():
        assert winograd.suits(large, layer)
        assert not winograd.suits(large[..., :12], layer)
        assert not winograd.suits(large.double(), layer)
        assert not winograd.suits(features(1, 3, 64, 64), convolution(3, 4))
        torch.vmap(lambda image: seen.append(winograd.suits(image[None], layer)) or image)(large)
    assert seen == [False]
