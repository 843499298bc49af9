"""Refinement of a warp by the enhanced correlation coefficient, inverse compositional.

Source: Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization",
PAMI 2008. Deviations: only what both pictures show counts, so that all moments are taken again in every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pim.registration.warp import Lattice, inside, sample

# Motions as weights of: everything right, down; grow along x, shear down along x; shear right along y, grow along y.
SIMILARITY = ((1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0, -1.0, 0.0))
AFFINE = tuple(tuple(float(i == j) for i in range(6)) for j in range(6))


class Template(NamedTuple):
    """What a reference contributes to every step on one lattice."""

    rows: Tensor  # (N, 2 + K, h * w): ones, the picture, and its change with each of K motions
    lattice: Lattice
    basis: Tensor  # (K, 6) the motions


class Step(NamedTuple):
    """One step uphill for N pairs."""

    correlation: Tensor  # (N,) of what both show, before the step
    motion: Tensor  # (N, 2, 3) the reference displaced by it fits better
    share: Tensor  # (N,) of the reference that has a partner


def analyse(reference: Tensor, lattice: Lattice, motions: tuple[tuple[float, ...], ...]) -> Template:
    """Prepare reference pictures (N, 1, h, w) on a lattice."""
    basis = reference.new_tensor(motions)
    down, right = torch.gradient(reference[:, 0], spacing=float(lattice.factor), dim=(-2, -1))
    y, x = (axis / reach(lattice) for axis in lattice.axes(reference))
    changes = torch.stack([right, down, right * x, down * x, right * y[:, None], down * y[:, None]], 1)
    changes = torch.einsum("kp,nphw->nkhw", basis, changes)
    return Template(torch.cat([torch.ones_like(reference), reference, changes], 1).flatten(2), lattice, basis)


def reach(lattice: Lattice) -> float:
    """From the middle of the picture to its corners, pixels."""
    height, width = lattice.full
    return float((height**2 + width**2) ** 0.5 / 2)


def step(known: Template, distorted: Tensor, warp: Tensor | None = None) -> Step:
    """The step from a warp (N, 2, 3), or from none, for distorted pictures (N, 1, h, w)."""
    if warp is None:
        rows = torch.cat([known.rows, distorted.flatten(2)], 1)
        weighted = rows
    else:
        places = known.lattice.places(warp)
        rows = torch.cat([known.rows, sample(distorted, places).flatten(2)], 1)
        weighted = rows * inside(places).flatten(1)[:, None]
    wide = torch.float32 if rows.device.type == "mps" else torch.float64
    moments = (weighted @ rows.transpose(1, 2)).to(wide)
    correlation, amounts = _ascend(moments)
    motion = (amounts @ known.basis.to(wide)).unflatten(1, (3, 2)).transpose(1, 2)  # columns: offset, along x, along y
    offset, linear = motion[..., :1], motion[..., 1:] / reach(known.lattice)
    share = moments[:, 0, 0] / known.rows.shape[2]
    return Step(correlation, torch.cat([linear, offset], -1).to(rows.dtype), share.to(rows.dtype))


def _ascend(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (N,) and the step (N, K) that raises it most, from second moments of ones, r, its K changes, and w."""
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
