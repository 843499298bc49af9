"""A metric as a training loss: a perceptual term with an MSE anchor.

    loss = mse_weight * MSE + weight * P

P alone leaves a decoder free wherever the metric does not look, and decoders find those places. The anchor
holds them; how much of P weighs as much as the MSE is measured (`pim.calibration`), so that the loss is in
units of the MSE and a rate-distortion trade-off chosen for the MSE gives about the same rate.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pim.calibration import Calibration, check_usable, measure, perceptual_term, shipped
from pim.core.device import at_least_float32, full_precision
from pim.core.metric import Metric
from pim.errors import UsageError
from pim.images.made import coarse
from pim.metrics import registry
from pim.metrics.fine import Fine
from pim.pim.registration import overlay, register

MSE_WEIGHT = 0.5

Reduction = Literal["none", "mean", "sum"]


class Terms(NamedTuple):
    """A loss and what it consists of, (N,) each, or 0-d for single images."""

    loss: Tensor
    mse: Tensor  # over [0, 1], of the distorted images as they came
    perceptual: Tensor  # >= 0 for a distance; 1 - value for SSIM and MS-SSIM


class Distortion(nn.Module):
    """Perceptual distortion with an MSE anchor; lower is better, 0 for identical images, differentiable.

    The metric is frozen and none of this module's own: `.train()`, `.parameters()` and `.state_dict()` do not reach it,
    `.to()` moves it, and it computes in float32 or better whatever autocast or `.half()` say.

    Args:
        metric: A metric, or a name as `pim.load` takes it; without it the default metric.
        mse_weight: Weight of the MSE. With a measured perceptual weight in [0, 1]: 1 is MSE alone, 0 no anchor.
        weight: Weight of the perceptual term; None: from a calibration.
        calibration: Used where `weight` is None; without it the one that ships for built-in metrics, and
            `calibrate` measures another.
        jitter: In training, compare a random window of the images, up to so many pixels smaller, flipped or not;
            the same for both images and for the whole batch. Metrics that look at a fixed grid are deceived less.
            It is drawn from torch's generator on the device of the images, so `torch.manual_seed` repeats it.
        reduction: What a call gives: the "mean" or "sum" over the batch, or with "none" the loss of every image, (N,).
        align: Take a displacement (a shift, a turn, a zoom) back first, image by image, with no charge. The gradient
            is that of the displacement held fixed. Pixels without a partner do not count.
        fine: P is the mean of the metric on the images as they are and at twice the size (`pim.metrics.fine`), for
            about five times the computing. A metric that reduces images first then sees what single pixels show.
        in_state: Put the calibration into `state_dict()`; otherwise that stays empty.

    Raises:
        UsageError: if the metric cannot be a loss or a weight cannot be right.
        PimError: if the metric cannot be loaded.
    """

    measured: Tensor

    def __init__(
        self,
        metric: str | Metric | None = None,
        *,
        mse_weight: float = MSE_WEIGHT,
        weight: float | None = None,
        calibration: Calibration | None = None,
        jitter: int = 0,
        reduction: Reduction = "mean",
        align: bool = False,
        fine: bool = False,
        in_state: bool = False,
    ) -> None:
        super().__init__()
        frozen = Fine(_frozen(metric)) if fine else _frozen(metric)
        check_usable(frozen)
        if jitter < 0:
            raise UsageError(f"jitter must be 0 or more pixels; got {jitter}")
        self._frozen = (frozen,)  # in a tuple: a module that is an attribute would be registered
        if reduction not in ("none", "mean", "sum"):
            raise UsageError(f"reduction must be none, mean or sum; got {reduction!r}")
        self.jitter, self.reduction, self.align = jitter, reduction, align
        self._weight = weight
        self._calibration = calibration or shipped(frozen)
        self.register_buffer("measured", _as_tensor(self._calibration), persistent=in_state)
        self.register_load_state_dict_post_hook(_take_measured)  # type: ignore[no-untyped-call]
        self.mse_weight = mse_weight

    @property
    def metric(self) -> Metric:
        """The frozen metric."""
        return self._frozen[0]

    @property
    def mse_weight(self) -> float:
        """Weight of the MSE. It may be set between steps; a weight from a calibration follows."""
        return self._mse_weight

    @mse_weight.setter
    def mse_weight(self, value: float) -> None:
        highest = 1.0 if self._weight is None else math.inf
        if not 0 <= value <= highest or not math.isfinite(value):
            limits = "in [0, 1]" if self._weight is None else "0 or more"
            raise UsageError(f"mse_weight must be {limits}; got {value}")
        if self._weight is not None and not 0 <= self._weight < math.inf:
            raise UsageError(f"weight must be 0 or more; got {self._weight}")
        if value == 0:
            warnings.warn(
                f"a loss of {self.metric.name} alone has no anchor: colours drift and textures appear that "
                "the metric does not see; use mse_weight > 0",
                stacklevel=4,
            )
        self._mse_weight = float(value)

    @property
    def weight(self) -> float:
        """Weight of the perceptual term.

        Raises:
            UsageError: if it was neither given nor measured.
        """
        if self._weight is not None:
            return self._weight
        if self._calibration is None:
            raise UsageError(
                f"how much {self.metric.name} weighs was never measured: call calibrate(images) once, or give weight="
            )
        return self._calibration.weight(self._mse_weight)

    @property
    def calibration(self) -> Calibration | None:
        """What the perceptual weight comes from; pass it to another `Distortion` to use it again."""
        return self._calibration

    def calibrate(self, reference: Tensor, distorted: Tensor | None = None, *, seed: int = 0) -> Distortion:
        """Measure how much the perceptual term weighs, once; it stays until the next call. Returns this module.

        Args:
            reference: Sample images, such as 64 crops of the training set, (N, 3, H, W), sRGB in [0, 1].
            distorted: What the network makes of them, best after some training with the MSE. Without it, copies
                as a simple codec would leave them.
            seed: Of those copies.

        Raises:
            UsageError: if the weight was given as a number.
            InputError: if the images cannot be used.
        """
        if self._weight is not None:
            raise UsageError("the perceptual weight was given as a number; leave weight out to measure it")
        self._calibration = measure(self.metric, reference, coarse(reference, seed) if distorted is None else distorted)
        self.measured = _as_tensor(self._calibration).to(self.measured)
        return self

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """The loss of a batch, 0-d, or (N,) with reduction "none"; see `terms`."""
        loss = self.terms(reference, distorted).loss
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()

    def terms(self, reference: Tensor, distorted: Tensor) -> Terms:
        """Compute the loss of every image and what it consists of.

        Args:
            reference: (N, 3, H, W) or (3, H, W), sRGB in [0, 1].
            distorted: The same shape. The perceptual term sees it clamped to [0, 1], with the gradient of no
                clamp; the MSE sees it as it is and so pulls back what overshoots.

        Raises:
            InputError: as the metric does.
        """
        if self.align and reference.ndim == 4 and reference.shape == distorted.shape:
            each = [self._terms(*pair) for pair in self._laid_over(reference, distorted)]
            return Terms(*map(torch.stack, zip(*each, strict=True)))
        if self.align and reference.ndim == 3:
            return Terms(*(term[0] for term in self.terms(reference[None], distorted[None])))
        return self._terms(reference, distorted)

    def _laid_over(self, reference: Tensor, distorted: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What both images of each pair show, (3, h, w), laid over each other; as they are where that is too little."""
        pairs = []
        with full_precision(reference.device):
            wide = torch.promote_types(torch.promote_types(reference.dtype, distorted.dtype), torch.float32)
            found = register(reference, distorted.detach().clamp(0, 1))
            for x, y, displacement in zip(reference.to(wide), distorted.to(wide), found, strict=True):
                over = overlay(x, clamp(y), displacement) if displacement.found else (x, y)
                pairs.append(over if min(over[0].shape[-2:]) >= self.metric.info.min_size else (x, y))
        return pairs

    def _terms(self, reference: Tensor, distorted: Tensor) -> Terms:
        weight = self.weight
        first, second = self._window(reference, distorted)
        seen = clamp(second if weight else second.detach())  # without weight, without the cost of its gradient
        perceptual = perceptual_term(self.metric, first, seen)
        wide = torch.promote_types(torch.promote_types(reference.dtype, distorted.dtype), torch.float32)
        mse = (distorted.to(wide) - reference.to(wide)).square().mean((-3, -2, -1))
        return Terms(self._mse_weight * mse + weight * perceptual, mse, perceptual)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.metric.name}, mse_weight={self._mse_weight}, jitter={self.jitter}"

    def _window(self, reference: Tensor, distorted: Tensor) -> tuple[Tensor, Tensor]:
        """Both images, or the same random window of both."""
        if not (self.jitter and self.training) or reference.shape != distorted.shape:
            return reference, distorted
        height, width = reference.shape[-2:]
        # On the device, so without synchronisation; from its generator, which gradient checkpointing sets back.
        down, right, flip = torch.randint(1 << 30, (3,), device=reference.device).unbind()
        rows = self._positions(height, down)
        columns = self._positions(width, right)
        columns = torch.where(flip % 2 == 1, columns.flip(0), columns)
        first, second = (image.index_select(-2, rows).index_select(-1, columns) for image in (reference, distorted))
        return first, second

    def _positions(self, side: int, drawn: Tensor) -> Tensor:
        """The rows or columns of a window, shifted by a random number of pixels; never fewer than the metric needs."""
        room = max(0, min(self.jitter, side - self.metric.info.min_size))
        return torch.arange(side - room, device=drawn.device) + drawn % (room + 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distortion:
        """Move the metric too; it, and the measured ratio, stay in float32 or better."""
        super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        self.metric._apply(fn, recurse)
        self.measured = _as_tensor(self._calibration).to(self.measured.device)
        return self


class _Clamp(torch.autograd.Function):
    """What overshoots still learns."""

    generate_vmap_rule = True

    @staticmethod
    def forward(image: Tensor) -> Tensor:
        return image.clamp(0, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def clamp(image: Tensor) -> Tensor:
    """An image clamped to [0, 1], with gradient 1 everywhere; infinities become 0 and 1, NaN stays."""
    clamped: Tensor = _Clamp.apply(image)
    return clamped


def _frozen(metric: str | Metric | None) -> Metric:
    """The metric, frozen; a copy of one that somebody is training."""
    if metric is None or isinstance(metric, str):
        return registry.load(metric)
    if not isinstance(metric, Metric):
        raise UsageError(f"metric must be a name or a pim.Metric; got {type(metric).__name__}")
    if metric.training or any(p.requires_grad for p in metric.parameters()):
        return copy.deepcopy(metric).eval().requires_grad_(False)
    return metric


def _as_tensor(calibration: Calibration | None) -> Tensor:
    """For the state dict; NaN where nothing was measured."""
    return torch.tensor(calibration or (math.nan, math.nan), dtype=torch.float32)


def _take_measured(module: nn.Module, keys: Any) -> None:
    """After loading a state dict: the measured ratio rules."""
    assert isinstance(module, Distortion)
    ratio, cosine = module.measured.tolist()
    if not math.isnan(ratio) and _as_tensor(module.calibration).tolist() != [ratio, cosine]:
        module._calibration = Calibration(ratio, cosine)
