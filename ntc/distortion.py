"""What a codec is trained to keep: any callable of two images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Distortion = Callable[[Tensor, Tensor], Tensor]  # reference, distorted (N, 3, H, W) in [0, 1] -> (N,)
PEAK = 255.0


def mse(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean squared error on the scale 0 .. 255, (N,): the unit in which lambdas are given.

    Args:
        reference: (N, 3, H, W) in [0, 1].
        distorted: The same shape; may leave [0, 1].
    """
    return PEAK**2 * (reference - distorted).square().flatten(1).mean(1)
