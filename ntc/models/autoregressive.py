"""The joint codec: a hyperprior, and a context of what is decoded already.

Source: arXiv 1809.02736. Deviations: the latents are rounded from their means also in the encoder, which
so works position by position as the decoder does; both go along diagonals, where positions are
independent of each other: H x W positions take W + 3 (H - 1) steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntc.models import fixedpoint
from ntc.models.config import CodecConfig
from ntc.models.exchange import Exchange
from ntc.models.fixedpoint import PriorNet, Whole
from ntc.models.hyperprior import Hyperprior, hyper_analysis, start_scales
from ntc.models.latents import Proxy, exact_index, exact_mean
from ntc.models.transforms import up

KERNEL = 5
REACH = KERNEL // 2
SLANT = REACH + 1  # position (r, c) is coded in step SLANT r + c


def causal_mask(kernel: int, *, centre: bool) -> Tensor:
    """Mark with ones where a position may look: rows above, and its own row up to itself, (kernel, kernel).

    With `centre` it sees itself: mask "B" in arXiv 1606.05328, else "A".
    """
    mask = torch.ones(kernel, kernel)
    mask[kernel // 2, kernel // 2 + int(centre) :] = 0
    mask[kernel // 2 + 1 :] = 0
    return mask


_TAPS = causal_mask(KERNEL, centre=False).nonzero()  # rows and columns of the kernel


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees only what comes before in reading order."""

    mask: Tensor

    def __init__(self, inner: int, outer: int, kernel: int = KERNEL, *, centre: bool = False) -> None:
        """Mask as in `causal_mask`."""
        super().__init__(inner, outer, kernel, padding=kernel // 2)
        self.register_buffer("mask", causal_mask(kernel, centre=centre), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, O, h, w)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Joint(Hyperprior):
    """Hyperprior and context predict means and scales together."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        n, m = config.hyper, config.latents
        self.hyper_analysis = hyper_analysis(config, 0.01)
        self.hyper_synthesis = PriorNet(up(n, m), up(m, 3 * m // 2), nn.Conv2d(3 * m // 2, 2 * m, 3, padding=1))
        self.context = MaskedConv2d(m, 2 * m)
        widths = (4 * m, 10 * m // 3, 8 * m // 3, 2 * m)
        self.parameters_net = PriorNet(*[nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:], strict=False)])
        start_scales(self.parameters_net, m)

    def _predicted(self, z: Tensor, y: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor | float]:
        seen = self.context(proxy.rate_side(y, 0.0))
        raw_scale, mean = self.parameters_net(torch.cat([self.hyper_synthesis(z), seen], 1)).chunk(2, 1)
        return raw_scale, mean

    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """See `Codec.exact`: z in one block, then y in a block for each diagonal, channels before positions."""
        whole = self._hyper_exact(y, size, exchange)
        side = fixedpoint.saturate(self.hyper_synthesis.exact(whole, self._whole[0]))[0]
        coding = self.codings()[1]
        canvas = Canvas.empty(self.config.latents, size)
        seeing = live_taps(self._whole[1][0])
        for rows, columns in diagonals(size):
            seen = canvas.context(rows, columns, seeing)
            inputs = torch.cat([side[:, rows, columns], seen])[None, :, None]
            sums_scale, sums_mean = self.parameters_net.exact(inputs, self._whole[2])[0, :, 0].chunk(2)
            mean = exact_mean(sums_mean)
            values = None if y is None else y[0][:, rows, columns]
            k = exchange.block(values, mean, exact_index(sums_scale), coding)
            canvas.fill(rows, columns, k + mean)
        return canvas.latents[None]

    def prior_nets(self) -> list[PriorNet]:
        """See `Codec.prior_nets`."""
        masked = nn.Conv2d(self.config.latents, 2 * self.config.latents, KERNEL, padding=REACH)
        masked.weight, masked.bias = nn.Parameter(self.context.weight * self.context.mask), self.context.bias
        return [self.hyper_synthesis, PriorNet(masked), self.parameters_net]


class Canvas(NamedTuple):
    """The latents so far, and the same as activations in whole numbers with a border of zeros."""

    latents: Tensor  # (M, h, w), float32
    whole: Tensor  # (M, h + 2 reach, w + 2 reach), float64

    @classmethod
    def empty(cls, channels: int, size: tuple[int, int]) -> Canvas:
        """Nothing decoded yet."""
        bordered = (size[0] + 2 * REACH, size[1] + 2 * REACH)
        return cls(torch.zeros(channels, *size), torch.zeros(channels, *bordered, dtype=torch.float64))

    def context(self, rows: Tensor, columns: Tensor, layer: Whole) -> Tensor:
        """What the masked convolution, as `live_taps` gives it, sees at P positions: activations (O, P)."""
        seen = self.whole[:, _TAPS[:, :1] + rows, _TAPS[:, 1:] + columns]  # (M, taps, P)
        return fixedpoint.saturate(layer.weight @ seen.flatten(0, 1) + layer.bias[:, None])

    def fill(self, rows: Tensor, columns: Tensor, values: Tensor) -> None:
        """Put latents (M, P) where they belong."""
        self.latents[:, rows, columns] = values
        self.whole[:, rows + REACH, columns + REACH] = fixedpoint.activations(values)


def live_taps(layer: Whole) -> Whole:
    """A masked convolution as a matrix (O, M * taps) over the positions that it sees."""
    return Whole(layer.weight[:, :, _TAPS[:, 0], _TAPS[:, 1]].flatten(1), layer.bias)


def diagonals(size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of positions that can be coded together, step by step; rows ascend in each."""
    height, width = size
    steps = []
    for t in range(width + SLANT * (height - 1)):
        first = max(0, -(-(t - width + 1) // SLANT))
        rows = torch.arange(first, min(height - 1, t // SLANT) + 1)
        steps.append((rows, t - SLANT * rows))
    return [(rows, columns) for rows, columns in steps if len(rows)]
