"""From the positions of a tap to the pixels of the image, so that the mean is kept.

    A[i, j] = H * |[i/H, (i+1)/H]  intersected with  [j/h, (j+1)/h]|        map = A_H e A_W^T

Rows of A sum to 1 and columns to H/h: a map keeps its mean for every size, and stays non-negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlap(pixels: int, positions: int) -> Tensor:
    """The share of every position in every pixel of one axis, (pixels, positions), float64; rows sum to 1.

    >>> overlap(3, 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    i, j = torch.arange(pixels)[:, None], torch.arange(positions)
    # In units of 1 / (pixels * positions) of the axis all bounds are whole numbers.
    shared = torch.minimum((i + 1) * positions, (j + 1) * pixels) - torch.maximum(i * positions, j * pixels)
    return shared.clamp(min=0).double() / positions


def spread(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, h, w) at the size of the image, (N, H, W), with the same mean."""
    for axis, pixels in ((-2, size[0]), (-1, size[1])):
        if values.shape[axis] != pixels:
            shares = overlap(pixels, values.shape[axis]).to(values)
            values = torch.tensordot(values, shares, dims=([axis], [1])).movedim(-1, axis)
    return values
