"""The settings of a PIM, and the networks that they describe: convolutions and marginal encoder q(z|x) of every band.

Source: arXiv 2006.06752 and its released code. Deviations: `mean="relu"` is the released code (the mean is the last
ReLU layer), `mean="linear"` the paper (one more linear layer); divisive normalisation of the bands is possible.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pim.errors import UsageError
from pim.pim.distance import Mixture
from pim.pim.pyramid import Padding, replicated, sum_of

FEW = 16  # positions below which products of matrices round by their place in memory
CHANNELS = 3  # colours in, and features out of the published convolutions

FILTER_SETS = {"sp0": 1, "sp1": 2, "sp3": 4, "sp5": 6}  # name -> orientations
# Settings of older files: the value that had no effect; None: any.
_GONE = {
    "block": 1,
    "band_power": 1.0,
    "band_floor": None,
    "scope": 1,
    "scope_share": None,
    "position_power": 1.0,
}


@dataclass(frozen=True, slots=True)
class PIMConfig:
    """Architecture and pooling of a PIM. The defaults are PIM-1 as published (arXiv 2006.06752).

    Raises:
        UsageError: if a value is impossible, with what is allowed.
    """

    reduction: int = 1  # side of the blocks of pixels that are averaged before the pyramid; 1: none, as published
    detail: bool = False  # one more band, the finest: how strongly neighbouring pixels differ in those blocks
    pyramid: Literal["steerable", "laplacian", "none"] = "steerable"
    scales: int = 3  # levels of the pyramid
    filter_set: Literal["sp0", "sp1", "sp3", "sp5"] = "sp1"  # taps of the steerable pyramid
    grouped: bool = False  # the orientations of a scale are one band, with one network; as published each is its own
    high_pass: bool = True  # steerable: keep the high-pass rest as a band
    residual: bool = True  # Laplacian: keep the low-pass rest as a band
    surround: int = 0  # side of the window of divisive normalisation; 0: none, as published
    filters: tuple[int, ...] = (64, 64, 64, 3)  # channels of the convolutions of each band
    kernel: int = 5  # side of their kernels
    stride: int = 1  # of the first of them: latents at every position of the band, or at every second, ...
    padding: Literal["same", "replicate", "valid"] = "same"  # at borders: zeros, the border again, nothing
    encoder_layers: int = 2  # ReLU layers of the marginal and the joint encoder
    mixtures: int = 1  # components of q(z|x); 5 is PIM-5
    latent: int = 10  # dimensions of z at one position
    mean: Literal["relu", "linear"] = "relu"  # last layer of the marginal mean: released code, or paper
    distance: Literal["mean_square", "root_mean_square"] = "mean_square"  # of latents, in a band; square: as published
    band_weights: tuple[float, ...] = ()  # pooling over bands; empty: all 1, the published mean

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _one_of("pyramid", self.pyramid, ("steerable", "laplacian", "none"))
        _one_of("filter_set", self.filter_set, tuple(FILTER_SETS))
        _one_of("padding", self.padding, ("same", "replicate", "valid"))
        _one_of("mean", self.mean, ("relu", "linear"))
        _one_of("distance", self.distance, ("mean_square", "root_mean_square"))
        for name in ("reduction", "scales", "mixtures", "latent", "kernel", "stride"):
            _at_least(name, getattr(self, name), 1)
        _at_least("encoder_layers", self.encoder_layers, 0)
        _at_least("surround", self.surround, 0)
        for name in ("kernel", "surround"):
            if (side := getattr(self, name)) and side % 2 == 0:
                raise UsageError(f"{name} must be odd; got {side}")
        if self.detail and (self.reduction == 1 or self.pyramid != "steerable" or self.padding == "valid"):
            raise UsageError(
                'detail needs a reduction of 2 or more and the steerable pyramid with a padding that is not "valid"'
            )
        if self.grouped and self.pyramid != "steerable":
            raise UsageError("only the steerable pyramid has orientations to group")
        if not self.high_pass and self.pyramid != "steerable":
            raise UsageError("only the steerable pyramid has a high-pass rest to leave out")
        if not self.filters or min(self.filters) < 1:
            raise UsageError(f"filters must be one or more positive channel counts; got {self.filters}")
        if self.band_weights and (len(self.band_weights) != self.bands or min(self.band_weights) < 0):
            raise UsageError(f"band_weights must be {self.bands} numbers >= 0; got {self.band_weights}")
        if self.distance == "root_mean_square" and self.mixtures > 1:
            raise UsageError("root_mean_square needs latents of one Gaussian; mixtures must be 1")
        own = self.surround or self.stride > 1
        if own and (self.pyramid != "steerable" or self.padding == "valid"):
            raise UsageError('surround and stride need the steerable pyramid with a padding that is not "valid"')

    @property
    def pictures(self) -> tuple[int, ...]:
        """How many filtered pictures, of three colours each, every band consists of, coarsest first."""
        if self.pyramid != "steerable":
            return (1,) * (self.scales if self.pyramid == "laplacian" else 1)
        orientations = FILTER_SETS[self.filter_set]
        scale = (orientations,) if self.grouped else (1,) * orientations
        return (1, *scale * self.scales, *(1,) * (self.high_pass + self.detail))

    @property
    def bands(self) -> int:
        """Number of bands, each with its own network."""
        return len(self.pictures)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PIMConfig:
        """Make settings of plain values, as `to_dict` gives them; raises UsageError for what is unknown or gone."""
        for name, neutral in _GONE.items():
            if neutral is not None and values.get(name, neutral) != neutral:
                raise UsageError(
                    f"{name} = {values[name]!r} was a feature of an older version and is gone; train the network again "
                    "with `pim train`, or use that version"
                )
        values = {name: value for name, value in values.items() if name not in _GONE}
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown settings of a PIM: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**settings)
        except TypeError as error:  # a value of another type, in a damaged header
            raise UsageError(f"impossible settings of a PIM: {error}") from error


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def _at_least(name: str, value: int, smallest: int) -> None:
    if not isinstance(value, int) or value < smallest:
        raise UsageError(f"{name} must be a whole number, {smallest} or more; got {value!r}")


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
    if torch.compiler.is_compiling():  # torch before 2.7 exports no `baddbmm` to ONNX
        return (torch.bmm(weight, columns) + layer.bias[:, None]).reshape(n, -1, height, width)
    few = columns.shape[2] < FEW
    if few:  # products this small round differently from image to image, and equal images must have distance 0
        columns = F.pad(columns, (0, FEW - columns.shape[2]))
    out = torch.baddbmm(layer.bias[:, None], weight, columns)
    return (out[..., : height * width] if few else out).reshape(n, -1, height, width)


class DivisiveNormalisation(nn.Module):
    """Divide the pictures of a band by the strength of their surround, as neurons do: masking, tolerance to contrast.

    y = x / sqrt(c^2 + mean of x^2 over colours and a square around each position), with a learned c for each picture.
    Source: Carandini and Heeger, Nature Reviews Neuroscience 13:51, 2012.
    """

    def __init__(self, side: int, pictures: int = 1, padding: Padding = "same") -> None:
        super().__init__()
        self.side, self.padding = side, padding
        self.log_constant = nn.Parameter(torch.zeros((pictures,) if pictures > 1 else (), dtype=torch.float32))

    def forward(self, band: Tensor) -> Tensor:
        """Shapes: (N, 3 S, h, w) -> the same."""
        constants, energies = self.log_constant.exp().square().reshape(-1), torch.split(self.energy(band), 1, 1)
        parts = zip(torch.split(band, CHANNELS, 1), constants.unbind(0), energies, strict=True)
        divided = [picture * (constant + energy).rsqrt() for picture, constant, energy in parts]
        return torch.cat(divided, 1) if len(divided) > 1 else divided[0]

    def energy(self, band: Tensor) -> Tensor:
        """Mean square of the surround in every picture, (N, 3 S, h, w) -> (N, S, h, w)."""
        # Views of channels: a reduction takes three times as long on a CPU.
        squares = [sum_of([channel * channel for channel in p.unbind(1)]) for p in torch.split(band, CHANNELS, 1)]
        return window_sums(torch.stack(squares, 1), self.side, self.padding) / (CHANNELS * self.side**2)


def band_network(config: PIMConfig, pictures: int = 1) -> Modules[nn.Conv2d]:
    """The convolutions of a band of so many pictures, to be run by `convolve`."""
    pad = config.kernel // 2 if config.padding != "valid" else 0
    widths = (CHANNELS * pictures, *config.filters)
    strides = (config.stride, *[1] * (len(config.filters) - 1))
    shapes = zip(widths[:-1], widths[1:], strides, strict=True)
    return Modules(nn.Conv2d(a, b, config.kernel, padding=pad, stride=s, dtype=torch.float32) for a, b, s in shapes)


def convolve(network: Modules[nn.Conv2d], band: Tensor) -> Tensor:
    """Run the convolutions of a band (N, 3 S, h, w), ReLU after all but the last.

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
        self.base = dense(features, units, config.encoder_layers)
        # Without a hidden layer the mean must be linear, in the released code as well.
        ends_linear = config.mean == "linear" or config.encoder_layers == 0
        self.mus = linear(units if config.encoder_layers else features, units) if ends_linear else None
        self.mix = dense(features, config.mixtures, config.encoder_layers if config.mixtures > 1 else 0)
        last = config.mixtures if config.encoder_layers else features
        self.logit = linear(last, config.mixtures) if config.mixtures > 1 else None

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


