"""How much of a perceptual term weighs as much as the MSE, measured on images.

Two distortions move a decoder alike where their gradients at its output are equally long. A weight that followed the
training would be another loss in every step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pim.core.device import exact
from pim.core.metric import Metric, Prepared, as_batch, check_pair
from pim.errors import InputError, PimError, UsageError
from pim.metrics import registry
from pim.metrics.fine import FINE


class Calibration(NamedTuple):
    """The gradients of MSE and perceptual term at the same images."""

    ratio: float  # |d MSE| / |d P|, > 0
    cosine: float  # of the angle between them, [-1, 1]

    def weight(self, mse_weight: float) -> float:
        """Find the weight w of the perceptual term beside a times the MSE, a = `mse_weight` in [0, 1]; 1 is MSE alone.

        |a dMSE + w dP| = |dMSE| on the images that were measured; gradients that oppose each other count as orthogonal.

        >>> Calibration(ratio=0.01, cosine=0.0).weight(0.6)
        0.008
        """
        if mse_weight == 1:
            return 0.0
        along, rest = mse_weight * max(self.cosine, 0.0), 1 - mse_weight**2
        return self.ratio * rest / (along + math.sqrt(along**2 + rest))


# On 64 crops of video frames by `python benchmarks/loss_calibration.py VIDEOS`, with `--fine` where the name ends so.
MEASURED = {
    "pim": Calibration(0.002527, 0.1993),
    "pim-fine": Calibration(0.003354, 0.3029),
    "pim-1": Calibration(0.003543, 0.1326),
    "nlpd": Calibration(0.007187, 0.4808),
    "ssim": Calibration(0.003948, 0.6085),
    "ms-ssim": Calibration(0.008255, 0.3990),
    "vgg": Calibration(0.0006186, 0.09281),
}


def shipped(metric: Metric) -> Calibration | None:
    """Give the calibration that ships for a built-in metric; None for others, even of the same name."""
    known = registry.built_in().get(metric.name.removesuffix(FINE))
    same = known is not None and known.summary == metric.info.summary
    return MEASURED.get(metric.name) if same else None


def perceptual_term(metric: Metric, reference: Tensor | Prepared, distorted: Tensor) -> Tensor:
    """The value of every pair as a loss: a distance as it is, a similarity as what it lacks to its best value."""
    value: Tensor = metric(reference, distorted)
    best = metric.info.value_range[1]
    return value if metric.lower_is_better else best - value


def check_usable(metric: Metric) -> None:
    """Raise UsageError if a metric cannot be a loss: without gradient, or finite value for identical images."""
    if not metric.info.differentiable:
        raise UsageError(
            f"{metric.name} is not differentiable, so it cannot be a loss; pim.list_metrics() says which are"
        )
    if not metric.lower_is_better and metric.info.value_range[1] == math.inf:
        raise UsageError(
            f"{metric.name} has no largest value, so it cannot be a loss; give a distance, 0 for identical images"
        )


def measure(metric: Metric, reference: Tensor, distorted: Tensor) -> Calibration:
    """Compare the gradients of MSE and perceptual term at distorted images, (N, 3, H, W), sRGB in [0, 1].

    Raises:
        InputError: if the images are equal, or cannot be compared by the metric.
        PimError: if a gradient is not finite or the perceptual one vanishes.
    """
    check_pair(tuple(as_batch(reference, "reference").shape), distorted, reference.device)
    products = torch.zeros(3, dtype=torch.float64)  # MSE with itself, with P, P with itself
    for i in range(len(reference)):
        products += _products(metric, reference[i : i + 1], distorted[i : i + 1])
    mse, both, perceptual = products.tolist()
    if mse == 0:
        raise InputError("the distorted images equal their references; a weight can only be measured where they differ")
    if not math.isfinite(perceptual) or perceptual == 0:
        raise PimError(f"the gradient of {metric.name} on these images is 0 or not finite; take other images")
    return Calibration(math.sqrt(mse / perceptual), both / math.sqrt(mse * perceptual))


def _products(metric: Metric, reference: Tensor, distorted: Tensor) -> Tensor:
    """Inner products of the two gradients at one image, in float64 on the CPU."""
    with torch.enable_grad():
        at = distorted.detach().clamp(0, 1).requires_grad_()
        (perceptual,) = torch.autograd.grad(perceptual_term(metric, reference.detach(), at).sum(), at)
    of_p = exact(perceptual).flatten()
    of_mse = exact(at - reference).flatten() * (2 / at.numel())
    return torch.stack([of_mse @ of_mse, of_mse @ of_p, of_p @ of_p])
