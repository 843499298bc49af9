"""How a PIM is trained: one frozen dataclass, stored with checkpoints and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pim.errors import UsageError

GONE = {  # settings of older files that had no effect there
    "chroma": 0.0,
    "optimiser": "adam",
    "weight_decay": 0.0,
    "equal_bands": 0.0,
    "equal_positions": 0.0,
}


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Objective, batches, what a pair may differ by, optimiser.

    The photometric options decide what the metric forgives: whatever differs between the two frames of
    a pair, without telling pairs apart, carries no information about both.
    """

    steps: int = 600
    batch: int = 64  # pairs in a minibatch; the bound cannot exceed log(batch)
    per_source: int = 8  # crops of one source in a minibatch: negatives that are harder to tell apart
    window: int = 32  # side of the random window taken from each crop, pixels
    bound: Literal["position", "scale", "image"] = "scale"
    gain: float = 0.3  # deviation of log contrast, independent for the two frames
    offset: float = 0.1  # deviation of brightness, independent for the two frames
    noise: float = 0.12  # white noise: its deviation is uniform in 0 .. noise for each pair
    chroma_noise: float = 0.0  # the same for noise in the two colour-difference signals, which leaves luma alone
    shift: int = 3  # the window of the second frame is displaced by up to this many pixels
    learning_rate: float = 2e-3  # at its peak
    warm_up: float = 0.1  # share of the steps in which it rises; then it falls as a cosine
    final_rate: float = 0.01  # share of the peak that is left at the end
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.98  # decay of the running mean of the weights; 0: the last weights count
    weigh: bool = False  # bands count by the pictures they hold, and unrelated crops are 1 apart; otherwise all weigh 1
    start_crops: int = 128  # crops for the data-dependent start
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        whole = {"steps": 1, "batch": 2, "per_source": 1, "window": 8, "start_crops": 8}
        for name, smallest in whole.items():
            if getattr(self, name) < smallest:
                raise UsageError(f"{name} must be {smallest} or more; got {getattr(self, name)}")
        for name in ("gain", "offset", "noise", "chroma_noise", "shift"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative; got {getattr(self, name)}")
        for name in ("warm_up", "final_rate", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in [0, 1); got {getattr(self, name)}")
        if self.learning_rate <= 0 or self.clip <= 0:
            raise UsageError("learning_rate and clip must be positive")
        if self.bound not in ("position", "scale", "image"):
            raise UsageError(f"bound must be position, scale or image; got {self.bound!r}")

    def bare(self) -> TrainSettings:
        """The same without any jitter between the frames of a pair."""
        return replace(self, gain=0.0, offset=0.0, noise=0.0, chroma_noise=0.0, shift=0)
