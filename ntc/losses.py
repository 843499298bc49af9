"""What a codec is trained to keep, and rate and distortion as the criterion of a training loop that others wrote.

    loss = bpp + lmbda * 255^2 * (mse_weight * MSE + weight * P)

This is the criterion of CompressAI (its `RateDistortionLoss`: same call, same keys) with another distortion.
Because the distortion is in units of the MSE (see `pim.loss`), a lambda chosen for the MSE means about the
same rate. Nothing of CompressAI is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pim.core.metric import Metric
from pim.errors import InputError, UsageError, check_known
from pim.loss import Distortion as Perceptual

Distortion = Callable[[Tensor, Tensor], Tensor]  # reference, distorted (N, 3, H, W) in [0, 1] -> (N,)
PEAK = 255.0  # lambdas are chosen for squared errors on 0..255
ROUNDING = 1e-3  # above 1, that half precision may add
KEYS = ("loss", "bpp_loss", "mse_loss", "perceptual_loss")


def mse(reference: Tensor, distorted: Tensor) -> Tensor:
    """Mean squared error on the scale 0 .. 255, (N,): the unit in which lambdas are given.

    Args:
        reference: (N, 3, H, W) in [0, 1].
        distorted: The same shape; may leave [0, 1].
    """
    return PEAK**2 * (reference - distorted).square().flatten(1).mean(1)


class PerceptualRateDistortion(nn.Module):
    """Criterion of a learned codec: bits per pixel plus lambda times a perceptual distortion; lower is better.

    Args:
        distortion: A `pim.loss.Distortion`, or what makes one with its defaults: a metric or its name.
        lmbda: Trade-off, in bits per pixel and squared grey level of 255; larger is better and dearer. As in
            CompressAI, .0018 to .18 for 0.1 to 2 bits per pixel.
        return_type: "all" for the dictionary, or the one of its keys that is returned alone.

    Raises:
        UsageError: if lambda or return_type cannot be right.
        PimError: if the metric cannot be loaded or be a loss.
    """

    def __init__(self, distortion: str | Metric | Perceptual, lmbda: float = 0.01, return_type: str = "all") -> None:
        super().__init__()
        if not 0 < lmbda < math.inf:
            raise UsageError(f"lmbda must be above 0; got {lmbda}")
        check_known("unknown return_type", [return_type], ("all", *KEYS))
        self.distortion = distortion if isinstance(distortion, Perceptual) else Perceptual(distortion)
        self.lmbda = lmbda
        self.return_type = return_type

    def forward(self, output: Mapping[str, Any], target: Tensor) -> dict[str, Tensor] | Tensor:
        """The loss of one batch.

        Args:
            output: Of the codec in training: "x_hat", (N, 3, H, W), and "likelihoods", the probability of every
                latent, tensors of any shape by name.
            target: The images, (N, 3, H, W), sRGB in [0, 1].

        Returns:
            0-d tensors: `loss`; `bpp_loss`, bits per pixel; `mse_loss` over [0, 1]; `perceptual_loss`. With
            `return_type` that one alone.

        Raises:
            InputError: as `pim.loss.Distortion.terms`, or if a likelihood is no probability above 0.
            UsageError: if output lacks something, or is none of a codec.
        """
        if not isinstance(output, Mapping):
            raise UsageError(f"output must be a mapping with x_hat and likelihoods; got {type(output).__name__}")
        for key in ("x_hat", "likelihoods"):
            if key not in output:
                raise UsageError(f"the output of the codec must have {key!r}; it has {', '.join(map(repr, output))}")
        check_likelihoods(output["likelihoods"])
        terms = self.distortion.terms(target, output["x_hat"])
        rate = bits(output["likelihoods"]) / (target.shape[0] * target.shape[-2] * target.shape[-1])
        found = {
            "loss": rate + self.lmbda * PEAK**2 * terms.loss.mean(),
            "bpp_loss": rate,
            "mse_loss": terms.mse.mean(),
            "perceptual_loss": terms.perceptual.mean(),
        }
        return found if self.return_type == "all" else found[self.return_type]


def check_likelihoods(likelihoods: object) -> None:
    """That these are tensors of probabilities by name, all above 0: an impossible symbol has no code.

    Looks at one number for all tensors together, so that a GPU is waited for once; not while a graph is captured.

    Raises:
        UsageError: if they are no tensors by name.
        InputError: if a value is none in (0, 1]; it names the latent.
    """
    tensors = likelihoods if isinstance(likelihoods, Mapping) else {}
    if not tensors or not all(isinstance(p, Tensor) and p.is_floating_point() for p in tensors.values()):
        what = (
            "an empty mapping" if isinstance(likelihoods, Mapping) and not likelihoods else type(likelihoods).__name__
        )
        raise UsageError(f"likelihoods must be tensors of probabilities by name of the latent; got {what}")
    if torch.compiler.is_compiling():
        return
    wrong = torch.stack([((p > 0) & (p <= 1 + ROUNDING)).logical_not().sum() for p in tensors.values()])
    if wrong.sum() == 0:
        return
    for (name, p), count in zip(tensors.items(), wrong.tolist(), strict=True):
        if count:
            raise InputError(
                f"likelihoods of {name!r} must be above 0 and at most 1; {count} of {p.numel()} are not "
                f"({float(p.min()):g} to {float(p.max()):g}); bound them from below, or compute them in float32"
            )


def bits(likelihoods: Mapping[str, Tensor]) -> Tensor:
    """The bits that latents of these probabilities cost together, 0-d, summed in float32 or better."""
    wide = [p if p.dtype == torch.float64 else p.float() for p in likelihoods.values()]
    return -torch.stack([p.log2().sum() for p in wide]).sum()
