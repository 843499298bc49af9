"""Any metric at two sizes, as a loss for what single pixels show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pim.core.metric import Metric

FINE = "-fine"  # after the name of the metric


class Fine(Metric):
    """A metric's mean value of two images as they are and of both at twice the size; of a norm it is a norm too.

    A metric that reduces images first, as `pim` does, knows of what it averages only how strong it is. Enlarged
    without interpolation, every pixel is a block of its own, so it also sees where that structure runs.

    Args:
        metric: Any metric.
    """

    def __init__(self, metric: Metric) -> None:
        each = metric.info.operations  # of the image itself, and of four times as many pixels
        info = replace(metric.info, name=metric.name + FINE, spatial=False, operations=each and 5 * each)
        super().__init__(info)
        self.metric = metric
        self.weights_hash, self.trained_on = metric.weights_hash, metric.trained_on

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the metric."""
        return self.metric.settings

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        # Past the door of the metric: the images were checked here, once.
        plain = self.metric._pair(features, distorted)
        return (plain + self.metric._pair(enlarged(features), enlarged(distorted))) / 2


def enlarged(image: Tensor) -> Tensor:
    """Repeat every pixel in a block of 2 x 2, (N, C, H, W) -> (N, C, 2 H, 2 W)."""
    return F.interpolate(image, scale_factor=2.0, mode="nearest")
