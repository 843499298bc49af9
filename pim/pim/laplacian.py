"""The Laplacian pyramid of PIM: unpadded, with 3 x 3 taps, and so not the one of `pim.metrics.nlpd`.

Source: arXiv 2006.06752 and its released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pim.pim.pyramid import Band, correlate


def binomial() -> Tensor:
    """The 3 x 3 taps of the Laplacian pyramid, which sum to 1, float64, on the CPU."""
    row = torch.tensor([1, 2, 1], dtype=torch.float64)
    return torch.outer(row, row) / 16


def laplacian(image: Tensor, taps: Tensor, scales: int, residual: bool = True) -> list[Band]:
    """PIM's Laplacian pyramid: unpadded 3 x 3 low-pass, differences cropped by 2 on every side; coarsest first.

    Shapes, one level:
        (N, C, H, W) -> band (N, C, H - 4, W - 4), next image (N, C, (H - 3) // 2 + 1, ...)

    Args:
        image: (N, C, H, W).
        taps: (3, 3), of `binomial`.
        scales: Number of bands.
        residual: The last band is the remaining low-pass image itself; otherwise it is a
            difference too, and the mean of the image is lost.
    """
    finest_first = []
    for level in range(scales):
        if residual and level == scales - 1:
            finest_first.append(Band(image, ()))
            break
        low = correlate(image, taps, "valid", stride=2)
        n, c, height, width = image.shape
        flat = low.reshape(n * c, 1, *low.shape[-2:])
        up = F.conv_transpose2d(flat, 4 * taps.to(image)[None, None], stride=2)
        up = up.reshape(n, c, *up.shape[-2:])[..., 2 : height - 2, 2 : width - 2]
        finest_first.append(Band(image[..., 2 : height - 2, 2 : width - 2] - up, ()))
        image = low
    return finest_first[::-1]
