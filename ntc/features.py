"""Features that are cheap to store: a layer that rounds them and learns what that costs.

Source: Singh, Abu-El-Haija, Johnston, Ballé, Shrivastava, Toderici, "End-to-end Learning of Compressible
Features", arXiv 2007.11797. Put the layer between the trunk and the head of a network, and add
`weight * bits.mean()` to the loss: the network learns to say the same with fewer bits.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ntc import tables
from ntc.coder import Decoder, Encoder
from ntc.prior import FactorisedDensity
from ntc.quantize import add_noise, quantise
from pim.errors import InputError

MAGIC = b"PNTF"
_HEAD = struct.Struct("<II")  # number of feature vectors, CRC-32 of the tables
LARGEST_BATCH = 1 << 24
FITTING = ((400, 1e-2), (200, 1e-3))  # steps, and their rate of learning, of a density alone
FITTING_BATCH = 512


class CompressibleBottleneck(nn.Module):
    """Rounds features, and says what an entropy coder spends on them.

    In training, uniform noise stands for rounding. The network before it sets the scale of the features,
    and a learned scale for each of them helps; no normalisation may follow that would undo it.

    Args:
        features: C, the size of axis 1; each has its own density.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.density = FactorisedDensity(features)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self._coder: tuple[object, tables.Tables, Tensor] | None = None  # what it was made of, tables, offset

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Round features, (N, C) or (N, C, ...) with the same density at all places, and say what that costs.

        Returns:
            The features after noise (training) or rounding (evaluation), of the same shape; bits for each of N, (N,).
        """
        scale = self._along(torch.exp(self.log_scale), features)
        scaled = features * scale
        if self.training:
            seen = add_noise(scaled)
        else:
            offset = self._along(self._tables()[1], features)
            seen = quantise(scaled, offset) + offset
        return seen / scale, self.density.bits(seen).flatten(1).sum(1)

    def refine(self, factor: float, features: Tensor, seed: int = 0) -> None:
        """Make the steps of rounding smaller than they were in training, and learn the density for them.

        Coarse steps in training are cheap and keep the network behind the layer from relying on detail; finer
        ones afterwards cost some bits and take away most of the error that rounding adds. The scale is
        multiplied by `factor`, the density starts anew, nothing else changes. Ours, not the paper's.

        Args:
            factor: How many times as fine, > 0; 2 to 3 did well where it was tried.
            features: (N, C) or (N, C, ...): what `forward` gets for some thousand inputs of training.
            seed: Of noise, order and start.

        Raises:
            InputError: if the factor is not positive, or there are no features, of another size, or not finite.
        """
        if not 0 < factor < math.inf:
            raise InputError(f"the factor must be positive and finite; got {factor}")
        channels = self.density.channels
        if features.ndim < 2 or features.shape[1] != channels or not features.numel():
            raise InputError(f"features must be (N, {channels}, ...) and not empty; got {tuple(features.shape)}")
        _check_finite(features)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.log_scale.add_(math.log(factor))
            scaled = (features * self._along(torch.exp(self.log_scale), features)).cpu()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = FactorisedDensity(channels)
        optimiser = torch.optim.Adam(fresh.parameters())
        for steps, rate in FITTING:
            optimiser.param_groups[0]["lr"] = rate
            for _ in range(steps):
                chosen = torch.randint(len(scaled), (FITTING_BATCH,), generator=generator)
                bits = fresh.bits(add_noise(scaled[chosen], generator)).sum() / FITTING_BATCH
                optimiser.zero_grad(set_to_none=True)
                bits.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        self.density.load_state_dict(fresh.state_dict())

    @torch.no_grad()
    def compress(self, features: Tensor) -> bytes:
        """Write features, (N, C), as bytes, to be restored by this layer with these weights.

        Raises:
            InputError: if the shape is wrong or a value is not finite.
        """
        channels = self.density.channels
        if features.ndim != 2 or features.shape[1] != channels:
            raise InputError(f"features must be (N, {channels}); got {tuple(features.shape)}")
        _check_finite(features)
        coder, offset = self._tables()
        symbols = quantise(features * torch.exp(self.log_scale), offset).cpu().numpy().astype(np.int64)
        encoder = Encoder(coder)
        encoder.put(symbols.reshape(-1), _index(len(features), channels))
        return MAGIC + _HEAD.pack(len(features), _identity(coder)) + encoder.finish()

    @torch.no_grad()
    def decompress(self, data: bytes) -> Tensor:
        """Restore what `compress` wrote: the features that `forward` would have handed on in evaluation, (N, C).

        Raises:
            InputError: if the bytes are damaged or were made with other weights.
        """
        coder, offset = self._tables()
        head = len(MAGIC) + _HEAD.size
        if len(data) < head or data[: len(MAGIC)] != MAGIC:
            raise InputError("these are no compressed features")
        count, identity = _HEAD.unpack(data[len(MAGIC) : head])
        if identity != _identity(coder):
            raise InputError("these features were compressed with other weights")
        if count > LARGEST_BATCH or count * coder.cheapest.sum() / 8 > len(data) + 8:
            raise InputError(f"the features are damaged: {count} vectors do not fit into {len(data)} bytes")
        symbols = Decoder(data[head:], coder).get(_index(count, self.density.channels))
        whole = torch.from_numpy(symbols.reshape(count, self.density.channels)).to(self.log_scale)
        return (whole + offset) / torch.exp(self.log_scale)

    @property
    def table_bytes(self) -> int:
        """What the tables cost, once for any number of features: two bytes a count."""
        return 2 * len(self._tables()[0].cdf)

    def _tables(self) -> tuple[tables.Tables, Tensor]:
        """The tables, and what puts the centre of a cell on the median of each feature, (C,)."""
        state = tuple((p.data_ptr(), p._version) for p in self.density.parameters())
        if self._coder is None or self._coder[0] != state:
            median = self.density.median()
            offset = median - median.round()
            made = tables.factorised(self.density, offset.cpu().numpy())
            self._coder = state, made, offset.to(self.log_scale)
        return self._coder[1:]

    def _along(self, values: Tensor, features: Tensor) -> Tensor:
        """Values (C,) in the shape of features (N, C, ...)."""
        return values.reshape(1, -1, *[1] * (features.ndim - 2))


def _check_finite(features: Tensor) -> None:
    if not bool(torch.isfinite(features).all()):
        raise InputError("features hold values that are not finite")


def _index(count: int, channels: int) -> NDArray[np.int64]:
    return np.tile(np.arange(channels), count)


def _identity(coder: tables.Tables) -> int:
    return zlib.crc32(coder.cdf.astype("<i4").tobytes(), zlib.crc32(coder.low.astype("<i4").tobytes()))
