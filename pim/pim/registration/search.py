"""The global start: correlation over all shifts, for a grid of turns and zooms, on small copies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pim.pim.registration.warp import Lattice, inside, sample

TURNS = tuple(range(-20, 21, 5))  # degrees
ZOOMS = (0.9, 1.0, 1.11)


def starts(reference: Tensor, distorted: Tensor, lattice: Lattice, count: int) -> Tensor:
    """The likeliest warps of every pair, (N, count, 2, 3).

    Args:
        reference: (N, 1, h, w), small.
        distorted: The same shape.
        lattice: Where their pixels lie.
        count: How many warps; each has another turn or zoom.
    """
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
