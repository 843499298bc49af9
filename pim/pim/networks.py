"""The networks of PIM, one set per band: convolutions, marginal encoder q(z|x), joint encoder p(z|x,y).

Source: arXiv 2006.06752 and its released code. Deviations: `mean="relu"` is the released
code (the mean is the last ReLU layer), `mean="linear"` the paper (one more linear layer); divisive normalisation of
the bands is possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pim.pim.config import PIMConfig
from pim.pim.filtering import Padding, sum_of, window_sums
from pim.pim.latent import Mixture

FEW = 16  # positions below which products of matrices round by their place in memory
CHANNELS = 3  # colours in, and features out of the published convolutions

Kind = TypeVar("Kind", bound=nn.Module)


class Modules(nn.ModuleList, Generic[Kind]):
    """A ModuleList that type checkers know the content of."""

    def __init__(self, modules: Iterable[Kind]) -> None:
        super().__init__(modules)

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Kind]: ...

        def __getitem__(self, index: int) -> Kind: ...  # type: ignore[override]


def per_position(layer: nn.Linear, features: Tensor) -> Tensor:
    """A dense layer at every position: (N, in, h, w) -> (N, out, h, w)."""
    if features.device.type != "cpu" and not torch.compiler.is_compiling():
        return F.conv2d(features, layer.weight[..., None, None], layer.bias)
    # A product of matrices: as a 1x1 convolution it takes up to fifty times as long on a CPU, depending on its threads.
    n, _, height, width = features.shape
    weight, columns = layer.weight.expand(n, *layer.weight.shape), features.flatten(2)
    few = not torch.compiler.is_compiling() and columns.shape[2] < FEW
    if few:  # products this small round differently from image to image, and equal images must have distance 0
        columns = F.pad(columns, (0, FEW - columns.shape[2]))
    out = torch.baddbmm(layer.bias[:, None], weight, columns)
    return (out[..., : height * width] if few else out).reshape(n, -1, height, width)


class DivisiveNormalisation(nn.Module):
    """Divide the pictures of a band by the strength of their surround, as neurons do: masking, tolerance to contrast.

    y = x / sqrt(c^2 + mean of x^2 over colours and a square around each position), with a learned c for each picture.
    Source: Carandini and Heeger, Nature Reviews Neuroscience 13:51, 2012; PIM as published has none.
    """

    def __init__(self, side: int, pictures: int = 1, padding: Padding = "same") -> None:
        super().__init__()
        self.side, self.padding = side, padding
        self.log_constant = nn.Parameter(torch.zeros((pictures,) if pictures > 1 else (), dtype=torch.float32))

    def forward(self, band: Tensor) -> Tensor:
        """Shapes: (N, 3 S, h, w) -> the same."""
        pictures, squares = torch.split(band, CHANNELS, 1), self.log_constant.exp().square().reshape(-1)
        divided = [p * (c + self.energy(p)).rsqrt() for p, c in zip(pictures, squares.unbind(0), strict=True)]
        return torch.cat(divided, 1) if len(divided) > 1 else divided[0]

    def energy(self, band: Tensor) -> Tensor:
        """Mean square of the surround in one picture (N, 3, h, w), (N, 1, h, w)."""
        # Views of channels: a reduction takes three times as long on a CPU.
        squares = sum_of([channel * channel for channel in band.unbind(1)])[:, None]
        return window_sums(squares, self.side, self.padding) / (band.shape[1] * self.side**2)


def band_network(config: PIMConfig, pictures: int = 1) -> Modules[nn.Conv2d]:
    """The convolutions of a band of so many pictures, to be run by `convolve`."""
    pad = config.kernel // 2 if config.padding != "valid" else 0
    widths = (CHANNELS * pictures, *config.filters)
    strides = (config.stride, *[1] * (len(config.filters) - 1))
    shapes = zip(widths[:-1], widths[1:], strides, strict=True)
    return Modules(nn.Conv2d(a, b, config.kernel, padding=pad, stride=s, dtype=torch.float32) for a, b, s in shapes)


def convolve(network: Modules[nn.Conv2d], band: Tensor) -> Tensor:
    """Run the convolutions of a band, ReLU after all but the last.

    Args:
        network: From `band_network`.
        band: (N, 3 S, h, w).

    Returns:
        Features, (N, filters[-1], ceil(h / stride), ceil(w / stride)) for padding "same".
    """
    # Channels last: with so few channels the convolutions of a CPU take less than half the time.
    # vmap knows no such order.
    wrapped = not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(band)
    out = band if wrapped else band.contiguous(memory_format=torch.channels_last)
    for i, layer in enumerate(network):
        out = layer(F.relu(out, inplace=True) if i else out)
    return out.contiguous()


class MarginalEncoder(nn.Module):
    """q(z|x) at every position of a band, from the features of that position."""

    def __init__(self, config: PIMConfig) -> None:
        super().__init__()
        self.mixtures, self.latent = config.mixtures, config.latent
        units, features = config.mixtures * config.latent, config.filters[-1]
        self.base = _dense(features, units, config.encoder_layers)
        # Without a hidden layer the mean must be linear, in the released code as well.
        linear = config.mean == "linear" or config.encoder_layers == 0
        self.mus = _linear(units if config.encoder_layers else features, units) if linear else None
        self.mix = _dense(features, config.mixtures, config.encoder_layers if config.mixtures > 1 else 0)
        last = config.mixtures if config.encoder_layers else features
        self.logit = _linear(last, config.mixtures) if config.mixtures > 1 else None

    def forward(self, features: Tensor) -> Mixture:
        """Features (N, C, h, w) -> distribution with means (N, M, D, h, w)."""
        hidden = features
        for layer in self.base:
            hidden = F.relu(per_position(layer, hidden), inplace=True)
        if self.mus is not None:
            hidden = per_position(self.mus, hidden)
        means = hidden.reshape(hidden.shape[0], self.mixtures, self.latent, *hidden.shape[2:])
        if self.logit is None:
            return Mixture(means, None)
        weights = features
        for layer in self.mix:
            weights = F.relu(per_position(layer, weights))
        return Mixture(means, per_position(self.logit, weights))


class JointEncoder(nn.Module):
    """The mean of p(z|x,y) at every position of a band; only training needs it.

    Layer i: h = relu(W_i h + b_i), then h * (A_i f_y + a_i) + (B_i f_y + c_i), where h starts as the
    features of x and f_y are the features of y. Not symmetric in x and y.
    """

    def __init__(self, config: PIMConfig) -> None:
        super().__init__()
        features = config.filters[-1]
        layers = max(1, config.encoder_layers)
        self.base = _dense(features, config.latent, layers)
        self.mul = Modules(_linear(features, config.latent) for _ in range(layers))
        self.add = Modules(_linear(features, config.latent) for _ in range(layers))

    def forward(self, features_x: Tensor, features_y: Tensor) -> Tensor:
        """Features (N, C, h, w) of both images -> mean (N, D, h, w)."""
        hidden = features_x
        for base, mul, add in zip(self.base, self.mul, self.add, strict=True):
            hidden = F.relu(per_position(base, hidden))
            hidden = hidden * per_position(mul, features_y) + per_position(add, features_y)
        return hidden


def glorot_(module: nn.Module) -> None:
    """Initialise as the released code does: Glorot uniform weights, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, dtype=torch.float32)  # whatever the default of the process


def _dense(first: int, units: int, layers: int) -> Modules[nn.Linear]:
    widths = [first] + [units] * layers
    return Modules(_linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
