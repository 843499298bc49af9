"""PSNR, SSIM and MS-SSIM as metrics: one value per image, over the three colour channels.

The structure of SSIM and MS-SSIM is computed by pytorch-msssim, of large images tile by tile. What makes that
package silently compute something else (another data range, integer images, images smaller than the window) cannot
reach it from here.

Source of MS-SSIM: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_msssim.ssim import _ssim
from torch import Tensor

from pim.core.metric import Metric
from pim.metrics import registry
from pim.pim.tiles import grid

TILED = 1 << 20  # positions of an image above which it is computed in tiles
TILE = 512  # side of a tile
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the scales of MS-SSIM, finest first
WINDOW, SIGMA = 11, 1.5  # of the Gaussian, in pixels
_NOTHING = 1e-30  # a mean squared error of 300 dB: float rounding, whose gradient would overflow


def psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio of images (N, C, H, W) in [0, 1] for a peak of 1, (N,) in dB.

    Higher is more alike; infinite, with gradient 0, for identical images.
    """
    error = (reference - distorted).square().mean((1, 2, 3))
    differ = error > _NOTHING
    return torch.where(differ, 0 - 10 * torch.where(differ, error, 1).log10(), torch.inf)


class PSNR(Metric):
    """`psnr` as a metric."""

    info = registry.PSNR

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return psnr(features, distorted)


class SSIM(Metric):
    """Structural similarity, the variant that `info.summary` states."""

    info = registry.SSIM

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return _structure(*_alike(features, distorted))[0].mean(1)


class MSSSIM(Metric):
    """Structural similarity over five scales, the variant that `info.summary` states.

    Where the structure of a channel is inverted at some scale, its value is 0 and so is its gradient;
    autograd's anomaly detection stops there, at a NaN that the next step masks.
    """

    info = registry.MS_SSIM

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        x, y = _alike(features, distorted)
        contrasts = []
        for _ in SCALES[1:]:
            contrasts.append(_structure(x, y)[1])
            x, y = (F.avg_pool2d(image, 2, padding=[side % 2 for side in image.shape[2:]]) for image in (x, y))
        scales = torch.stack([*contrasts, _structure(x, y)[0]]).relu()
        exponents = scales.new_tensor(SCALES)[:, None, None]
        return (scales**exponents).prod(0).mean(1)


def _structure(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its part that knows no luminance: means over all positions of the window, (N, C) each."""
    window = _window(x)
    height, width = (side - WINDOW + 1 for side in x.shape[2:])
    if torch.compiler.is_compiling() or height * width <= TILED:
        whole: tuple[Tensor, Tensor] = _ssim(x, y, data_range=1, win=window, size_average=False)
        return whole
    total = x.new_zeros(2, *x.shape[:2])
    for rows, columns in grid((height, width), TILE):
        part = (..., slice(rows.start, rows.stop + WINDOW - 1), slice(columns.start, columns.stop + WINDOW - 1))
        means = torch.stack(_ssim(x[part], y[part], data_range=1, win=window, size_average=False))
        total = total + means * ((rows.stop - rows.start) * (columns.stop - columns.start) / (height * width))
    return total[0], total[1]


def _alike(reference: Tensor, distorted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider of their two types: the package filters both with the window of one."""
    wider = torch.promote_types(reference.dtype, distorted.dtype)
    return reference.to(wider), distorted.to(wider)


def _window(image: Tensor) -> Tensor:
    """The Gaussian window, (C, 1, 1, 11), that sums to 1 as closely as the type of the image allows.

    The package's own sums to 1 only within float32, which costs SSIM up to 3e-5 on flat pictures.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    taps = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return (taps / taps.sum()).to(image.dtype).to(image.device).repeat(image.shape[1], 1, 1, 1)
