"""Networks whose outputs are whole numbers, the same on every machine.

What decides which table codes a symbol must not depend on the order of a sum. So outside training the
networks behind the prior compute with whole numbers: activations in steps of 2^-10, weights in steps
of 2^-14. They are kept in float64, where every sum below 2^53 is exact in any order, with any number
of threads, in any library.

Source: arXiv 1905.08635 (integer networks), with finer steps instead of training for coarse ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pim.errors import WeightsError
from pim.pim.networks import Modules

ACTIVATION_BITS, WEIGHT_BITS = 10, 14  # fractional bits
MEAN_BITS = 4  # fractional bits of predicted means
LARGEST_ACTIVATION = 2.0 ** (12 + ACTIVATION_BITS)  # whole steps; beyond that activations saturate
EXACT = 2.0**52  # no sum may reach this
SLOPE_BITS = 7  # leaky slope 2^-7, near the usual 0.01


Layer = nn.Conv2d | nn.ConvTranspose2d


class Whole(NamedTuple):
    """A layer in whole numbers, float64: weight in steps of 2^-14, bias in steps of 2^-24."""

    weight: Tensor
    bias: Tensor


class PriorNet(nn.Module):
    """A chain of convolutions with leaky rectifiers between them: in floats for training, in whole numbers else."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers: Modules[Layer] = Modules(layers)

    def forward(self, x: Tensor) -> Tensor:
        """The output in floats, with gradient."""
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < last:
                x = F.leaky_relu(x, 2.0**-SLOPE_BITS)
        return x

    def whole(self) -> list[Whole]:
        """Weights and biases in whole numbers.

        Raises:
            WeightsError: if a sum could leave the range in which it is exact.
        """
        out = []
        for i, layer in enumerate(self.layers):
            weight = torch.round(layer.weight.detach().cpu().double() * 2.0**WEIGHT_BITS)
            assert layer.bias is not None
            bias = torch.round(layer.bias.detach().cpu().double() * 2.0 ** (WEIGHT_BITS + ACTIVATION_BITS))
            inputs = (0, 2, 3) if isinstance(layer, nn.ConvTranspose2d) else (1, 2, 3)
            largest = weight.abs().sum(inputs) * LARGEST_ACTIVATION + bias.abs()
            if not (largest < EXACT).all():  # not finite is refused too
                raise WeightsError(
                    f"layer {i} of a network behind the prior has weights too large for exact sums "
                    f"(up to {float(layer.weight.detach().abs().max()):.3g}); train again, with a smaller learning rate"
                )
            out.append(Whole(weight, bias))
        return out

    def exact(self, x: Tensor, whole: list[Whole]) -> Tensor:
        """Sum up the last layer in whole numbers, steps of 2^-24, not rounded, from activations in steps of 2^-10.

        Both are (N, C, h, w) in float64; `whole` comes from the method of that name.
        """
        last = len(self.layers) - 1
        for i, (layer, (weight, bias)) in enumerate(zip(self.layers, whole, strict=True)):
            x = _convolve(layer, x, weight, bias)
            if i < last:
                x = activate(x)
        return x


def _convolve(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of a layer with other weights."""
    assert not isinstance(layer.padding, str)
    if isinstance(layer, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, weight, bias, layer.stride, layer.padding, layer.output_padding)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding)


def activate(sums: Tensor) -> Tensor:
    """Leaky rectifier and rounding: sums in steps of 2^-24 to activations in steps of 2^-10."""
    return saturate(torch.where(sums < 0, sums * 2.0**-SLOPE_BITS, sums))


def saturate(sums: Tensor) -> Tensor:
    """Rounding alone: sums in steps of 2^-24 to activations in steps of 2^-10."""
    return round_to(sums, ACTIVATION_BITS).clamp(-LARGEST_ACTIVATION, LARGEST_ACTIVATION)


def round_to(sums: Tensor, bits: int) -> Tensor:
    """Sums in steps of 2^-24 to whole numbers in steps of 2^-bits, to the nearest, halves up."""
    return torch.floor(sums * 2.0 ** (bits - WEIGHT_BITS - ACTIVATION_BITS) + 0.5)


def activations(values: Tensor) -> Tensor:
    """Values on a grid of 2^-10 or coarser as activations in whole steps, float64 on the CPU."""
    steps = values.detach().cpu().double() * 2.0**ACTIVATION_BITS
    return steps.clamp(-LARGEST_ACTIVATION, LARGEST_ACTIVATION)


def grid(values: Tensor) -> Tensor:
    """Values to the nearest step of predicted means, 1/16, in their own precision."""
    return torch.round(values * 2.0**MEAN_BITS) / 2.0**MEAN_BITS


def bytes_of(nets: Iterable[list[Whole]]) -> bytes:
    """All whole numbers as bytes, for hashes."""
    return b"".join(part.numpy().astype("<i8").tobytes() for net in nets for layer in net for part in layer)
