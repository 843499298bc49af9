"""Codecs with a hyperprior: side information z says how the latents y are spread, and where.

Sources: arXiv 1802.01436 (scales), 1809.02736 (means). Deviations: the hyper-synthesis predicts the
number of a table instead of a scale, with leaky rectifiers throughout, so that it runs in whole numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ntc import conditional, tables
from ntc.models import fixedpoint
from ntc.models.codec import Codec, check_count
from ntc.models.config import CodecConfig
from ntc.models.exchange import Coding, Exchange
from ntc.models.fixedpoint import PriorNet
from ntc.models.latents import START_SCALE, FactorisedPrior, Proxy, exact_index, exact_mean, gaussian_proxy
from ntc.models.transforms import down, up

HYPER_STRIDE = 4  # latents per hyper-latent


def hyper_analysis(config: CodecConfig, slope: float) -> nn.Sequential:
    """Latents (N, M, h, w) to hyper-latents (N, N, h / 4, w / 4); rectifiers leak with `slope`."""
    n = config.hyper
    first = nn.Conv2d(config.latents, n, 3, padding=1)
    return nn.Sequential(first, nn.LeakyReLU(slope), down(n, n), nn.LeakyReLU(slope), down(n, n))


class Hyperprior(Codec):
    """What the kinds of hyperprior share: z in front of y."""

    hyper_analysis: nn.Sequential
    hyper_synthesis: PriorNet

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.hyper_prior = FactorisedPrior("z", config.hyper)
        self.scales: tables.Tables | None = None

    @property
    def factorised(self) -> FactorisedPrior:
        """See `Codec.factorised`."""
        return self.hyper_prior

    def codings(self) -> list[Coding]:
        """See `Codec.codings`."""
        hyper = self.hyper_prior.coding()
        assert self.scales is not None
        return [hyper, Coding("y", self.scales)]

    def least_bits(self, size: tuple[int, int]) -> float:
        """See `Codec.least_bits`."""
        cheapest = float(self.codings()[1].tables.cheapest.min())
        return self.hyper_prior.least_bits(_small(size)) + cheapest * self.config.latents * size[0] * size[1]

    def put_tables(self, found: Mapping[str, tables.Tables]) -> None:
        """See `Codec.put_tables`."""
        super().put_tables(found)
        self.scales = check_count(found["y"], conditional.SCALES)

    def export(self) -> bytes:
        """See `Codec.export`."""
        self.scales = tables.gaussian()
        return super().export()

    def prior_nets(self) -> list[PriorNet]:
        """See `Codec.prior_nets`."""
        return [self.hyper_synthesis]

    def proxy(self, y: Tensor, proxy: Proxy) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Codec.proxy`."""
        z, hyper_bits = self.hyper_prior.proxy(self._side(y), proxy)
        raw_scale, mean = self._predicted(z, y, proxy)
        latents, bits = gaussian_proxy(y, mean, raw_scale, proxy)
        return latents, {"y": bits, "z": hyper_bits}

    def _side(self, y: Tensor) -> Tensor:
        """The hyper-latents of latents."""
        hyper: Tensor = self.hyper_analysis(y)
        return hyper

    @abstractmethod
    def _predicted(self, z: Tensor, y: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor | float]:
        """Scales, as networks put them out, and means of y in training."""

    def _hyper_exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """Send z on its way; returns it as activations in whole numbers."""
        z = None if y is None else self._side(y.to(next(self.parameters()))).cpu()
        return fixedpoint.activations(self.hyper_prior.exact(z, _small(size), exchange))


class ScaleHyperprior(Hyperprior):
    """z predicts the scales of y, whose means are 0."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        n = config.hyper
        self.hyper_analysis = hyper_analysis(config, 0.0)
        self.hyper_synthesis = PriorNet(up(n, n), up(n, n), nn.Conv2d(n, config.latents, 3, padding=1))
        start_scales(self.hyper_synthesis, config.latents)

    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """See `Codec.exact`: z in one block, then y in one."""
        whole = self._hyper_exact(y, size, exchange)
        index = exact_index(self.hyper_synthesis.exact(whole, self._whole[0]))
        return exchange.block(y, torch.zeros(index.shape), index, self.codings()[1])

    def _side(self, y: Tensor) -> Tensor:
        return super()._side(y.abs())

    def _predicted(self, z: Tensor, y: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor | float]:
        return self.hyper_synthesis(z), 0.0


class MeanScaleHyperprior(Hyperprior):
    """z predicts means and scales of y."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        n, m = config.hyper, config.latents
        self.hyper_analysis = hyper_analysis(config, 0.01)
        self.hyper_synthesis = PriorNet(up(n, m), up(m, 3 * m // 2), nn.Conv2d(3 * m // 2, 2 * m, 3, padding=1))
        start_scales(self.hyper_synthesis, m)

    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """See `Codec.exact`: z in one block, then y in one."""
        whole = self._hyper_exact(y, size, exchange)
        sums_scale, sums_mean = self.hyper_synthesis.exact(whole, self._whole[0]).chunk(2, 1)
        mean = exact_mean(sums_mean)
        return exchange.block(y, mean, exact_index(sums_scale), self.codings()[1]) + mean

    def _predicted(self, z: Tensor, y: Tensor, proxy: Proxy) -> tuple[Tensor, Tensor | float]:
        raw_scale, mean = self.hyper_synthesis(z).chunk(2, 1)
        return raw_scale, mean


def start_scales(net: PriorNet, latents: int) -> None:
    """Let the first outputs of a network, the scales, begin at about 1."""
    bias = net.layers[-1].bias
    assert isinstance(bias, nn.Parameter)
    with torch.no_grad():
        bias[:latents] = START_SCALE


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """The size of hyper-latents for latents of a size."""
    return size[0] // HYPER_STRIDE, size[1] // HYPER_STRIDE
