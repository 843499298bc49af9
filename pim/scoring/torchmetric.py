"""The mean of a metric as torchmetrics has it (optional package `torchmetrics`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pim.core.metric import Metric, ensure_finite
from pim.errors import UsageError, from_extra
from pim.metrics import registry

with from_extra("torchmetrics", "this"):
    import torchmetrics


class TorchMetric(torchmetrics.Metric):
    """The mean of a metric over pairs, for a `MetricCollection`, for Lightning's `self.log`, and under DDP.

    Arguments come as everywhere in torchmetrics: what a network made first, the reference second. The metric is
    frozen and none of this module's own: `.parameters()` and `.state_dict()` do not reach it; it follows the images to
    their device. Without torchmetrics see `pim.Accumulator`.

    Args:
        metric: A metric, or a name as `pim.load` takes it; without it the default one.
        options: Those of `torchmetrics.Metric`, such as `sync_on_compute`.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    pairs: Tensor

    def __init__(self, metric: str | Metric | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._held = (metric if isinstance(metric, Metric) else registry.load(metric),)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def metric(self) -> Metric:
        """What is averaged."""
        return self._held[0]

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether pictures that are more alike have higher values, as for PSNR."""
        return not self.metric.lower_is_better

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Measure a batch, without gradient.

        Args:
            preds: (N, 3, H, W), sRGB in [0, 1]: what a network made.
            target: The same shape, on the same device: the references.

        Raises:
            InputError: if shape, type, size, device or values are wrong.
        """
        with torch.no_grad():
            values = self.metric.to(target.device)(target, preds)
        self.total += values.double().sum()
        self.pairs += values.numel()

    def compute(self) -> Tensor:
        """Give the mean over all pairs of all processes, 0-d, in the metric's published direction.

        Raises:
            UsageError: if there was no pair.
            PimError: if a value is not usable.
        """
        if not self.pairs:
            raise UsageError("nothing was measured yet; call update with a batch first")
        mean = self.total / self.pairs
        return ensure_finite(mean[None], self.metric.info, [f"the mean of {int(self.pairs)} pairs"])[0]
