"""The codec with a fully factorised prior (arXiv 1611.01704, prior of 1802.01436)."""

from __future__ import annotations

from torch import Tensor

from ntc.models.codec import Codec
from ntc.models.config import CodecConfig
from ntc.models.exchange import Coding, Exchange
from ntc.models.fixedpoint import PriorNet
from ntc.models.latents import FactorisedPrior, Proxy


class Factorised(Codec):
    """Every channel of the latents has a density of its own, everywhere the same."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.prior = FactorisedPrior("y", config.latents)

    def proxy(self, y: Tensor, proxy: Proxy) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Codec.proxy`."""
        latents, bits = self.prior.proxy(y, proxy)
        return latents, {"y": bits}

    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """See `Codec.exact`: one block."""
        return self.prior.exact(y, size, exchange)

    def codings(self) -> list[Coding]:
        """See `Codec.codings`."""
        return [self.prior.coding()]

    def least_bits(self, size: tuple[int, int]) -> float:
        """See `Codec.least_bits`."""
        return self.prior.least_bits(size)

    def centre(self) -> None:
        """See `Codec.centre`."""
        self.prior.centre()

    def prior_nets(self) -> list[PriorNet]:
        """None."""
        return []

    def _export_tables(self) -> None:
        self.prior.export()
