"""The checks of shape, type and range that stand at every door for tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from pim.errors import InputError

ROUNDING = 1.001e-3  # so far outside [0, 1] is rounding: 1e-3, with room for the rounding of 1e-3 in float16
CLAMP = "Clamp it, or use pim.loss.Distortion, which does"

_CHECK_RANGE = True


def check_range(enabled: bool) -> None:
    """Switch the check of values in [0, 1] on or off for this process; shapes are always checked.

    The check reads minimum and maximum of both images: one pass, and one synchronisation of a GPU per call.
    """
    global _CHECK_RANGE
    _CHECK_RANGE = enabled


def as_batch(image: Tensor, name: str) -> Tensor:
    """An image or a batch of images as a batch.

    Args:
        image: (N, 3, H, W) or (3, H, W), floating point.
        name: What the caller calls it, for messages.

    Returns:
        (N, 3, H, W), a view.

    Raises:
        InputError: if it is anything else, with the likely cause.
    """
    if not isinstance(image, Tensor):
        raise InputError(f"{name} must be a tensor; got {type(image).__name__}. pim.distance takes files and arrays")
    shape = tuple(image.shape)
    if not image.is_floating_point():
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
            hint = "a gray image needs expand(-1, 3, -1, -1)"
        elif batch.shape[-1] == 3:
            hint = "channels come before height and width: permute(0, 3, 1, 2)"
        else:
            hint = "three colour channels are expected"
        raise InputError(f"{name} must have shape (N, 3, H, W) or (3, H, W); got {shape}: {hint}")
    if batch.numel() == 0:
        raise InputError(f"{name} is empty; got shape {shape}")
    return batch


def check_pair(reference_shape: tuple[int, ...], distorted: Tensor, device: torch.device) -> None:
    """That the distorted batch has the shape of the reference and lies on the same device.

    Raises:
        InputError: if not; sizes are never changed and batches never broadcast silently.
    """
    if tuple(distorted.shape) != tuple(reference_shape):
        raise InputError(
            f"distorted must have the shape of reference, {tuple(reference_shape)}; got {tuple(distorted.shape)}"
        )
    if distorted.device != device:
        raise InputError(f"distorted must be on the device of reference, {device}; got {distorted.device}")


def check_size(batch: Tensor, name: str, metric: str, smallest: int) -> None:
    """That both sides have at least `smallest` pixels.

    Raises:
        InputError: if not.
    """
    height, width = batch.shape[-2:]
    if min(height, width) < smallest:
        raise InputError(f"image sides must be at least {smallest} pixels for {metric}; {name} is {width} x {height}")


def check_values(images: dict[str, Tensor]) -> None:
    """That all values lie in [0, 1], up to rounding, and are finite.

    One synchronisation of a GPU for all images together. While a graph is being captured
    (`torch.compile`, `torch.export`) the check becomes an assertion inside the graph.

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
    values = bounds.cpu().tolist()
    for i, name in enumerate(images):
        low, high = values[2 * i], values[2 * i + 1]
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            continue
        raise InputError(_range_message(name, low, high))


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
    return f"{got}. {CLAMP}"
