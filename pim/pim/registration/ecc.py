"""Refinement of a warp by the enhanced correlation coefficient, inverse compositional.

Source: Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization",
PAMI 2008. Deviations: only what both pictures show counts, so that all moments are taken again in every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pim.core.device import accumulation
from pim.pim.registration.warp import Lattice, compose, inside, inverse, plus_identity, sample

# Shift right and down, growth, turn; each as weights of six fields: right, down, and both times x and times y.
MOTIONS = (
    (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 1.0, 0.0, 0.0, 1.0),
    (0.0, 0.0, 0.0, 1.0, -1.0, 0.0),
)


class Template(NamedTuple):
    """What a reference contributes to every step on one lattice."""

    rows: Tensor  # (N, 6, h * w): ones, the picture, and its change with each of four motions
    lattice: Lattice


class Step(NamedTuple):
    """One step uphill for N pairs."""

    correlation: Tensor  # (N,) of what both show, before the step
    motion: Tensor  # (N, 2, 3) the reference displaced by it fits better
    share: Tensor  # (N,) of the reference that has a partner


def analyse(reference: Tensor, lattice: Lattice) -> Template:
    """Prepare reference pictures (N, 1, h, w) on a lattice."""
    slopes = torch.gradient(reference[:, 0], spacing=float(lattice.factor), dim=(-2, -1))
    down, right = (slope[:, :: lattice.every, :: lattice.every] for slope in slopes)
    y, x = (axis / lattice.reach for axis in lattice.axes(reference))
    changes = torch.stack([right, down, right * x, down * x, right * y[:, None], down * y[:, None]], 1)
    changes = torch.einsum("kp,nphw->nkhw", reference.new_tensor(MOTIONS), changes)
    seen = reference[..., :: lattice.every, :: lattice.every]
    return Template(torch.cat([torch.ones_like(seen), seen, changes], 1).flatten(2), lattice)


def step(known: Template, distorted: Tensor, warp: Tensor | None = None, mode: str = "bilinear") -> Step:
    """The step from a warp (N, 2, 3), or from none, for distorted pictures (N, 1, h, w)."""
    if warp is None:
        seen = distorted[..., :: known.lattice.every, :: known.lattice.every]
        rows = torch.cat([known.rows, seen.flatten(2)], 1)
        weighted = rows
    else:
        places = known.lattice.places(warp)
        rows = torch.cat([known.rows, sample(distorted, places, mode).flatten(2)], 1)
        weighted = rows * inside(places, known.lattice.blocks).flatten(1)[:, None]
    moments = (weighted @ rows.transpose(1, 2)).to(accumulation(rows.device))
    correlation, amounts = _ascend(moments)
    amounts = amounts.clamp(-known.lattice.reach / 2, known.lattice.reach / 2)  # no fold, however poor the fit
    fields = (amounts @ moments.new_tensor(MOTIONS)).reshape(-1, 3, 2).transpose(1, 2)  # offset, along x, along y
    offset, linear = fields[..., :1], fields[..., 1:] / known.lattice.reach
    share = moments[:, 0, 0] / known.rows.shape[2]
    return Step(correlation.to(rows), torch.cat([linear, offset], -1).to(rows), share.to(rows))


def _ascend(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (N,) and the step (N, K) that raises it most; second moments of ones, r, its K changes, and w."""
    count = moments[:, :1, :1].clamp_min(1)
    spread = (moments - moments[:, :, :1] * moments[:, :1] / count)[:, 1:, 1:]
    r, w = spread[:, 0], spread[:, -1]
    slopes = spread[:, 1:-1, 1:-1]
    tiny = torch.finfo(moments.dtype).tiny
    ridge = slopes.diagonal(dim1=1, dim2=2).mean(1) * 1e-6 + tiny
    slopes = slopes + torch.diag_embed(ridge[:, None].expand(-1, slopes.shape[1]))
    solved = torch.linalg.solve(slopes, torch.stack([r[:, 1:-1], w[:, 1:-1]], -1))  # of r and of w by the changes
    fitted = (r[:, None, 1:-1] @ solved)[:, 0]
    over, under = r[:, 0] - fitted[:, 0], w[:, 0] - fitted[:, 1]
    gain = torch.where(under > 0, over / under.clamp_min(tiny), 0)
    step = solved[..., 1] * gain[:, None] - solved[..., 0]
    correlation = w[:, 0] / (r[:, 0] * w[:, -1]).clamp_min(tiny).sqrt()
    return correlation, step


def climb(
    known: Template, distorted: Tensor, warps: Tensor, steps: int, overlap: float, mode: str = "bilinear"
) -> tuple[Tensor, Tensor]:
    """The best of the warps on the way from some (N, 2, 3), and its correlation (N,), -1 if none has the overlap."""
    best, highest = warps, warps.new_full((len(warps),), -1)
    for _ in range(steps):
        here = step(known, distorted, warps, mode)
        better = (here.correlation > highest) & (here.share >= overlap)
        highest = torch.where(better, here.correlation, highest)
        best = torch.where(better[:, None, None], warps, best)
        warps = compose(inverse(plus_identity(here.motion)), warps)
    return best, highest
