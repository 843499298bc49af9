"""Registration: what lies between two pictures in place and tone, taken back before any metric compares them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.pim.registration.displacement import LUMA, Lattice, inside, sample
from pim.pim.registration.displacement import Displacement as Displacement
from pim.pim.registration.displacement import register as register

BLOCK = 8  # side of the blocks whose means are compared: noise and blur hardly change them
ROUNDS = 6  # of counting blocks less that do not follow the rest
LIMITS = (0.25, 4.0)  # of a gain
LEFT = 0.3  # share of the difference, and of the reference's contrast, that a change must not leave unexplained
CONTRAST, BRIGHTNESS = 0.02, 0.004  # what is less in both is taken for none

Colour = tuple[float, float, float]
TRIED = 512  # columns


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
    """Find the contrast about the mean and the brightness of each colour that distorted pictures (N, 3, H, W) have got.

    The contrast comes from least squares on the means of blocks of 8 x 8 pixels, where blocks count less the less
    they follow (Cauchy weights, Holland and Welsch 1977); the brightness from the means of the pictures.

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
    """Give a distorted picture (..., 3, H, W) the tone of its reference, cut to [0, 1]; if none was found, itself."""
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


@dataclass(frozen=True)
class Charges:
    """What displacement and tone cost, in units of the metric: its value for a standard copy of a standard picture."""

    pixel: float = 0.03  # a pixel of displacement in the mean
    contrast: float = 4.5  # contrast lower by 1 in the natural logarithm
    more: float = 0.05  # the share of it that higher contrast costs
    brightness: float = 3.0  # a change of a mean by 1, of all three colours

    def of_displacement(self, displacement: Displacement) -> float:
        """What a displacement costs."""
        return self.pixel * displacement.pixels if displacement.found else 0.0

    def of_tone(self, tone: Tone) -> float:
        """What a change of tone costs; people forgive more contrast rather than less."""
        change = math.log(tone.contrast)
        contrast = max(-change, 0.0) + self.more * max(change, 0.0)
        return self.contrast * contrast + self.brightness * sum(map(abs, tone.brightness)) / 3


@dataclass(frozen=True)
class Stage:
    """A pair of pictures to compare, and what has been taken back before."""

    reference: Tensor  # (3, h, w)
    distorted: Tensor  # (3, h, w)
    displacement: Displacement | None = None
    tone: Tone | None = None

    def charge(self, charges: Charges) -> float:
        """What that costs, in units of the metric."""
        place = charges.of_displacement(self.displacement) if self.displacement else 0.0
        return place + (charges.of_tone(self.tone) if self.tone else 0.0)


def stages(reference: Tensor, distorted: Tensor, displacement: Displacement, *, tone: bool) -> Iterator[Stage]:
    """Yield pictures (3, H, W) as they are, then aligned, then with the tone taken back too, where that changes them.

    The distance is the least, over the stages, of the distance of the pictures and the charge.
    """
    yield Stage(reference, distorted)
    moved = displacement if displacement.found else None
    if moved:
        reference, distorted = overlay(reference, distorted, moved)
        yield Stage(reference, distorted, moved)
    if tone and min(reference.shape[-2:]) >= 8:
        (change,) = register_tone(reference[None], distorted[None])
        if change.found:
            yield Stage(reference, take_back(distorted, change), moved, change)


def overlay(reference: Tensor, distorted: Tensor, displacement: Displacement) -> tuple[Tensor, Tensor]:
    """Lay a distorted picture (3, H, W) on its reference; cut both to the largest rectangle that both show, (3, h, w).

    Any metric can compare what is left: nothing in it lacks a partner, so no value needs correcting for that. Gradients
    reach both pictures; the displacement is a constant. What is not displaced is returned as it is.
    """
    if not displacement.found:
        return reference, distorted
    size = (reference.shape[-2], reference.shape[-1])
    places = Lattice(size).places(_about_middle(displacement.matrix, size).to(reference))
    top, bottom, left, right = _largest_rectangle(inside(places, size)[0])
    moved = sample(distorted[None], places[:, top:bottom, left:right], "bicubic")[0].clamp(0, 1)
    return reference[:, top:bottom, left:right], moved


