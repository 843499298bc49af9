"""PIM, the unsupervised information-theoretic metric, to be called: networks and weights around the formula.

Source: Bhardwaj, Fischer, Ballé, Chinen, "An Unsupervised Information-Theoretic Perceptual Quality
Metric", arXiv 2006.06752; the formula stands in `pim.pim.distance`. Deviations: the weights are our own training;
images can be reduced first, bands added, left out or normalised, latents taken with a stride (`PIMConfig`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pim.core import weights
from pim.core.device import Constants
from pim.core.info import MetricInfo
from pim.core.metric import Metric, Prepared
from pim.errors import UsageError, WeightsError
from pim.pim.distance import Mixture, divergence, over_bands, over_positions
from pim.pim.networks import DivisiveNormalisation, MarginalEncoder, Modules, PIMConfig, band_network, convolve, glorot_
from pim.pim.pyramid import Band, Pyramid, blocks

if TYPE_CHECKING:
    from pim.pim.tiled import Tiles
    from pim.pim.tiles import Place

TILED = 1 << 20  # positions of an image above which a band is computed in tiles
KEEP = 1 << 22  # positions up to which `prepare` keeps latents (146 bytes a pixel), above the image itself
NOISE_PERIOD = 128  # side of the field of noise that PIM-5 repeats over a band
ALL = slice(None)


@dataclass(frozen=True)
class Analysis:
    """An image with the latents of every band, as `prepare` keeps them; without them if it is large."""

    image: Tensor
    bands: tuple[Mixture, ...] | None = None


class PIM(Metric):
    """Perceptual distance between two images: 0 for identical ones, larger for more different ones.

    Args:
        config: Architecture and pooling.
        info: Name and properties, for metrics that ship; without it they follow from the settings.
        seed: Of the noise with which PIM-5 estimates its distance; PIM-1 has none.
        samples: Draws of that noise; the error falls as 1 / sqrt(samples * positions).

    A new PIM has random weights; `PIM.load` reads a file, `pim.load` finds those that ship.
    """

    def __init__(self, config: PIMConfig, info: MetricInfo | None = None, *, seed: int = 0, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise UsageError(f"samples must be 1 or more; got {samples}")
        self.config, self.seed, self.samples = config, seed, samples
        self.info = info or _about(config)
        self.pyramid = Pyramid(config)
        self.cnn = Modules(band_network(config, pictures) for pictures in config.pictures)
        self.marginal = Modules(MarginalEncoder(config) for _ in range(config.bands))
        glorot_(self)
        # The coarsest band is brightness and colour, which masks nothing.
        self.surround = Modules(
            DivisiveNormalisation(config.surround, pictures, config.padding)
            for pictures in (config.pictures[1:] if config.surround else ())
        )
        self.weighting = Constants(bands=torch.tensor(config.band_weights, dtype=torch.float64))
        self._noise: Tensor | None
        self.register_buffer("_noise", self._draw_noise() if config.mixtures > 1 else None, persistent=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Architecture, pooling, and what the noise of PIM-5 depends on."""
        return {**self.config.to_dict(), "seed": self.seed, "samples": self.samples}

    @classmethod
    def load(cls, path: str | Path, info: MetricInfo | None = None) -> PIM:
        """Load the metric of a weight file that ships or that `pim train` made, for evaluation, frozen.

        Raises:
            WeightsError: if it is missing, damaged, of an unknown version, or its tensors do not fit its settings.
        """
        header, tensors = weights.read(path, "pim", "of a PIM")
        try:
            config = PIMConfig.from_dict(header.config)
        except UsageError as error:
            raise WeightsError(f"{path} has settings that this version does not know: {error}") from error
        metric = cls(config, info or _about(config, Path(path).stem))
        metric._load(tensors, path)
        metric.trained_on = tuple(header.training.get("trained_on", ()))
        metric.weights_hash = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return metric.eval().requires_grad_(False)

    def save(self, path: str | Path) -> None:
        """Write weights and settings to a .safetensors file for `pim.load`; raises PimError if it cannot be written."""
        story = {"trained_on": list(self.trained_on)}
        weights.write(path, self.state_dict(), weights.WeightHeader("pim", self.config.to_dict(), story))

    @classmethod
    def shipped(cls, info: MetricInfo) -> PIM:
        """Load the weights that ship under a name."""
        return cls.load(weights.shipped()[Path(info.weights or "").stem], info)

    def per_band(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Compute the distance in every band, coarsest first, (B, N), of images (N, 3, H, W), not checked here."""
        return self._per_band(Analysis(reference), Analysis(distorted))

    def latents(self, image: Tensor) -> Iterator[Mixture]:
        """Compute q(z|x) in every band of images (N, 3, H, W), not checked here, coarsest first, one at a time."""
        for i, band in enumerate(self.pyramid(image, frugal=self._tiled(image))):
            yield self.encode(i, band)

    def encode(self, index: int, band: Band, rows: slice = ALL, columns: slice = ALL) -> Mixture:
        """Compute q(z|x) in one band, at all positions or at some of them."""
        features = convolve(self.cnn[index], self.normalised(index, band))
        latents: Mixture = self.marginal[index](features[..., rows, columns])
        return latents

    def normalised(self, index: int, band: Band) -> Tensor:
        """A band, divided by the strength of its surround if the settings say so, (N, 3, h, w)."""
        values = band.compute(self.config.padding)
        if not self.config.surround or index == 0:
            return values
        divided: Tensor = self.surround[index - 1](values)
        return divided

    def noise(self, index: int, like: Tensor, where: Place = (ALL, ALL)) -> Tensor | None:
        """The noise (S, M, D, h, w) at some positions of a band, the same for every image; None for PIM-1."""
        if self._noise is None:
            return None
        rows, columns = (
            torch.arange(part.start or 0, (part.start or 0) + length, device=like.device) % NOISE_PERIOD
            for part, length in zip(where, like.shape[-2:], strict=True)
        )
        return self._noise[index].to(like.dtype)[..., rows, :][..., columns]

    def _analyse(self, image: Tensor) -> Analysis:
        small = self._positions(image) <= KEEP
        return Analysis(image, tuple(self.latents(image)) if small else None)

    def _compare(self, features: Analysis, distorted: Tensor) -> Tensor:
        return self._distance(features, Analysis(distorted))

    def _compare_analysed(self, reference: Prepared, distorted: Prepared) -> Tensor:
        return self._distance(reference.features, distorted.features)

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
        height, width = distorted.shape[-2:]
        from pim.pim.maps import distance_map

        second = Analysis(distorted)
        if self._tiled(distorted):
            from pim.pim.tiled import joined

            places: Iterable[Tensor] = map(joined, self._tiles(features, second))
        else:
            places = self._divergences(features, second)
        return distance_map(places, self._band_weights(), self.config, (height, width))

    def _distance(self, first: Analysis, second: Analysis) -> Tensor:
        return over_bands(self._per_band(first, second), self._band_weights())

    def _per_band(self, first: Analysis, second: Analysis) -> Tensor:
        if self._tiled(second.image):
            parts: Iterator[Iterable[Tensor]] = ((t for _, t in band) for band in self._tiles(first, second))
        else:
            parts = ([places] for places in self._divergences(first, second))
        rows = [over_positions(band, self.config) for band in parts]
        return torch.stack(rows).to(second.image.dtype)

    def _divergences(self, first: Analysis, second: Analysis) -> Iterator[Tensor]:
        """At every position, (N, h, w), band by band."""
        both: Iterable[tuple[Mixture, Mixture]]
        if first.bands is None and second.bands is None:  # both in one batch
            both = (q.split(first.image.shape[0]) for q in self.latents(torch.cat([first.image, second.image])))
        else:
            x, y = (self.latents(side.image) if side.bands is None else side.bands for side in (first, second))
            both = zip(x, y, strict=True)
        for i, (p, q) in enumerate(both):
            yield divergence(p, q, self.noise(i, q.means))

    def _tiles(self, first: Analysis, second: Analysis) -> Iterator[Tiles]:
        """The same in tiles."""
        from pim.pim.tiled import divergences

        known = (
            self.pyramid(side.image, frugal=True) if side.bands is None else side.bands for side in (first, second)
        )
        return divergences(self, *known)

    def _tiled(self, image: Tensor) -> bool:
        return self._positions(image) > TILED and self.config.padding != "valid" and not torch.is_grad_enabled()

    def _positions(self, image: Tensor) -> int:
        """Of the finest band."""
        height, width = (blocks(side, self.config.reduction) for side in image.shape[-2:])
        return height * width

    def _band_weights(self) -> Tensor | None:
        return self.weighting["bands"] if self.config.band_weights else None

    def _draw_noise(self) -> Tensor:
        config, period = self.config, NOISE_PERIOD
        shape = (config.bands, self.samples, config.mixtures, config.latent, period, period)
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float32)

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


def _about(config: PIMConfig, name: str = "pim") -> MetricInfo:
    from pim.pim.cost import about  # counting takes networks of its own; metrics that ship are known

    return about(config, name)
