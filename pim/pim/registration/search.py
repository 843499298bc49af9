"""The search for a displacement, for pictures that one step has not shown to lie as they are.

The start is global: correlation over all shifts, for a grid of turns and zooms, on small copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pim.pim.registration.displacement import (
    SAME,
    STILL,
    Copies,
    Lattice,
    Template,
    analyse,
    finest,
    identity,
    inside,
    mean_length,
    plus_identity,
    sample,
    step,
)

TURNS = tuple(range(-20, 21, 5))  # degrees
ZOOMS = (0.9, 1.0, 1.11)
STARTS = 4  # beside that of no motion
STEPS = (10, 5, 4)  # on the smallest copies, on those between, on the pictures
BETTER = 0.85  # a displacement that leaves more than this share of the unexplained variance is taken for chance
OVERLAP = 0.5  # share of the picture that must have a partner


def search(first: Copies, second: Copies) -> Tensor:
    """The warps that fit best on the copies, (N, 2, 3)."""
    reference, distorted, lattice = first.details(-1), second.details(-1), first.lattices[-1]
    likely = _starts(reference, distorted, lattice, STARTS)
    starts = torch.cat([identity(len(reference), reference)[:, None], likely], 1)
    many = starts.shape[1]
    known = analyse(reference.repeat_interleave(many, 0), lattice)
    warps, fit = _climb(known, distorted.repeat_interleave(many, 0), starts.flatten(0, 1), STEPS[0], OVERLAP)
    best = fit.reshape(-1, many).argmax(1)
    found = warps.reshape(-1, many, 2, 3)[torch.arange(len(best), device=best.device), best]
    for i in range(len(first.images) - 2, 0, -1):
        known = analyse(first.images[i], first.lattices[i])
        found = _climb(known, second.images[i], found, STEPS[1], OVERLAP)[0]
    return found


def polish(reference: Tensor, distorted: Tensor, warps: Tensor) -> Tensor:
    """The same, right to some hundredths of a pixel: the copies have lost the finest structure."""
    size = (reference.shape[-2], reference.shape[-1])
    known = analyse(reference, Lattice(size, every=finest(size)))
    return _climb(known, distorted, warps, STEPS[2], OVERLAP, "bicubic")[0]


def judge(first: Copies, second: Copies, warps: Tensor) -> Iterator[tuple[str | None, float]]:
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


def _starts(reference: Tensor, distorted: Tensor, lattice: Lattice, count: int) -> Tensor:
    """The `count` likeliest warps of every pair (N, 1, h, w), each of another turn or zoom, (N, count, 2, 3)."""
    turned = torch.stack([_turn(a, z, reference) for z in ZOOMS for a in TURNS])  # (K, 2, 3)
    places = lattice.places(turned)
    many = (
        sample(distorted.transpose(0, 1).expand(len(turned), -1, -1, -1), places)
        * inside(places, lattice.blocks)[:, None]
    )
    peak, shift = _best_shifts(reference, many.transpose(0, 1))  # (N, K), (N, K, 2)
    chosen = peak.topk(count, 1).indices  # (N, count)
    linear = turned[chosen][..., :2]
    # d(A q) fits r at q - s, so that r at p is d at A (p + s).
    moved = shift.gather(1, chosen[..., None].expand(-1, -1, 2)) * lattice.factor
    return torch.cat([linear, linear @ moved[..., None]], -1)


def _turn(degrees: float, zoom: float, like: Tensor) -> Tensor:
    c, s = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    return like.new_tensor([[c, -s, 0.0], [s, c, 0.0]])


def _best_shifts(reference: Tensor, distorted: Tensor) -> tuple[Tensor, Tensor]:
    """Highest correlation of (N, 1, h, w) with (N, K, h, w) and its shift (x, y), by at most half a side each way.

    Pixels: what the reference shows at p, the other shows at p + shift.
    """
    height, width = reference.shape[-2:]
    size = (_padded(height), _padded(width))
    spectra = torch.fft.rfft2(reference, s=size).conj() * torch.fft.rfft2(distorted, s=size)
    products = torch.fft.irfft2(spectra, s=size)
    y, x = (_signed(n, reference) for n in size)
    share = (1 - y.abs() / height).clamp_min(0)[:, None] * (1 - x.abs() / width).clamp_min(0)
    strength = (reference.square().sum((2, 3)) * distorted.square().sum((2, 3))).clamp_min(1e-12).sqrt()
    score = torch.where(share >= 0.5, products / share.clamp_min(0.5).sqrt(), -math.inf).flatten(2)
    peak, at = score.max(2)
    return peak / strength, torch.stack([x[at % size[1]], y[at // size[1]]], -1)


def _padded(side: int) -> int:
    return side + (side + 1) // 2


def _signed(n: int, like: Tensor) -> Tensor:
    steps: Tensor = torch.fft.fftfreq(n, 1 / n, device=like.device, dtype=like.dtype)
    return steps


def _climb(
    known: Template, distorted: Tensor, warps: Tensor, steps: int, overlap: float, mode: str = "bilinear"
) -> tuple[Tensor, Tensor]:
    """The best of the warps on the way from some (N, 2, 3), and its correlation (N,), -1 if none has the overlap."""
    best, highest = warps, warps.new_full((len(warps),), -1)
    for _ in range(steps):
        here = step(known, distorted, warps, mode)
        better = (here.correlation > highest) & (here.share >= overlap)
        highest = torch.where(better, here.correlation, highest)
        best = torch.where(better[:, None, None], warps, best)
        warps = _compose(_inverse(plus_identity(here.motion)), warps)
    return best, highest


def _compose(first: Tensor, then: Tensor) -> Tensor:
    """The warp p -> then(first(p)), (N, 2, 3)."""
    linear = then[..., :2] @ first
    return torch.cat([linear[..., :2], linear[..., 2:] + then[..., 2:]], -1)


def _inverse(warp: Tensor) -> Tensor:
    """The warp that undoes one, (N, 2, 3); singular ones raise."""
    linear = torch.linalg.inv(warp[..., :2])
    return torch.cat([linear, -linear @ warp[..., 2:]], -1)