def _largest_rectangle(inside: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the largest rectangle in a convex area (h, w), bool, that is not empty.

    Of wide areas only some columns are tried, some hundreds.
    """
    height, width = inside.shape
    columns = torch.arange(0, width, -(-width // TRIED), device=inside.device)
    inside = inside[:, columns]
    first = inside.byte().argmax(0)
    last = torch.where(inside.any(0), height - inside.flip(0).byte().argmax(0), first)
    # What lies between two columns of a convex area is at least as high as what both have.
    low, high = torch.maximum(first[:, None], first), torch.minimum(last[:, None], last)
    area = (high - low).clamp_min(0) * (columns + 1 - columns[:, None]).clamp_min(0)
    left, right = divmod(int(area.argmax()), len(columns))
    return int(low[left, right]), int(high[left, right]), int(columns[left]), int(columns[right]) + 1


def _about_middle(matrix: tuple[tuple[float, ...], ...], size: tuple[int, int]) -> Tensor:
    """The warp (1, 2, 3) about the middle of a picture of `size` that a matrix gives from its first pixel."""
    given = torch.tensor(matrix, dtype=torch.float64)
    middle = torch.tensor([[(size[1] - 1) / 2], [(size[0] - 1) / 2]], dtype=torch.float64)
    return torch.cat([given[:, :2], given[:, 2:] + given[:, :2] @ middle - middle], 1)[None]


def describe(displacement: Displacement, tone: Tone) -> str:
    """Say how a distorted picture lies beside its reference and how its tone has changed, in one line.

    >>> describe_tone(Tone(0.75, (-0.02, -0.02, -0.02), (0.5, 0.5, 0.5), None))
    'contrast 25 % lower; a little darker'
    """
    parts = [describe_displacement(displacement), describe_tone(tone)]
    return "; ".join(part for part in parts if part) or "neither displaced nor of another tone"


def describe_displacement(displacement: Displacement) -> str:
    """Say what a displacement is, in one line; empty where there is none."""
    if not displacement.found:
        return ""
    right, down = (round(length, 1) for length in displacement.shift)
    ways = [(right, "right" if right > 0 else "left"), (down, "down" if down > 0 else "up")]
    shift = " and ".join(f"{abs(length):.1f} px {way}" for length, way in ways if length)
    turn, zoom = round(displacement.turn, 1), round(displacement.zoom, 1)
    parts = [
        f"shifted by {shift}" if shift else "",
        f"turned by {abs(turn):.1f} degrees {'' if turn > 0 else 'counter'}clockwise" if turn else "",
        f"{abs(zoom):.1f} % {'larger' if zoom > 0 else 'smaller'}" if zoom else "",
    ]
    return "; ".join(part for part in parts if part) or f"displaced by {displacement.pixels:.2f} px in the mean"


def describe_tone(tone: Tone) -> str:
    """Say what a change of tone is, in one line; empty where there is none."""
    if not tone.found:
        return ""
    percent = round(100 * (tone.contrast - 1))
    red, green, blue = tone.brightness
    light = sum(weight * offset for weight, offset in zip(LUMA, tone.brightness, strict=True))
    parts = [
        f"contrast {abs(percent)} % {'higher' if percent > 0 else 'lower'}" if percent else "",
        _amount(light, "brighter", "darker", 0.01),
        _amount(red - blue, "warmer", "cooler", 0.01),
        _amount(green - (red + blue) / 2, "greener", "more magenta", 0.01),
    ]
    return "; ".join(part for part in parts if part) or "a trace of another tone"


def _amount(change: float, more: str, less: str, least: float) -> str:
    """How much a change of values in [0, 1] is: under .05 a little, over .15 much."""
    if abs(change) < least:
        return ""
    how = "a little " if abs(change) < 0.05 else "much " if abs(change) > 0.15 else ""
    return how + (more if change > 0 else less)
