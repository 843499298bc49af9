"""Registration of the tone: which contrast, brightness and colour cast lie between two pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8  # side of the blocks whose means are compared: noise and blur hardly change them
ROUNDS = 6  # of counting blocks less that do not follow the rest
LIMITS = (0.25, 4.0)  # of a gain
LEFT = 0.3  # share of the difference, and of the reference's contrast, that a change must not leave unexplained
CONTRAST, BRIGHTNESS = 0.02, 0.004  # what is less in both is taken for none

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Tone:
    """How the tone of a distorted picture differs from that of its reference."""

    contrast: float  # of the distorted picture, that of the reference is 1
    brightness: Colour  # mean of the distorted picture less that of the reference, in R, G and B
    mean: Colour  # of the reference, in R, G and B
    reason: str | None  # why the pictures are compared as they are; None if the tone has changed

    @property
    def found(self) -> bool:
        """Whether the tone has changed."""
        return self.reason is None


def register_tone(reference: Tensor, distorted: Tensor) -> list[Tone]:
    """Find the contrast about the mean and the brightness of each colour that the distorted pictures have got.

    The contrast comes from least squares on the means of blocks of 8 x 8 pixels, where blocks count less the less
    they follow (Cauchy weights, Holland and Welsch 1977); the brightness from the means of the pictures.

    Args:
        reference: (N, 3, H, W), sRGB in [0, 1], sides of at least 8; not checked here.
        distorted: The same shape.

    Returns:
        N changes of tone; where none explains the pair, that of no change with the reason.
    """
    with torch.no_grad():
        a, b = (F.avg_pool2d(image.float(), BLOCK).flatten(2) for image in (reference, distorted))
        gain, explained = _fit(a, b)
        mean, offset = reference.float().mean((2, 3)), (distorted.float() - reference.float()).mean((2, 3))
        small = (gain.log().abs() < CONTRAST) & (offset.abs().amax(1) < BRIGHTNESS)
        rows = torch.cat([gain[:, None], offset, mean, explained[:, None], small[:, None]], 1).cpu().tolist()
    return [_tone(*row) for row in rows]


def take_back(distorted: Tensor, tone: Tone) -> Tensor:
    """The distorted picture with the tone of its reference.

    Args:
        distorted: (..., 3, H, W), sRGB in [0, 1].
        tone: What `register_tone` found.

    Returns:
        The same shape, cut to [0, 1]; the very picture if no change was found.
    """
    if not tone.found:
        return distorted
    mean, brightness = (distorted.new_tensor(colour)[:, None, None] for colour in (tone.mean, tone.brightness))
    return ((distorted - mean - brightness) / tone.contrast + mean).clamp(0, 1)


def _tone(gain: float, *rest: float) -> Tone:
    (r, g, b), (mean_r, mean_g, mean_b), explained, small = rest[:3], rest[3:6], rest[6], rest[7]
    mean = (mean_r, mean_g, mean_b)
    if small or not explained:
        return Tone(1.0, (0.0, 0.0, 0.0), mean, "the same tone" if small else "no change of tone makes them more alike")
    return Tone(1 / gain, (r, g, b), mean, None)


def _fit(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Gain that brings b to a, (N, 3, n), and whether that makes them alike, each (N,)."""
    weight, tiny = torch.ones_like(a[:, :1]), 1e-6
    for _ in range(ROUNDS):
        total = weight.sum(2, keepdim=True)
        da, db = (t - (t * weight).sum(2, keepdim=True) / total for t in (a, b))
        both, own = ((product * weight).sum((1, 2)) for product in (da * db, db.square()))
        prior = tiny * total[:, 0, 0]  # flat pictures have a gain of 1
        gain = ((both + prior) / (own + prior)).clamp(*LIMITS)
        rest = (da - gain[:, None, None] * db).square().sum(1, keepdim=True)
        fit = weight
        weight = 1 / (1 + rest / (4 * rest.median(2, keepdim=True).values).clamp_min(tiny))
    after, before, own = ((t * fit).sum((1, 2)) for t in (rest, (a - b).square(), da.square()))
    return gain, (after <= LEFT * before) & (after <= LEFT * own + tiny)
