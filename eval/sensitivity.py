"""What one unit of noise costs at every place of a picture, from the picture alone.

Near y = x a distance is quadratic, D(x, x + d) ~ d' H d. The diagonal of H says how much noise of a fixed
energy costs where; it is estimated from products with random signs e (Hutchinson 1990):

    diag(H) ~ mean over e of e * grad_y D(x, y) / 2t    at y = x + t e
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pim.core.metric import Metric
from pim.errors import UsageError
from pim.eval.boxes import Box, luma

Array = NDArray[np.float64]

DRAWS = 32
STEP = 1 / 255
BLOCK = 8  # pixels a side over which an estimate is averaged


def sensitivity(
    metric: Metric,
    pixels: NDArray[np.uint8],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    device: str = "cpu",
    advance: Callable[[], object] = lambda: None,
) -> Array:
    """The cost of a unit of squared error, as a map.

    Args:
        metric: With gradients, smooth at identical pictures.
        pixels: (H, W, 3).
        draws: Of random signs.
        seed: Of the signs.
        device: Where to compute.
        advance: Called after every draw.

    Returns:
        (H // 8, W // 8), the sum over R, G and B, mean over blocks of 8 pixels; what is left over at the sides is
        left out.

    Raises:
        UsageError: if the metric has no gradients, or is a similarity without a best value.
    """
    unbounded = not metric.lower_is_better and metric.info.value_range[1] == float("inf")
    if unbounded or not metric.info.differentiable:
        raise UsageError(f"{metric.name} has no gradient at identical pictures, so there is no map of its sensitivity")
    sign = 1.0 if metric.lower_is_better else -1.0
    # Steps must stay in [0, 1]: the range of the picture is narrowed by one step on each side.
    narrowed = STEP + pixels.astype(np.float64) / 255 * (1 - 2 * STEP)
    image = torch.from_numpy(narrowed).permute(2, 0, 1)[None].float().to(device)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(image)
    with torch.enable_grad():
        reference = metric.prepare(image)
        for _ in range(draws):
            signs = (torch.randint(0, 2, image.shape, generator=generator) * 2 - 1).to(image)
            distorted = (image + STEP * signs).requires_grad_()
            (gradient,) = torch.autograd.grad(metric(reference, distorted).sum(), distorted)
            total += sign * signs * gradient / (2 * STEP)
            advance()
    per_pixel = (total / draws).sum(1, keepdim=True)
    return F.avg_pool2d(per_pixel, BLOCK)[0, 0].cpu().double().numpy()


def inside_over_outside(values: Array, boxes: list[Box]) -> float:
    """Divide the mean of a map of blocks, (H // 8, W // 8), inside boxes, which hold their centres, by that outside.

    Raises:
        UsageError: if no block is inside, or none outside.
    """
    centre = [np.arange(length) * BLOCK + BLOCK / 2 for length in values.shape]
    inside = np.zeros(values.shape, dtype=bool)
    for box in boxes:
        rows = (box.y <= centre[0]) & (centre[0] < box.y + box.height)
        columns = (box.x <= centre[1]) & (centre[1] < box.x + box.width)
        inside |= np.outer(rows, columns)
    if not inside.any() or inside.all():
        raise UsageError("the boxes must hold some blocks of 8 pixels, and not all of them")
    return float(values[inside].mean() / values[~inside].mean())


def local_variance(pixels: NDArray[np.uint8]) -> Array:
    """The variance of luma inside blocks of 8 pixels, (H // 8, W // 8): what masks noise."""
    height, width = (side // BLOCK for side in pixels.shape[:2])
    blocks = luma(pixels)[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    return np.asarray(blocks.var(axis=(1, 3)))
