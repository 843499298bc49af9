"""What all codecs are: transforms around a model of the latents."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntc.models import fixedpoint, transforms
from ntc.models.config import CodecConfig
from ntc.models.exchange import Coding, Exchange, Measure
from ntc.models.latents import FactorisedPrior, Proxy
from ntc.tables import Tables
from pim.core.metric import as_batch, check_values
from pim.errors import InputError, UsageError, WeightsError

ID_BYTES = 16
BEST_QUALITY = 255


@dataclass(frozen=True)
class Coded:
    """Images after their latents, and what those cost."""

    image: Tensor  # (N, 3, H, W); within [0, 1] outside training
    bits: dict[str, Tensor]  # per image (N,), for "y" and, where there are hyper-latents, "z"

    def bits_per_pixel(self) -> Tensor:
        """All bits of an image over its pixels, (N,)."""
        height, width = self.image.shape[-2:]
        return torch.stack(list(self.bits.values())).sum(0) / (height * width)


class Gains(nn.Module):
    """Channel gains that make one codec serve many rates: large gains, fine steps.

    Between the given lambdas the gains are interpolated in log lambda.
    """

    def __init__(self, config: CodecConfig) -> None:
        """Start where uniform quantisation would: steps as 1 / sqrt(lambda)."""
        super().__init__()
        logs = torch.tensor([0.5 * math.log(value) for value in config.lambdas])
        start = (logs - logs.mean())[:, None].repeat(1, config.latents)
        self.before = nn.Parameter(start.clone())
        self.after = nn.Parameter(-start)

    def forward(self, table: Tensor, level: Tensor) -> Tensor:
        """Gains (N, M, 1, 1) of `before` or `after` at levels (N,), in 0 .. number of lambdas - 1."""
        low = level.floor().clamp(0, len(table) - 2).long()
        log = torch.lerp(table[low], table[low + 1], (level - low)[:, None])
        return log.exp()[:, :, None, None]


class Codec(nn.Module):
    """An image codec; its kinds differ in how they model the latents.

    In training mode `forward` lets noise stand for rounding. In evaluation mode it computes exactly
    what a file would bring, and needs the tables that `export` makes.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = transforms.analysis(config)
        self.synthesis = transforms.synthesis(config)
        self.gains = Gains(config) if config.conditioned else None
        self.id: bytes | None = None  # of what `export` made
        self._whole: list[list[fixedpoint.Whole]] = []
        self._checked: list[tuple[int, ...]] = []  # the state in which the tables were found to be right

    def forward(self, image: Tensor, level: Tensor | float | None = None, proxy: Proxy | None = None) -> Coded:
        """Code and decode images.

        Args:
            image: (N, 3, H, W) in [0, 1]; in training, sides must be multiples of `config.stride`.
            level: Which lambda, as a place in `config.lambdas` from 0 (between two, if not whole), for all
                images or, in training, for each (N,); None: the last.
            proxy: What stands for rounding in training.

        Raises:
            InputError: if the images cannot be used.
            UsageError: without tables outside training.
        """
        if self.training:
            self._check_training(image)
            levels = self._levels(level, len(image)).to(image.device)
            y = self.analysis(image) * self._gain("before", levels)
            latents, bits = self.proxy(y, proxy or Proxy())
            return Coded(self.synthesis(latents * self._gain("after", levels)), bits)
        batch = as_batch(image, "image")
        check_values({"image": batch})
        levels = self._levels(level, 1)
        each = [self._measured(single[None], levels) for single in batch]
        names = each[0].bits
        return Coded(torch.cat([c.image for c in each]), {n: torch.cat([c.bits[n] for c in each]) for n in names})

    @abstractmethod
    def proxy(self, y: Tensor, proxy: Proxy) -> tuple[Tensor, dict[str, Tensor]]:
        """What the synthesis gets of latents (N, M, h, w) in training, and bits per image."""

    @abstractmethod
    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """Send latents (1, M, *size) through an exchange; returns what both sides know afterwards."""

    @property
    @abstractmethod
    def factorised(self) -> FactorisedPrior:
        """The prior of the latents that nothing predicts; to be centred now and then in training."""

    def codings(self) -> list[Coding]:
        """Tables, in the order in which they are used."""
        return [self.factorised.coding()]

    def least_bits(self, size: tuple[int, int]) -> float:
        """Bits without which no stream holds latents of this size: every symbol at its cheapest."""
        return self.factorised.least_bits(size)

    def prior_nets(self) -> list[fixedpoint.PriorNet]:
        """The networks behind the prior."""
        return []

    def put_tables(self, found: Mapping[str, Tables]) -> None:
        """Take tables, by the latents that they code, instead of making them.

        Raises:
            WeightsError: if there are too few or too many.
        """
        self.factorised.tables = check_count(found[self.factorised.name], self.factorised.density.channels)

    @torch.no_grad()
    def export(self) -> bytes:
        """Make tables and whole-number networks from the weights; returns the id that streams will carry."""
        self.factorised.export()
        self.id = self.freeze()
        return self.id

    @torch.no_grad()
    def freeze(self) -> bytes:
        """Make the whole-number networks; returns the id of weights and tables as they are now.

        Raises:
            UsageError: without tables.
            WeightsError: if a network cannot compute exactly.
        """
        self._whole = [net.whole() for net in self.prior_nets()]
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for coding in self.codings():
            for array in (coding.tables.cdf, coding.tables.start, coding.tables.low):
                digest.update(array.astype("<i4").tobytes())
        digest.update(fixedpoint.bytes_of(self._whole))
        decoder = {k: v for k, v in self.state_dict().items() if k.startswith(("synthesis.", "gains.after"))}
        decoder |= {k: v for k, v in self.state_dict().items() if k.endswith(".offset")}
        for name in sorted(decoder):
            digest.update(decoder[name].cpu().float().numpy().astype("<f4").tobytes())
        return digest.digest()[:ID_BYTES]

    def check_exported(self) -> None:
        """Make sure that tables are there and belong to the weights.

        Raises:
            UsageError: if there are none, or the weights changed since.
        """
        if self.id is None:
            raise UsageError("this codec has no tables yet; call its export() after training")
        if self._checked != (state := self._state()):
            if self.freeze() != self.id:
                raise UsageError("the tables of this codec are stale: its weights changed since; call export() again")
            self._checked = state

    def _state(self) -> list[tuple[int, ...]]:
        """What changes with every change of weights or tables, without looking at them all."""
        tensors = self.state_dict(keep_vars=True).values()
        return [
            *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors),
            *((id(coding.tables),) for coding in self.codings()),
        ]

    def level(self, quality: int) -> float:
        """The level of a quality from 0 (fewest bits) to 255 (most)."""
        return quality / BEST_QUALITY * (len(self.config.lambdas) - 1)

    @torch.no_grad()
    def latents(self, image: Tensor, level: Tensor) -> Tensor:
        """Latents (1, M, h, w) of one image (1, 3, H, W), tile by tile, padded to whole strides."""
        height, width = image.shape[-2:]
        stride = self.config.stride
        pad = (0, -width % stride, 0, -height % stride)
        padded = nn.functional.pad(image, pad, mode="replicate") if any(pad) else image
        weight = next(self.parameters())
        return transforms.analyse(self.analysis, padded.to(weight)) * self._gain("before", level)

    @torch.no_grad()
    def image(self, latents: Tensor, size: tuple[int, int], level: Tensor) -> Tensor:
        """The image (1, 3, *size) of decoded latents, tile by tile, in [0, 1]."""
        scaled = latents.to(next(self.parameters())) * self._gain("after", level)
        return transforms.synthesise(self.synthesis, scaled)[..., : size[0], : size[1]].clamp(0, 1)

    def latent_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Sides of the latents of an image of this size."""
        stride = self.config.stride
        per = stride // transforms.STRIDE
        return -(-size[0] // stride) * per, -(-size[1] // stride) * per

    @torch.no_grad()
    def _measured(self, image: Tensor, level: Tensor) -> Coded:
        self.check_exported()
        size = (image.shape[-2], image.shape[-1])
        measure = Measure()
        latents = self.exact(self.latents(image, level).cpu(), self.latent_size(size), measure)
        bits = {name: torch.tensor([value], dtype=torch.float64) for name, value in measure.bits.items()}
        return Coded(self.image(latents, size, level), bits)

    def _check_training(self, image: Tensor) -> None:
        height, width = as_batch(image, "image").shape[-2:]
        stride = self.config.stride
        if height % stride or width % stride:
            raise InputError(f"in training, sides must be multiples of {stride} pixels; got {width} x {height}")

    def _levels(self, level: Tensor | float | None, count: int) -> Tensor:
        last = len(self.config.lambdas) - 1
        levels = torch.as_tensor(float(last) if level is None else level, dtype=torch.float32).expand(count)
        if not ((levels >= 0) & (levels <= last)).all():
            raise UsageError(f"level must lie in 0 .. {last} for {last + 1} lambdas; got {levels.tolist()}")
        return levels

    def _gain(self, which: str, level: Tensor) -> Tensor | float:
        if self.gains is None:
            return 1.0
        table: Tensor = getattr(self.gains, which)
        gain: Tensor = self.gains(table, level.to(table.device))
        return gain


class Factorised(Codec):
    """Every channel of the latents has a density of its own, everywhere the same (arXiv 1611.01704, 1802.01436)."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.prior = FactorisedPrior("y", config.latents)

    @property
    def factorised(self) -> FactorisedPrior:
        """See `Codec.factorised`."""
        return self.prior

    def proxy(self, y: Tensor, proxy: Proxy) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Codec.proxy`."""
        latents, bits = self.prior.proxy(y, proxy)
        return latents, {"y": bits}

    def exact(self, y: Tensor | None, size: tuple[int, int], exchange: Exchange) -> Tensor:
        """See `Codec.exact`: one block."""
        return self.prior.exact(y, size, exchange)


def check_count(tables: Tables, count: int) -> Tables:
    """The tables, if there are as many as that.

    Raises:
        WeightsError: if not.
    """
    if len(tables) != count:
        raise WeightsError(f"{len(tables)} tables instead of {count}")
    return tables
