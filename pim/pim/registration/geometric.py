"""Registration of the geometry: which shift, turn and zoom lies between two pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.pim.registration import ecc, search
from pim.pim.registration.displacement import Displacement, mean_length
from pim.pim.registration.warp import Lattice, identity, inside, plus_identity, sample

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SEARCHED = 96  # longest side of the copies on which everything is tried
LARGEST = 1 << 19  # blocks of the finest copy
STARTS = 4  # beside that of no motion
STEPS = (10, 5, 4)  # on the smallest copies, on those between, on the pictures

STILL = 0.1  # pixels in the mean: less is taken for none
BETTER = 0.85  # a displacement that leaves more than this share of the unexplained variance is taken for chance
SAME = 0.7  # correlation of details under which two pictures show different things
OVERLAP = 0.5  # share of the picture that must have a partner


class Copies(NamedTuple):
    """Reduced lumas of N pictures, (N, 1, h, w) each, finest first."""

    images: list[Tensor]
    lattices: list[Lattice]  # where the pixels of each lie
    surround: Tensor  # (N, 1, h, w) means of wide surroundings, as small as the last image

    def of(self, pairs: Tensor) -> Copies:
        """The copies of some of the pictures."""
        return Copies([image[pairs] for image in self.images], self.lattices, self.surround[pairs])

    def details(self, level: int) -> Tensor:
        """What an image has beside its surroundings: light and borders that both pictures share hide a displacement."""
        image = self.images[level]
        return image - F.interpolate(self.surround, size=image.shape[-2:], mode="bilinear", align_corners=False)


def register(reference: Tensor, distorted: Tensor) -> list[Displacement]:
    """Find how the content of each reference lies in the distorted picture.

    Args:
        reference: (N, 3, H, W), sRGB in [0, 1]; not checked here.
        distorted: The same shape.

    Returns:
        N displacements; where none explains the pair better, that of no motion with the reason.
    """
    with torch.no_grad():
        gray, other = (_gray(image.float()) for image in (reference, distorted))
        first, second = _copies(gray), _copies(other)
        size = (gray.shape[-2], gray.shape[-1])
        warps, overlap = identity(len(gray), gray), [1.0] * len(gray)
        reasons: list[str | None] = ["not displaced"] * len(gray)
        here = ecc.step(ecc.analyse(first.images[0], first.lattices[0]), second.images[0])
        moves = (mean_length(plus_identity(here.motion), size) >= STILL) | (here.correlation < SAME)
        moving = torch.nonzero(moves)[:, 0]
        if len(moving):
            found = _search(first.of(moving), second.of(moving))
            found = _polish(_smooth(gray[moving]), _smooth(other[moving]), found)
            judged = _judge(first.of(moving), second.of(moving), found)
            for pair, warp, (reason, share) in zip(moving.cpu().tolist(), found, judged, strict=True):
                reasons[pair] = reason
                if reason is None:
                    warps[pair], overlap[pair] = warp, share
        return [Displacement.of(w, size, s, why) for w, s, why in zip(warps.cpu(), overlap, reasons, strict=True)]


def _search(first: Copies, second: Copies) -> Tensor:
    """The warps that fit best on the copies, (N, 2, 3)."""
    reference, distorted, lattice = first.details(-1), second.details(-1), first.lattices[-1]
    global_ = search.starts(reference, distorted, lattice, STARTS)
    starts = torch.cat([identity(len(reference), reference)[:, None], global_], 1)
    many = starts.shape[1]
    known = ecc.analyse(reference.repeat_interleave(many, 0), lattice)
    warps, fit = ecc.climb(known, distorted.repeat_interleave(many, 0), starts.flatten(0, 1), STEPS[0], OVERLAP)
    best = fit.reshape(-1, many).argmax(1)
    found = warps.reshape(-1, many, 2, 3)[torch.arange(len(best), device=best.device), best]
    for i in range(len(first.images) - 2, 0, -1):
        known = ecc.analyse(first.images[i], first.lattices[i])
        found = ecc.climb(known, second.images[i], found, STEPS[1], OVERLAP)[0]
    return found


def _polish(reference: Tensor, distorted: Tensor, warps: Tensor) -> Tensor:
    """The same, right to some hundredths of a pixel: the copies have lost the finest structure."""
    size = (reference.shape[-2], reference.shape[-1])
    known = ecc.analyse(reference, Lattice(size, every=_finest(size)))
    return ecc.climb(known, distorted, warps, STEPS[2], OVERLAP, "bicubic")[0]


def _judge(first: Copies, second: Copies, warps: Tensor) -> Iterator[tuple[str | None, float]]:
    """For every pair, why its warp is not believed, or None, and the share of the reference that has a partner."""
    lattice = first.lattices[0]
    places = lattice.places(warps)
    both = inside(places, lattice.blocks)
    reference, distorted = first.details(0), second.details(0)
    before, after = (_correlation(reference, other, both) for other in (distorted, sample(distorted, places)))
    chance = (1 - after**2 > BETTER * (1 - before**2)) | (mean_length(warps, lattice.full) < STILL)
    lattice = Lattice(lattice.full, every=lattice.factor)
    shares = inside(lattice.places(warps), lattice.full).float().mean((1, 2))
    for share, same, random in torch.stack([shares, after, chance], 1).cpu().tolist():
        if share < OVERLAP:
            yield "less than half of the pictures overlap", share
        elif same < SAME:
            yield "they show different things", share
        else:
            yield "no displacement makes them more alike" if random else None, share


def _correlation(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """Of pictures (N, 1, h, w) in some places (N, h, w), (N,)."""
    weight = where.to(a) / where.sum((1, 2), keepdim=True).clamp_min(1)
    a, b = (t[:, 0] - (t[:, 0] * weight).sum((1, 2), keepdim=True) for t in (a, b))
    products = (a * b * weight, a.square() * weight, b.square() * weight)
    ab, aa, bb = (product.sum((1, 2)) for product in products)
    return ab / (aa * bb).clamp_min(1e-12).sqrt()


def _copies(gray: Tensor) -> Copies:
    size = (gray.shape[-2], gray.shape[-1])
    lattices = [Lattice(size, _finest(size))]
    images = [_smooth(F.avg_pool2d(gray, lattices[0].factor))]
    while max(images[-1].shape[-2:]) > SEARCHED and min(images[-1].shape[-2:]) >= 32:
        images.append(F.avg_pool2d(images[-1], 2))
        lattices.append(Lattice(size, 2 * lattices[-1].factor))
    side = min(images[-1].shape[-2:]) // 4 | 1
    surround = F.avg_pool2d(images[-1], side, 1, side // 2, count_include_pad=False)
    return Copies(images, lattices, surround)


def _finest(size: tuple[int, int]) -> int:
    """The side of the blocks of the finest copy."""
    factor = 1 if min(size) < 128 else 2
    while size[0] * size[1] > LARGEST * factor**2:
        factor *= 2
    return factor


def _gray(image: Tensor) -> Tensor:
    luma: Tensor = torch.tensordot(image, image.new_tensor(LUMA), ([1], [0]))
    return luma[:, None]


def _smooth(gray: Tensor) -> Tensor:
    kernel = gray.new_tensor([0.25, 0.5, 0.25])
    return F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel)[None, None])
