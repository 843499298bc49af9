"""PIM, the unsupervised information-theoretic metric: from two images to one distance.

Source: Bhardwaj, Fischer, Ballé, Chinen, "An Unsupervised Information-Theoretic Perceptual Quality
Metric", arXiv 2006.06752. Deviations: the weights are our own training; PIM-5 is estimated with
less noise (see `pim.pim.latent`); pooling can differ from plain means (see `pim.pim.pooling`); images can be reduced
first, bands added, left out or normalised, latents taken with a stride, averaged over blocks or compared with blocks
around them (`PIMConfig`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pim.core import weights
from pim.core.info import MetricInfo
from pim.core.metric import Metric, Prepared
from pim.errors import UsageError, WeightsError
from pim.pim import pyramid
from pim.pim.config import FILTER_SETS, PIMConfig
from pim.pim.latent import Mixture, squared_distance, symmetrised_divergence
from pim.pim.networks import CHANNELS, DivisiveNormalisation, MarginalEncoder, Modules, band_network, convolve, glorot_
from pim.pim.pooling import OverPositions, pool, power_map, shares, spread
from pim.pim.scope import scoped_distance
from pim.pim.tiles import WHOLE, Place, grid, positions_of, with_halo

TILE = 256  # side of a tile, in positions of a band
TILED = 1 << 20  # positions of an image above which a band is computed in tiles
KEEP = 1 << 22  # positions up to which `prepare` keeps latents (146 bytes a pixel), above the image itself
NOISE_PERIOD = 128  # side of the field of noise that PIM-5 repeats over a band

_INFO = MetricInfo(
    name="pim",
    summary="PIM with weights of your own",
    lower_is_better=True,
    value_range=(0.0, float("inf")),
    min_size=32,
    spatial=True,
    source="arXiv 2006.06752",
)


@dataclass(frozen=True)
class Analysis:
    """An image with the latents of every band, as `prepare` keeps them; without them if it is large."""

    image: Tensor
    bands: tuple[Mixture, ...] | None = None


class PIM(Metric):
    """Perceptual distance between two images: 0 for identical ones, larger for more different ones.

    Args:
        config: Architecture and pooling.
        info: Name and properties, for metrics that ship.
        seed: Of the noise with which PIM-5 estimates its distance; PIM-1 has none.
        samples: Draws of that noise; the error falls as 1 / sqrt(samples * positions).

    A new PIM has random weights; `PIM.load` reads a file, `pim.load` finds those that ship.
    """

    def __init__(self, config: PIMConfig, info: MetricInfo = _INFO, *, seed: int = 0, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise UsageError(f"samples must be 1 or more; got {samples}")
        self.config, self.seed, self.samples = config, seed, samples
        small_enough = config.padding == "same" and config.pyramid != "laplacian"
        operations = count_operations(config)
        self.info = replace(info, operations=operations, spatial=small_enough, min_size=_min_size(config, info))
        self.filters = pyramid.steerable_filters(config.filter_set)
        self.cnn = Modules(band_network(config) for _ in range(config.bands))
        self.marginal = Modules(MarginalEncoder(config) for _ in range(config.bands))
        glorot_(self)
        # The coarsest band is brightness and colour, which masks nothing.
        self.surround = Modules(
            DivisiveNormalisation(config.surround) for _ in range(config.bands - 1 if config.surround else 0)
        )
        self._noise: Tensor | None
        self.register_buffer("_noise", self._draw_noise() if config.mixtures > 1 else None, persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Architecture, pooling, and what the noise of PIM-5 depends on."""
        return {**self.config.to_dict(), "seed": self.seed, "samples": self.samples}

    @classmethod
    def load(cls, path: str | Path, info: MetricInfo | None = None) -> PIM:
        """The metric of a weight file: evaluation mode, frozen.

        Args:
            path: A file made by `pim train`, or one that ships.
            info: Name and properties; without it the name is that of the file.

        Raises:
            WeightsError: if the file is missing, damaged, of an unknown version, or its tensors do not fit
                its settings.
        """
        header, tensors = weights.read(path)
        if header.kind != "pim":
            raise WeightsError(f"{path} holds weights of kind {header.kind!r}, not of a PIM")
        try:
            config = PIMConfig.from_dict(header.config)
        except UsageError as error:
            raise WeightsError(f"{path} has settings that this version does not know: {error}") from error
        metric = cls(config, info or replace(_INFO, name=Path(path).stem))
        metric._load(tensors, path)
        metric.trained_on = tuple(header.training.get("trained_on", ()))
        metric.weights_hash = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return metric.eval().requires_grad_(False)

    @classmethod
    def shipped(cls, info: MetricInfo) -> PIM:
        """Load the weights that ship under a name."""
        return cls.load(weights.shipped()[Path(info.weights or "").stem], info)

    def per_band(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """The distance in every band, before pooling.

        Args:
            reference: (N, 3, H, W), sRGB in [0, 1]; not checked here.
            distorted: The same shape.

        Returns:
            (B, N), bands coarsest first.
        """
        return self._per_band(Analysis(reference), Analysis(distorted))

    def latents(self, image: Tensor) -> list[Mixture]:
        """q(z|x) in every band, coarsest first; means over blocks of positions where `config.block` is above 1.

        Args:
            image: (N, 3, H, W), sRGB in [0, 1]; not checked here.
        """
        bands = self.bands(image, frugal=self._tiled(image))
        return [self._encode(i, band, WHOLE, [band.source]) for i, band in enumerate(bands)]

    def _analyse(self, image: Tensor) -> Analysis:
        small = self._positions(image) <= KEEP
        return Analysis(image, tuple(self.latents(image)) if small else None)

    def _compare(self, features: Analysis, distorted: Tensor) -> Tensor:
        return pool(self._per_band(features, Analysis(distorted)), self.config)

    def _compare_analysed(self, reference: Prepared, distorted: Prepared) -> Tensor:
        return pool(self._per_band(reference.features, distorted.features), self.config)

    def _pair(self, reference: Tensor, distorted: Tensor) -> Tensor:
        one_sided = torch.is_grad_enabled() and distorted.requires_grad and not reference.requires_grad
        if one_sided and not any(p.requires_grad for p in self.parameters()):
            with torch.no_grad():  # a loss needs no gradient of the reference: one backward instead of two
                features = self._analyse(reference)
            return self._compare(features, distorted)
        return self._compare(Analysis(reference), distorted)

    def _map(self, reference: Tensor, distorted: Tensor) -> Tensor:
        return self._compare_map(Analysis(reference), distorted)

    def _compare_map(self, features: Analysis, distorted: Tensor) -> Tensor:
        size = distorted.shape[-2:]
        maps = list(self._band_maps(features, Analysis(distorted)))
        power = self.config.position_power
        maps = [power_map(m, power) for m in maps]
        per_band = torch.stack([m.mean((1, 2)) for m in maps])
        total = torch.zeros_like(distorted[:, 0])
        for share, band_map in zip(shares(per_band, self.config), maps, strict=True):
            total = total + share[:, None, None] * spread(band_map, size)
        return total[:, None]

    def _per_band(self, first: Analysis, second: Analysis) -> Tensor:
        # Sums over millions of positions lose digits in float32; MPS has nothing better.
        wide = torch.float32 if second.image.device.type == "mps" else torch.float64
        rows = []
        for size, tiles in zip(self._sizes(second.image), self._tiles(first, second), strict=True):
            pooled = OverPositions(self.config.position_power, wide, None if size is None else size[0] * size[1])
            for where, tile in tiles:
                pooled.add(tile, self._areas(size, where, tile))
            rows.append(pooled.value().to(second.image.dtype))
        return torch.stack(rows)

    def _band_maps(self, first: Analysis, second: Analysis) -> Iterator[Tensor]:
        """Distance at every position, (N, h, w), band by band."""
        for size, tiles in zip(self._sizes(second.image), self._tiles(first, second), strict=True):
            parts = list(tiles)
            whole = parts[0][1]
            if len(parts) > 1:
                height, width = (max(slices[axis].stop for slices, _ in parts) for axis in (0, 1))
                whole = second.image.new_empty(second.image.shape[0], height, width)
                for (rows, columns), tile in parts:
                    whole[:, rows, columns] = tile
            yield whole if size is None else pyramid.repeat(whole, self.config.block, size)

    def _tiles(self, first: Analysis, second: Analysis) -> Iterator[Iterator[tuple[Place, Tensor]]]:
        """For every band, its tiles: where they lie, in blocks, and the distance in each block, (N, h, w)."""
        tiled = self._tiled(second.image)
        sides = [self.bands(side.image, frugal=tiled) if side.bands is None else side.bands for side in (second, first)]
        for i, (y, x) in enumerate(zip(*sides, strict=True)):
            yield self._band_tiles(i, x, y, tiled)

    def _band_tiles(
        self, index: int, x: pyramid.Band | Mixture, y: pyramid.Band | Mixture, tiled: bool
    ) -> Iterator[tuple[Place, Tensor]]:
        span = self.config.block * self.config.stride
        size = (
            y.means.shape[-2:]
            if isinstance(y, Mixture)
            else [pyramid.blocks(length, span) for length in y.source.shape[-2:]]
        )
        scope = self.config.scope
        tile = max(1, TILE // span, 8 * (scope - 1))  # its surroundings add a quarter at most
        for where in grid(size, tile if tiled else None):
            outer, inner = with_halo(where, scope // 2, size)
            if isinstance(x, Mixture) or isinstance(y, Mixture):
                q_x, q_y = (self._at(index, side, outer) for side in (x, y))
            else:
                both = self._encode(index, x, outer, [x.source, y.source])
                q_x, q_y = both.split(y.source.shape[0])
            yield where, self._divergence(index, q_x, q_y, outer)[:, inner[0], inner[1]]

    def _at(self, index: int, side: pyramid.Band | Mixture, where: Place) -> Mixture:
        """q(z|.) in some blocks of a band, from what is known of it already, or from the band."""
        return side.crop(*where) if isinstance(side, Mixture) else self._encode(index, side, where, [side.source])

    def _divergence(self, index: int, q_x: Mixture, q_y: Mixture, where: Place) -> Tensor:
        if self.config.scope > 1:
            return scoped_distance(q_x.means[:, 0] - q_y.means[:, 0], self.config.scope, self.config.scope_share)
        if self.config.mixtures == 1:
            return squared_distance(q_x, q_y)
        return symmetrised_divergence(q_x, q_y, self._noise_at(index, where, q_x.means))

    def _encode(self, index: int, band: pyramid.Band, where: Place, sources: list[Tensor]) -> Mixture:
        """q(z|.) in some blocks of a band, for the sources in one batch.

        A tile is computed with its surroundings, clipped at the border of the image, so that zero
        padding happens where it would happen untiled.
        """
        config, size = self.config, sources[0].shape[-2:]
        halo = sum(f.shape[-1] // 2 for f in band.filters) + config.surround // 2
        halo += (1 + (len(config.filters) - 1) * config.stride) * (config.kernel // 2)
        halo += -halo % config.stride  # the first latent of a tile must stay on the grid of the whole
        outer, inner = with_halo(positions_of(where, config.block * config.stride, size), halo, size)
        part = torch.cat([source[..., outer[0], outer[1]] for source in sources]).contiguous()
        features = convolve(self.cnn[index], self.normalised(index, pyramid.Band(part, band.filters)))
        if where[0].stop is not None:
            features = features[..., self._latents_in(inner[0]), self._latents_in(inner[1])]
        latent: Mixture = self.marginal[index](features)
        if config.block == 1:
            return latent
        return Mixture(pyramid.reduce(latent.means[:, 0], config.block)[:, None], None)

    def _latents_in(self, positions: slice) -> slice:
        """Where the latents of some positions of a tile are; both start on the grid of strides."""
        stride = self.config.stride
        return slice(positions.start // stride, pyramid.blocks(positions.stop, stride))

    def normalised(self, index: int, band: pyramid.Band) -> Tensor:
        """A band, divided by the strength of its surround if the settings say so, (N, 3, h, w)."""
        values = band.compute(self.config.padding)
        if not self.config.surround or index == 0:
            return values
        divided: Tensor = self.surround[index - 1](values)
        return divided

    def bands(self, image: Tensor, *, frugal: bool = False) -> list[pyramid.Band]:
        """The pyramid of images (N, 3, H, W), coarsest first; `frugal` as in `pyramid.steerable`."""
        bands = self._decompose(pyramid.reduce(image, self.config.reduction), frugal)
        if self.config.detail:
            strength = pyramid.gradient_strength(image, self.config.reduction, frugal=frugal)
            bands.append(pyramid.Band(strength, ()))
        return bands

    def bands_of_crops(self, crops: Tensor) -> list[pyramid.Band]:
        """The same for crops of training: cut at random scales, they count as reduced, unless detail is asked for."""
        return self.bands(crops) if self.config.detail else self._decompose(crops)

    def _decompose(self, image: Tensor, frugal: bool = False) -> list[pyramid.Band]:
        config = self.config
        if config.pyramid == "steerable":
            bands = pyramid.steerable(image, self.filters, config.scales, config.padding, frugal=frugal)
            return bands if config.high_pass else bands[:-1]
        if config.pyramid == "laplacian":
            return pyramid.laplacian(image, config.scales, config.residual)
        return [pyramid.Band(image, ())]

    def _sizes(self, image: Tensor) -> list[tuple[int, int] | None]:
        """Height and width of every band, in latents; None where blocks are single latents."""
        config = self.config
        if config.block == 1:
            return [None] * config.bands
        height, width = (pyramid.blocks(side, config.reduction) for side in image.shape[-2:])
        positions = pyramid.steerable_sizes((height, width), config.scales, FILTER_SETS[config.filter_set])
        sizes = [(pyramid.blocks(h, config.stride), pyramid.blocks(w, config.stride)) for h, w in positions]
        return [*(sizes if config.high_pass else sizes[:-1]), *([sizes[-1]] if config.detail else [])]

    def _areas(self, size: tuple[int, int] | None, where: Place, like: Tensor) -> Tensor | None:
        """Positions that each block of a tile covers; None where all cover one."""
        if size is None:
            return None
        first = (where[0].start or 0, where[1].start or 0)
        return pyramid.block_areas(size, self.config.block, like, first)

    def _tiled(self, image: Tensor) -> bool:
        return self._positions(image) > TILED and self.config.padding == "same" and not torch.is_grad_enabled()

    def _positions(self, image: Tensor) -> int:
        """Of the finest band."""
        height, width = (pyramid.blocks(side, self.config.reduction) for side in image.shape[-2:])
        return height * width

    def _draw_noise(self) -> Tensor:
        config, period = self.config, NOISE_PERIOD
        shape = (config.bands, self.samples, config.mixtures, config.latent, period, period)
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float32)

    def _noise_at(self, index: int, where: Place, like: Tensor) -> Tensor:
        """Standard normal noise (S, M, D, h, w) at some positions of a band, the same for every image and tile."""
        assert self._noise is not None
        field = self._noise[index].to(like)
        height, width = like.shape[-2:]
        rows = torch.arange(where[0].start or 0, (where[0].start or 0) + height, device=like.device) % NOISE_PERIOD
        columns = torch.arange(where[1].start or 0, (where[1].start or 0) + width, device=like.device) % NOISE_PERIOD
        return field[..., rows, :][..., columns]

    def _load(self, tensors: dict[str, Tensor], path: str | Path) -> None:
        expected = self.state_dict()
        missing, foreign = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        if missing or foreign:
            raise WeightsError(f"{path} does not fit its settings: lacks {missing[:3]}, has unknown {foreign[:3]}")
        for name, tensor in tensors.items():
            if tensor.shape != expected[name].shape:
                raise WeightsError(
                    f"{path}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise WeightsError(f"{path}: {name} contains values that are not finite")
        self.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


def _min_size(config: PIMConfig, info: MetricInfo) -> int:
    """The smallest image side for which every band has a position left."""
    cnn = 1 + (len(config.filters) * (config.kernel - 1) if config.padding == "valid" else 0)
    side = cnn
    if config.pyramid == "laplacian":
        for level in range(config.scales):
            side = max(cnn if config.residual and level == 0 else cnn + 4, 2 * (side - 1) + 3 if level else 0)
    elif config.pyramid == "steerable" and config.padding == "valid":
        filters = pyramid.steerable_filters(config.filter_set)
        for _ in range(config.scales):
            side = max(cnn + filters.oriented.shape[-1] - 1, 2 * (side - 1) + filters.lo.shape[-1])
        side = max(side + filters.lo0.shape[-1] - 1, cnn + filters.hi0.shape[-1] - 1)
    return max(side * config.reduction, info.min_size)


def count_operations(config: PIMConfig) -> float:
    """Multiply-adds per pixel and image: pyramid, convolutions and encoders (pooling is left out)."""
    with torch.device("meta"):
        convolutions = sum(layer.weight.numel() for layer in band_network(config))
        dense = sum(layer.weight.numel() for layer in MarginalEncoder(config).modules() if isinstance(layer, nn.Linear))
    # Squares and quotients of three colours, and sums over windows along rows and columns.
    surround = 2 * (3 + config.surround) if config.surround else 0
    network = (convolutions + dense) / config.stride**2 + surround
    operations = _operations_per_position(config, network) / config.reduction**2
    # Differences along rows and columns, and their squares, are taken at every pixel.
    return operations + (network / config.reduction**2 + 4 * CHANNELS if config.detail else 0)


def _operations_per_position(config: PIMConfig, network: float) -> float:
    """Of all bands, per position of the finest one, when a network needs so many at each position of its band."""
    if config.pyramid == "none":
        return network
    quarters = [4.0**-scale for scale in range(config.scales + 1)]
    if config.pyramid == "laplacian":
        filters = 3 * 9 * (sum(quarters[1:]) + sum(quarters[:-1]))
        return sum(quarters[:-1]) * network + filters
    taps = pyramid.steerable_filters(config.filter_set)
    orientations = len(taps.oriented)
    positions = config.high_pass + orientations * sum(quarters[:-1]) + quarters[-1]
    filters = 3 * (taps.lo0.numel() + config.high_pass * taps.hi0.numel())
    filters += 3 * (taps.oriented.numel() * sum(quarters[:-1]) + taps.lo.numel() * sum(quarters[1:]))
    return positions * network + filters
