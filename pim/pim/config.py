"""The settings of a PIM: one frozen dataclass that travels with the weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pim.errors import UsageError

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
        """From plain values, as `to_dict` made them.

        Raises:
            UsageError: if a key is unknown or a value impossible, or if a file of an older version uses what is gone.
        """
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
