"""Registration of two pictures: which shift, turn and zoom lies between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.registration import ecc, search
from pim.registration.warp import Lattice, compose, identity, inverse

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
STARTS = 4
STEPS = (10, 5, 4)
STILL = 0.1
FIT = 0.1


def finest(size):
    factor = 1 if min(size) < 128 else 2
    while size[0] * size[1] > (factor * factor << 19):
        factor *= 2
    return factor

def pyramid(image: Tensor) -> list[tuple[Lattice, Tensor]]:
    size = (image.shape[-2], image.shape[-1])
    factor = finest(size)
    gray = torch.tensordot(F.avg_pool2d(image, factor), image.new_tensor(LUMA), ([1], [0]))[:, None]
    kernel = gray.new_tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
    levels = [(Lattice(size, factor), F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), kernel))]
    while max(levels[-1][1].shape[-2:]) > 96 and min(levels[-1][1].shape[-2:]) >= 32:
        factor *= 2
        levels.append((Lattice(size, factor), F.avg_pool2d(levels[-1][1], 2)))
    return levels


def apply_motion(warp, motion):
    return compose(inverse(motion + identity(len(motion), motion)), warp)

def climb(known, distorted, warp, steps):
    best = torch.full((len(warp),), -1.0, dtype=torch.float64)
    found = warp
    for _ in range(steps):
        s = ecc.step(known, distorted, warp)
        better = (s.correlation > best) & (s.share >= 0.5)
        best = torch.where(better, s.correlation, best)
        found = torch.where(better[:, None, None], warp, found)
        warp = apply_motion(warp, s.motion)
    return found, best

def detail(gray):
    side = (min(gray.shape[-2:]) // 4) | 1
    return gray - F.avg_pool2d(gray, side, 1, side // 2, count_include_pad=False)

def register(reference, distorted, motions=ecc.SIMILARITY, steps=STEPS):
    r, d = pyramid(reference), pyramid(distorted)
    lat, coarse = r[-1]
    n = len(reference)
    s = torch.cat([identity(n, coarse)[:, None], search.starts(detail(coarse), detail(d[-1][1]), lat, STARTS)], 1)
    k = s.shape[1]
    rep = lambda t: t.repeat_interleave(k, 0)
    known = ecc.analyse(rep(coarse), lat, motions)
    w, c = climb(known, rep(d[-1][1]), s.flatten(0, 1), steps[0])
    which = c.view(n, k).argmax(1)
    w = w.view(n, k, 2, 3)[torch.arange(n), which]
    cs = [c.view(n, k)]
    for i in range(len(r) - 2, -1, -1):
        known = ecc.analyse(r[i][1], r[i][0], motions)
        w, c = climb(known, d[i][1], w, steps[min(len(r) - 1 - i, len(steps) - 1)])
    known = ecc.analyse(r[0][1], r[0][0], motions)
    fin = ecc.step(known, d[0][1], w)
    return w, fin.correlation, fin.share, which
