"""The mean of a metric over a validation set, in one process or in many."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pim.core.metric import Metric, Prepared, ensure_finite
from pim.errors import UsageError


class Accumulator:
    """Collects the values of a metric, batch by batch, and gives their mean.

    Under `torch.distributed` the mean is over the pairs of all processes, however many each has; those that a sampler
    repeats to fill its last batch count twice. Nothing is synchronised before `compute`.

    Args:
        metric: On the device of the images.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._values: list[Tensor] = []

    def update(self, reference: Tensor | Prepared, distorted: Tensor) -> Tensor:
        """Compute the values of a batch as the metric does, and keep them, without gradient."""
        with torch.no_grad():
            values: Tensor = self.metric(reference, distorted)
        self._values.append(values.detach().reshape(-1))
        return values

    def compute(self) -> float:
        """Give the mean over all pairs since the last `reset`, of all processes; each of them has to call this.

        Raises:
            UsageError: if there was no pair.
            PimError: if a value is not usable.
        """
        mine = torch.cat([values.cpu().double() for values in self._values]) if self._values else torch.zeros(0)
        total = torch.tensor([float(mine.sum()), float(len(mine))], dtype=torch.float64)
        if dist.is_available() and dist.is_initialized():
            total = total.to("cuda" if dist.get_backend() == "nccl" else "cpu")
            dist.all_reduce(total)
        value, count = total.tolist()
        ensure_finite(mine, self.metric.info, [f"pair {i + 1} of {len(mine)}" for i in range(len(mine))])
        if not count:
            raise UsageError("nothing was measured yet; call update with a batch first")
        return float(value / count)

    def reset(self) -> None:
        """Forget all values, as before the next validation."""
        self._values.clear()
