"""The one interface of all metrics: ours, the classics, and users' own callables; and the checks at its door."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pim.core.device import at_least_float32, full_precision
from pim.core.info import MetricInfo
from pim.errors import InputError, PimError, UsageError

ROUNDING = 1.001e-3  # so far outside [0, 1] is rounding: 1e-3, with room for the rounding of 1e-3 in float16
_NUMBERS = itertools.count(1)
_CHECK_RANGE = True


@dataclass(frozen=True)
class Prepared:
    """An image that `Metric.prepare` analysed; only good for that metric, as it was then."""

    owner: str  # name and weights of the metric
    state: tuple[Any, ...]  # of those weights then
    image: Tensor  # (N, 3, H, W), in the metric's own precision
    features: Any  # what the metric keeps of the reference
    shape: tuple[int, ...]  # (N, 3, H, W) of the reference
    single: bool  # the reference came as (3, H, W)
    device: torch.device


class Metric(nn.Module):
    """How different two images look, as one number per pair.

    Subclasses set `info` and write `_analyse` (what can be computed from the reference alone) and `_compare`; with
    `info.spatial` also `_compare_map`, and `_compare_analysed` if two analysed images are compared faster.
    """

    info: MetricInfo
    _loaded: tuple[str, tuple[int, ...]] | None = None  # SHA-256 of the weight file, and counts of changes
    _number: int | None = None  # tells metrics apart whose weights are from no file
    explains: bool = False  # offers `explain`
    trained_on: tuple[str, ...] = ()  # rated data sets that it was trained or tuned on: no blind test for it

    def __init__(self, info: MetricInfo | None = None) -> None:
        """Take `info` in place of that of the class."""
        super().__init__()
        given = info or getattr(type(self), "info", None)
        if isinstance(given, MetricInfo):
            self.info = given  # in the object: torch before 2.7 exports no attribute of a class

    @property
    def name(self) -> str:
        """The complete name."""
        return self.info.name

    @property
    def lower_is_better(self) -> bool:
        """True for distances, False for similarities such as PSNR and SSIM."""
        return self.info.lower_is_better

    @property
    def weights_hash(self) -> str | None:
        """SHA-256 of the weight file; None without one, or once the weights were changed."""
        return self._loaded[0] if self._loaded and self._loaded[1] == _versions(self) else None

    @weights_hash.setter
    def weights_hash(self, digest: str | None) -> None:
        self._loaded = None if digest is None else (digest, _versions(self))

    @property
    def settings(self) -> dict[str, Any]:
        """What else defines the value, as plain values for records; empty where the name says all."""
        return {}

    @property
    def device(self) -> torch.device | None:
        """Where the weights are; None without weights, which follow the images."""
        first = _first(self.parameters())
        return None if first is None else first.device

    def prepare(self, reference: Tensor) -> Prepared:
        """Analyse a reference (N, 3, H, W) or (3, H, W), sRGB in [0, 1], to compare many distorted images with it.

        Raises:
            InputError: if shape, type, size, device or values are wrong.
        """
        batch = self._enter(reference, "reference")
        check_values({"reference": batch})
        image = self._cast(batch)
        with full_precision(batch.device):
            features = self._analyse(image)
        return Prepared(
            self._owner(), self._state(), image, features, tuple(batch.shape), reference.ndim == 3, batch.device
        )

    def compare(self, reference: Prepared, distorted: Prepared) -> Tensor:
        """Compute what a call gives from two prepared images of one shape, as where each meets several others.

        Raises:
            InputError: if shapes or devices differ.
            UsageError: if another metric prepared one of them, or this one before it changed, or nobody did.
        """
        for side in (reference, distorted):
            self._check_owner(side)
        check_pair(reference.shape, distorted.image, reference.device, reference.single == distorted.single)
        with full_precision(distorted.device):
            value = self._compare_analysed(reference, distorted)
        return value[0] if distorted.single else value

    def forward(self, reference: Tensor | Prepared, distorted: Tensor, *, spatial: bool = False) -> Tensor:
        """Compute the value of every pair, in the metric's published direction (see `lower_is_better`).

        Args:
            reference: (N, 3, H, W) or (3, H, W), sRGB in [0, 1], or what `prepare` returned.
            distorted: The same shape, on the same device.
            spatial: Return a map instead, whose mean over each image is the value.

        Returns:
            (N,), or 0-d for a single pair of (3, H, W). With `spatial`: (N, 1, H, W) or (1, H, W).

        Raises:
            InputError: if shape, type, size, device or values are wrong; nothing is resized, broadcast or rescaled.
            UsageError: if `spatial` is asked of a metric without maps, or the prepared reference is another metric's.
        """
        if spatial and not self.info.spatial:
            raise UsageError(f"{self.name} has no spatial map; pim.list_metrics() lists those that have one")
        first, second = self._checked(reference, distorted)
        known = isinstance(reference, Prepared)
        with full_precision(second.device):
            if spatial:
                value = self._compare_map(first, second) if known else self._map(first, second)
            else:
                value = self._compare(first, second) if known else self._pair(first, second)
        return value[0] if distorted.ndim == 3 else value

    def layer_maps(self, reference: Tensor | Prepared, distorted: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Compute the map of every layer of a network, (N, 1, H, W) or (1, H, W); they add up to that of a call.

        Raises:
            InputError: as a call.
            UsageError: if the metric has no maps by layer.
        """
        raise UsageError(f"{self.name} has no maps by layer; the metrics on VGG-16 have")

    def explain(self, reference: Tensor | Prepared, distorted: Tensor) -> tuple[Tensor, list[Any]]:
        """Compute the values, and for each pair what was taken back before, for metrics that look for that.

        Raises:
            UsageError: if the metric compares pictures as they are.
        """
        raise UsageError(f"{self.name} compares pictures as they are; pim.score(..., align=True) looks for changes")

    def _checked(self, reference: Tensor | Prepared, distorted: Tensor) -> tuple[Any, Tensor]:
        """The features of a prepared reference, or the reference as a batch; and the distorted batch."""
        images: dict[str, Tensor] = {}
        if isinstance(reference, Prepared):
            self._check_owner(reference)
            shape, device, single = reference.shape, reference.device, reference.single
        else:
            batch = images["reference"] = self._enter(reference, "reference")
            shape, device, single = tuple(batch.shape), batch.device, reference.ndim == 3
        candidate = images["distorted"] = self._enter(distorted, "distorted")
        check_pair(shape, candidate, device, single == (distorted.ndim == 3))
        check_values(images)
        first = reference.features if isinstance(reference, Prepared) else self._cast(batch)
        return first, self._cast(candidate)

    def _check_owner(self, prepared: Prepared) -> None:
        if not isinstance(prepared, Prepared):
            kind = type(prepared).__name__
            raise UsageError(f"compare takes what prepare returned; got {kind}. Call the metric with images instead")
        if prepared.owner != self._owner():
            raise UsageError(f"this image was prepared by {prepared.owner}, not by {self._owner()}")
        if not torch.compiler.is_compiling() and prepared.state != self._state():
            raise UsageError(
                f"this image was prepared by another {self.name}, or before its weights changed; prepare it again"
            )

    def _analyse(self, image: Tensor) -> Any:
        """What can be computed from the reference alone; (N, 3, H, W) in the metric's own precision."""
        return image

    def _compare(self, features: Any, distorted: Tensor) -> Tensor:
        """Values (N,) from the analysed reference and a distorted batch."""
        raise NotImplementedError(f"{type(self).__name__} lacks _compare")

    def _compare_analysed(self, reference: Prepared, distorted: Prepared) -> Tensor:
        """Values (N,) from two analysed batches; override where that of the distorted one helps too."""
        return self._compare(reference.features, distorted.image)

    def _compare_map(self, features: Any, distorted: Tensor) -> Tensor:
        """Maps (N, 1, H, W) from the analysed reference and a distorted batch."""
        raise NotImplementedError(f"{type(self).__name__} lacks _compare_map")

    def _pair(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Values (N,) of unprepared pairs; override where both are better analysed together."""
        return self._compare(self._analyse(reference), distorted)

    def _map(self, reference: Tensor, distorted: Tensor) -> Tensor:
        """Maps (N, 1, H, W) of unprepared pairs."""
        return self._compare_map(self._analyse(reference), distorted)

    def _enter(self, image: Tensor, name: str) -> Tensor:
        batch = as_batch(image, name)
        check_size(batch, name, self.name, self.info.min_size)
        home = self.device
        if home is not None and batch.device != home:
            raise InputError(f"{name} is on {batch.device}, {self.name} is on {home}; move one with .to()")
        return batch

    def _cast(self, batch: Tensor) -> Tensor:
        """In the precision of the weights; without weights at least float32."""
        first = _first(self.parameters())
        if first is not None:
            return batch.to(first.dtype)
        return batch if batch.dtype == torch.float64 else batch.float()

    def _owner(self) -> str:
        return self.name if self.weights_hash is None else f"{self.name}@{self.weights_hash[:12]}"

    def _state(self) -> tuple[Any, ...]:
        """Something that differs once weights were changed or cast, and from metric to metric if no file tells them."""
        first = _first(self.parameters())
        kind = None if first is None else first.dtype
        if self.weights_hash is not None or not (versions := _versions(self)):
            return self.weights_hash, kind
        self._number = self._number or next(_NUMBERS)
        return self._number, kind, *versions

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": self.weights_hash, "_number": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.weights_hash = state["_loaded"]  # a copy counts the changes of its weights anew

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Metric:
        """Follow what surrounds this metric to another device or to float64, but stay in float32 at least."""
        digest = self.weights_hash
        super()._apply(at_least_float32(fn), recurse)  # type: ignore[no-untyped-call]
        self.weights_hash = digest  # moved, not changed
        return self


def _first(weights: Iterator[nn.Parameter]) -> nn.Parameter | None:
    for weight in weights:  # torch before 2.7 compiles no `next` with a default
        return weight
    return None


def _versions(module: nn.Module) -> tuple[int, ...]:
    """How often each parameter and buffer was changed in place."""
    return tuple(0 if t.is_inference() else t._version for t in (*module.parameters(), *module.buffers()))


def ensure_finite(values: Tensor, info: MetricInfo, pairs: Sequence[str]) -> Tensor:
    """Return the values (N,), if each is a number that the metric may give.

    Infinity is one only where it is the best value of an unbounded similarity: PSNR of identical images.

    Raises:
        PimError: that names the first of the N pairs without a usable value.
    """
    unbounded = not info.lower_is_better and info.value_range[1] == float("inf")
    for pair, value in zip(pairs, values.detach().flatten().tolist(), strict=True):
        if value != value or value == -float("inf") or (value == float("inf") and not unbounded):
            raise PimError(f"{info.name} of {pair} is {value}, which is no usable value; look at both images")
    return values


def check_range(enabled: bool) -> None:
    """Switch the check of values in [0, 1], which costs a pass, on or off for this process; shapes stay checked."""
    global _CHECK_RANGE
    _CHECK_RANGE = enabled


def as_batch(image: Tensor, name: str) -> Tensor:
    """View images (N, 3, H, W) or one (3, H, W) as a batch; raises InputError for all else, with the likely cause."""
    if not isinstance(image, Tensor):
        raise InputError(f"{name} must be a tensor; got {type(image).__name__}. pim.distance takes files and arrays")
    shape = tuple(image.shape)
    if not image.is_floating_point() or image.itemsize < 2:  # nothing computes in eight bits
        hint = "convert with image.float() / 255" if image.dtype == torch.uint8 else "convert to float in [0, 1]"
        raise InputError(f"{name} must be floating point in [0, 1]; got {str(image.dtype)[6:]}: {hint}")
    if image.layout != torch.strided:
        raise InputError(f"{name} must be a dense tensor; got {image.layout}: use image.to_dense()")
    if image.ndim not in (3, 4):
        hint = "; a gray image needs expand(3, -1, -1)" if image.ndim == 2 else ""
        raise InputError(f"{name} must have shape (N, 3, H, W) or (3, H, W); got {shape}{hint}")
    batch = image if image.ndim == 4 else image[None]
    if batch.shape[1] != 3:
        if batch.shape[1] == 1:
            hint = f"a gray image needs expand({'-1, ' * (image.ndim - 3)}3, -1, -1)"
        elif batch.shape[-1] == 3:
            order = "0, 3, 1, 2" if image.ndim == 4 else "2, 0, 1"
            hint = f"channels come before height and width: permute({order})"
        else:
            hint = "three colour channels are expected"
        raise InputError(f"{name} must have shape (N, 3, H, W) or (3, H, W); got {shape}: {hint}")
    if batch.numel() == 0:
        raise InputError(f"{name} is empty; got shape {shape}")
    return batch


def check_pair(reference_shape: tuple[int, ...], distorted: Tensor, device: torch.device, alike: bool = True) -> None:
    """Raise InputError unless the distorted batch has shape, device and form of the reference: nothing is broadcast."""
    if tuple(distorted.shape) != tuple(reference_shape):
        raise InputError(
            f"distorted must have the shape of reference, {tuple(reference_shape)}; got {tuple(distorted.shape)}"
        )
    if distorted.device != device:
        raise InputError(f"distorted must be on the device of reference, {device}; got {distorted.device}")
    if not alike:
        raise InputError("reference and distorted must both be single images or both be batches")


def check_size(batch: Tensor, name: str, metric: str, smallest: int) -> None:
    """Raise InputError unless both sides have at least `smallest` pixels."""
    height, width = batch.shape[-2:]
    if min(height, width) < smallest:
        raise InputError(f"image sides must be at least {smallest} pixels for {metric}; {name} is {width} x {height}")


def check_values(images: dict[str, Tensor]) -> None:
    """Check that all values are finite and lie in [0, 1], up to rounding, with one synchronisation of a GPU.

    While a graph is captured (`torch.compile`, `torch.export`) this becomes an assertion inside the graph.

    Raises:
        InputError: with the measured range and its likely cause.
    """
    if not _CHECK_RANGE:
        return
    if torch.compiler.is_compiling():
        for image in images.values():
            # One flat axis: ONNX has no minimum over several.
            flat = image.detach().flatten()
            ok = (flat.amin(0) >= -ROUNDING) & (flat.amax(0) <= 1 + ROUNDING)
            torch._assert_async(ok, "images must be finite and lie in [0, 1]")
        return
    bounds = torch.stack([b.detach().float() for image in images.values() for b in torch.aminmax(_plain(image))])
    for name, (low, high) in zip(images, bounds.reshape(-1, 2).cpu().tolist(), strict=True):
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            turned = name == "reference" and images[name].requires_grad
            hint = "; it has a gradient: the reference comes first, what a network made second" if turned else ""
            raise InputError(_range_message(name, low, high) + hint)


def _plain(image: Tensor) -> Tensor:
    """What a transform of `torch.func` has wrapped: all images that `vmap` goes over, at once."""
    image = image.detach()
    while torch._C._functorch.is_functorch_wrapped_tensor(image):
        image = torch._C._functorch.get_unwrapped(image)
    return image


def _range_message(name: str, low: float, high: float) -> str:
    if low != low or high != high:
        return f"{name} contains NaN; values must be finite and lie in [0, 1]"
    if low == -float("inf") or high == float("inf"):
        return f"{name} contains infinite values; values must be finite and lie in [0, 1]"
    got = f"{name} must lie in [0, 1]; got values from {low:.6g} to {high:.6g}"
    if low >= -ROUNDING and high > 2:
        return f"{got}. It looks like 0..255: divide 8-bit images by 255"
    if -1 - ROUNDING <= low < -0.25 and high <= 1 + ROUNDING:
        return f"{got}. It looks like [-1, 1]: use (image + 1) / 2"
    return f"{got}. Clamp it, or use pim.loss.Distortion, which does"