def glorot_(module: nn.Module) -> None:
    """Initialise as the released code does: Glorot uniform weights, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Make a dense layer in float32, whatever the default of the process."""
    return nn.Linear(inputs, outputs, dtype=torch.float32)


def dense(first: int, units: int, layers: int) -> Modules[nn.Linear]:
    """Make so many dense layers of `units` outputs."""
    widths = [first] + [units] * layers
    return Modules(linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))


def window_sums(values: Tensor, side: int, padding: Padding = "same") -> Tensor:
    """Sum over the odd window around every position, (N, C, H, W) -> the same.

    Beyond the border "same" has zeros, "replicate" the border again.
    """
    half = side // 2
    for dim, rows, columns in ((3, 0, half), (2, half, 0)):
        if padding == "replicate":
            values = replicated(values, rows, columns)
        else:
            values = F.pad(values, (columns, columns, rows, rows))
        values = _running_sums(values, side, dim)
    return values


def _running_sums(values: Tensor, side: int, dim: int) -> Tensor:
    """Sums of `side` neighbours along a direction, without those that the border cuts."""
    # From sums of 1, 2, 4, ... neighbours: reductions, pools and convolutions take many times as long on a CPU.
    count = values.shape[dim] - side + 1
    parts, start, width = [], 0, 1
    while True:
        if side & width:
            parts.append(values.narrow(dim, start, count))
            start += width
        if 2 * width > side:
            return sum_of(parts)
        length = values.shape[dim] - width
        values = values.narrow(dim, 0, length) + values.narrow(dim, width, length)
        width *= 2
