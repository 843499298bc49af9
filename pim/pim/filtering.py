"""Filters that are the same everywhere: correlations, and sums over windows, in forms that a CPU computes fast.

Each is tested equal to its plain form.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["same", "replicate", "valid"]  # zeros around the picture, its border again, nothing


def correlate(image: Tensor, taps: Tensor, padding: Padding = "same", stride: int = 1) -> Tensor:
    """Correlate every channel with the same taps.

    Args:
        image: (N, C, H, W).
        taps: (k, k), k odd.
        padding: "same" puts (k - 1) / 2 zeros on every side, also where the stride is 2, so that
            samples sit at 0, 2, 4, ...; "replicate" the pixels of the border instead; "valid" puts nothing.
        stride: Distance of the samples.

    Returns:
        (N, C, ceil(H / stride), ceil(W / stride)), smaller for "valid".
    """
    if padding != "valid" and _phases_pay(image, taps):
        return _correlate_phases(image, taps, padding, stride)
    channels = image.shape[1]
    pad = taps.shape[-1] // 2
    if padding == "replicate":
        image = F.pad(image, (pad,) * 4, mode="replicate")
    pad = pad if padding == "same" else 0
    kernel = taps.to(image).expand(channels, 1, *taps.shape)
    # Channels last and as groups: otherwise a CPU takes two to five times as long, and more for gradients.
    image = image.contiguous(memory_format=torch.channels_last)
    return F.conv2d(image, kernel, padding=pad, stride=stride, groups=channels)


def _phases_pay(image: Tensor, taps: Tensor) -> bool:
    """Whether the detour over phases is faster: for large filters on a CPU; exporters get the plain form."""
    plain = image.device.type != "cpu" or image.dtype != torch.float32 or torch.compiler.is_compiling()
    return taps.shape[-1] >= 7 and not plain


def _correlate_phases(image: Tensor, taps: Tensor, padding: Padding, stride: int) -> Tensor:
    """`correlate` with padding, as a convolution with many channels: the pixels of blocks of side x side.

    A CPU multiplies channels many at a time. With one channel in and out most of its width lies idle, so this takes
    two thirds of the time or less for about twice the operations.
    """
    n, c, height, width = image.shape
    side = 1 << (taps.shape[-1] // 2 - 1).bit_length()  # half the filter at least, so the next blocks are all it sees
    kernel = F.pad(taps.to(image).flatten(), (0, 1))[_phase_taps(taps.shape[-1], stride, side)]
    down, across, phases = blocks(height, side), blocks(width, side), side // stride
    below, right = down * side - height, across * side - width
    edge = 1 if padding == "replicate" else 0  # blocks more on every side
    if edge:
        image = F.pad(image, (side, side + right, side, side + below), mode="replicate")
    else:
        image = padded(image, below, right)
    channels = image.reshape(n * c, down + 2 * edge, side, across + 2 * edge, side)
    channels = channels.permute(0, 2, 4, 1, 3).reshape(n * c, side**2, down + 2 * edge, across + 2 * edge)
    out = F.conv2d(channels, kernel, padding=1 - edge).reshape(n, c, phases, phases, down, across)
    out = out.permute(0, 1, 4, 2, 5, 3).reshape(n, c, down * phases, across * phases)
    return out[..., : blocks(height, stride), : blocks(width, stride)]


@functools.cache
def _phase_taps(size: int, stride: int, side: int) -> Tensor:
    """Which of size^2 taps, or a 0 after them, stands between phases: ((side / stride)^2, side^2, 3, 3)."""
    reach, phases = size // 2, side // stride
    which = np.full((phases, phases, side, side, 3, 3), size**2)
    taps = np.arange(size**2).reshape(size, size)
    first = np.arange(phases)[:, None] * stride + np.arange(size) - reach  # (phases, size): pixels that a tap meets
    for i, rows in enumerate(first):
        for j, columns in enumerate(first):
            (block_y, y), (block_x, x) = np.divmod(rows, side), np.divmod(columns, side)
            which[i, j, y[:, None], x, block_y[:, None] + 1, block_x + 1] = taps
    with torch.inference_mode(False):  # kept for calls with gradients too
        return torch.from_numpy(which.reshape(phases**2, side**2, 3, 3))


def window_sums(values: Tensor, side: int, padding: Padding = "same") -> Tensor:
    """Sums over the window of side x side around every position, (N, C, H, W) -> the same.

    Args:
        values: (N, C, H, W).
        side: Odd.
        padding: "same" has zeros beyond the border, "replicate" the border again.
    """
    half, mode = side // 2, "replicate" if padding == "replicate" else "constant"
    for dim, around in ((3, (half, half, 0, 0)), (2, (0, 0, half, half))):
        values = _running_sums(F.pad(values, around, mode), side, dim)
    return values


def _running_sums(values: Tensor, side: int, dim: int) -> Tensor:
    """Sums of `side` neighbours along a direction, without those that the border cuts."""
    # From sums of 1, 2, 4, ... neighbours: reductions, pools and convolutions take many times as long on a CPU.
    count = values.shape[dim] - side + 1
    parts, start, width = [], 0, 1
    while True:
        if side & width:
            parts.append(values.narrow(dim, start, count))
            start += width
        if 2 * width > side:
            return sum_of(parts)
        length = values.shape[dim] - width
        values = values.narrow(dim, 0, length) + values.narrow(dim, width, length)
        width *= 2


def _within(length: int, side: int, like: Tensor) -> Tensor:
    """How many of `length` samples lie in the window of `side` around each of them."""
    before = torch.arange(length, dtype=like.dtype, device=like.device)
    return before.clamp(max=side // 2) + 1 + (length - 1 - before).clamp(max=side // 2)


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Of tensors of one shape."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def padded(image: Tensor, below: int, right: int) -> Tensor:
    """Zeros below and to the right; the image itself where there is nothing to add, which `F.pad` would copy."""
    # Exported programs take any size, so they always pad.
    if not torch.compiler.is_compiling() and below == right == 0:
        return image
    return F.pad(image, (0, right, 0, below))


def blocks(length: int, side: int) -> int:
    """How many blocks of `side`, the last one perhaps cut, make up a length."""
    # Not -(-length // side): exported to ONNX, the quotient of a negative number is rounded the other way.
    return (length + side - 1) // side
