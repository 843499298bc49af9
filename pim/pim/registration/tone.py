"""Registration of the tone: which contrast, brightness and colour cast lie between two pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # side of the blocks whose means are compared: noise and blur hardly change them
ROUNDS = 4  # of weighing down blocks that do not follow the rest
LIMITS = (0.25, 4.0)  # of a gain
LEAST_GAIN, LEAST_OFFSET = 0.03, 0.01  # less is taken for none
EXPLAINED = 0.5  # a change that leaves more than this share of the difference between blocks is taken for chance


@dataclass(frozen=True)
class Tone:
    """How the tone of a distorted picture differs from that of its reference, in R, G and B."""

    contrast: tuple[float, float, float]  # of the distorted picture over that of the reference
    brightness: tuple[float, float, float]  # mean of the distorted picture less that of the reference
    reason: str | None = None  # why the pictures are compared as they are; None if the tone has changed

    @property
    def found(self) -> bool:
        """Whether the tone has changed."""
        return self.reason is None


def register_tone(reference: Tensor, distorted: Tensor) -> list[Tone]:
    """Find the gain about the mean and the offset of each colour that bring the distorted picture to its reference.

    By least squares on means of blocks of 8 x 8 pixels, where blocks that do not follow count less (Cauchy weights,
    scale from the median).

    Args:
        reference: (N, 3, H, W), sRGB in [0, 1], H and W at least 8; not checked here.
        distorted: The same shape.

    Returns:
        N changes of tone; where none explains the pair, that of no change with the reason.
    """
    with torch.no_grad():
        a, b = (F.avg_pool2d(image.float(), BLOCK).flatten(2) for image in (reference, distorted))
        gain, rest = _fit(a, b)
        before = (a - b).square().mean((1, 2))
        offset = (distorted.float() - reference.float()).mean((2, 3))
        ...
