"""PSNR, SSIM and MS-SSIM as metrics: one value per image, over the three colour channels.

SSIM and MS-SSIM are computed by pytorch-msssim. What makes that package silently compute something
else (another data range, integer images, images smaller than the window) cannot reach it from here.
"""

from __future__ import annotations

import torch
from pytorch_msssim import ms_ssim, ssim
from torch import Tensor

from pim import catalogue
from pim.metric import Metric

_NOTHING = 1e-30  # a mean squared error of 300 dB: float rounding, whose gradient would overflow


def psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """Peak signal-to-noise ratio for a peak of 1.

    Args:
        reference: (N, C, H, W), in [0, 1].
        distorted: The same shape.

    Returns:
        (N,) in dB, higher is more alike; infinite, with gradient 0, for identical images.
    """
    error = (reference - distorted).square().mean((1, 2, 3))
    differ = error > _NOTHING
    return torch.where(differ, 0 - 10 * torch.where(differ, error, 1).log10(), torch.inf)


class PSNR(Metric):
    """`psnr` as a metric."""

    info = catalogue.PSNR

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        return psnr(features, distorted)


class SSIM(Metric):
    """Structural similarity, the variant that `info.summary` states."""

    info = catalogue.SSIM

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        value: Tensor = ssim(*_alike(features, distorted), data_range=1, size_average=False)
        return value


class MSSSIM(Metric):
    """Structural similarity over five scales, the variant that `info.summary` states."""

    info = catalogue.MS_SSIM

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        value: Tensor = ms_ssim(*_alike(features, distorted), data_range=1, size_average=False)
        return value


def _alike(reference: Tensor, distorted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the wider of their two types: the package filters both with the window of one."""
    wider = torch.promote_types(reference.dtype, distorted.dtype)
    return reference.to(wider), distorted.to(wider)
