"""The settings of a codec: one frozen dataclass that travels with the weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from pim.errors import UsageError

Kind = Literal["factorised", "scale", "mean-scale", "joint"]
Nonlinearity = Literal["gdn", "gdn-2016", "relu"]
KINDS: tuple[Kind, ...] = ("factorised", "scale", "mean-scale", "joint")


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Architecture of a codec.

    Raises:
        UsageError: if a value is impossible, with what is allowed.
    """

    kind: Kind = "mean-scale"
    widths: tuple[int, ...] = (128, 128, 128)  # channels between the convolutions, at 1/2, 1/4 and 1/8 of the sides
    latents: int = 192  # channels of the latents y, M in the papers
    hyper: int = 128  # channels of the hyper-latents z, N in the papers, where all widths are N too
    nonlinearity: Nonlinearity = "gdn"  # simplified GDN, the first published GDN, or none
    lambdas: tuple[float, ...] = (0.013,)  # weight of the distortion; several: one codec for all rates between

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.nonlinearity not in ("gdn", "gdn-2016", "relu"):
            raise UsageError(f"nonlinearity must be gdn, gdn-2016 or relu; got {self.nonlinearity!r}")
        if len(self.widths) != 3:
            raise UsageError(f"widths must be three numbers; got {self.widths}")
        counts = (*self.widths, self.latents, self.hyper)
        if not all(isinstance(value, int) and 1 <= value <= 1024 for value in counts):
            raise UsageError(f"widths, latents and hyper must be whole numbers from 1 to 1024; got {counts}")
        rising = all(a < b for a, b in zip(self.lambdas, self.lambdas[1:], strict=False))
        if not 1 <= len(self.lambdas) <= 64 or not rising or not 0 < min(self.lambdas) <= max(self.lambdas) < 1e6:
            raise UsageError(f"lambdas must be 1 to 64 rising positive numbers; got {self.lambdas}")

    @classmethod
    def uniform(
        cls,
        width: int,
        kind: Kind = "mean-scale",
        *,
        latents: int,
        nonlinearity: Nonlinearity = "gdn",
        lambdas: tuple[float, ...] = (0.013,),
    ) -> CodecConfig:
        """Take the published shape: N channels, `width`, everywhere but in the latents, which have M."""
        return cls(kind, (width,) * 3, latents, width, nonlinearity, lambdas)

    @property
    def conditioned(self) -> bool:
        """Whether one codec serves several rates."""
        return len(self.lambdas) > 1

    @property
    def stride(self) -> int:
        """Sides of images are padded to multiples of this many pixels."""
        return 16 if self.kind == "factorised" else 64

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CodecConfig:
        """From plain values, as `to_dict` made them.

        Raises:
            UsageError: if a key is unknown or a value impossible.
        """
        settings: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**settings)
        except TypeError as error:  # an unknown key, or a value of another type in a damaged header
            raise UsageError(f"impossible settings of a codec: {error}") from error
