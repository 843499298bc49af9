"""How a codec is trained: one frozen dataclass, stored with checkpoints and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ntc.models.latents import Proxy, Rounding
from pim.errors import UsageError


@dataclass(frozen=True, slots=True)
class CodecTraining:
    """Objective, batches, optimiser."""

    steps: int = 4000
    batch: int = 8  # patches in a minibatch
    window: int = 128  # side of the random window of each patch, pixels; a multiple of 64
    distortion: str = "mse"  # for the record; what is computed is passed beside the settings
    rounding: Rounding = "mixed"  # what stands for rounding
    alpha: float = 4.0  # steepness of soft rounding at the end; it rises from 1 over the first quarter
    first_weights: Literal["images", "random"] = "images"  # codecs with relu start at random
    optimiser: Literal["adam", "sadam"] = "adam"
    learning_rate: float = 1e-3  # at its peak
    warm_up: float = 0.02  # share of the steps in which it rises; then it falls as a cosine
    final_rate: float = 0.01  # share of the peak that is left at the end
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.995  # decay of the running mean of the weights; 0: the last weights count
    half: bool = False  # round the final weights to what 16 bits hold: half the file
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.steps < 1 or self.batch < 1 or self.window < 64 or self.window % 64:
            raise UsageError(
                "steps and batch must be 1 or more, window a multiple of 64; got "
                f"{self.steps}, {self.batch} and {self.window}"
            )
        for name in ("warm_up", "final_rate", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1); got {getattr(self, name)}")
        if self.learning_rate <= 0 or self.clip <= 0 or self.alpha <= 0:
            raise UsageError("learning_rate, clip and alpha must be positive")
        if self.rounding not in get_args(Rounding):
            raise UsageError(f"rounding must be one of {', '.join(get_args(Rounding))}; got {self.rounding!r}")
        if self.first_weights not in ("images", "random"):
            raise UsageError(f"first_weights must be images or random; got {self.first_weights!r}")
        if self.optimiser not in ("adam", "sadam"):
            raise UsageError(f"optimiser must be adam or sadam; got {self.optimiser!r}")

    def proxy_at(self, step: int) -> Proxy:
        """What stands for rounding at a step: soft rounding grows steeper over the first quarter."""
        done = min(1.0, 4 * step / self.steps)
        return Proxy(self.rounding, 1 + (self.alpha - 1) * done)
