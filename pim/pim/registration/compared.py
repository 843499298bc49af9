"""The pictures that are compared once displacement and tone are known, and what each of the two costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pim.pim.registration.displacement import Displacement
from pim.pim.registration.tone import Tone, register_tone, take_back
from pim.pim.registration.warp import Lattice, about_middle, inside, sample

TRIED = 512  # columns


@dataclass(frozen=True)
class Charges:
    """What displacement and tone cost, in units of the metric: its value for a standard copy of a standard picture."""

    pixel: float = 0.04  # a pixel of displacement in the mean
    contrast: float = 4.5  # contrast lower by 1 in the natural logarithm
    more: float = 0.1  # the share of it that higher contrast costs
    brightness: float = 6.0  # a change of a mean by 1, of all three colours

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
    """The pictures as they are, then aligned, then with the tone taken back as well; what changes nothing is left out.

    The distance is the least, over the stages, of the distance of the pictures and the charge.

    Args:
        reference: (3, H, W), sRGB in [0, 1].
        distorted: The same shape.
        displacement: What `register` found.
        tone: Whether to look for a change of tone.
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
    """Lay the distorted picture on its reference and cut both to the largest rectangle that both show.

    Any metric can compare what is left: nothing in it lacks a partner, so no value needs correcting for that. Gradients
    reach both pictures; the displacement is a constant.

    Args:
        reference: (3, H, W), sRGB in [0, 1].
        distorted: The same shape.
        displacement: What `register` found.

    Returns:
        Reference and distorted picture, (3, h, w) each; the very pictures if they are not displaced.
    """
    if not displacement.found:
        return reference, distorted
    size = (reference.shape[-2], reference.shape[-1])
    places = Lattice(size).places(about_middle(displacement.matrix, size).to(reference))
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
