"""3 x 3 convolutions with a quarter of the multiplications, where no graph is recorded on a CPU.

    Y = A^T [(G g G^T) * (B^T d B)] A      for tiles d of 6 x 6 values, 4 x 4 results each

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, F(4x4, 3x3).
Deviation: polynomials are evaluated at 0, +-5/8, +-4/3 instead of 0, +-1, +-2, which halves the rounding: about 1e-6
of the root mean square. Every image is computed alone, so that equal images give equal bits in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

POINTS = (0.0, 0.625, -0.625, 4 / 3, -4 / 3)
SIDE, KERNEL = 4, 3  # of the results of a tile, and of a kernel
WINDOW = SIDE + KERNEL - 1
FEWEST = 16  # tiles of an image and channels, below which the plain convolution is as fast
AT_ONCE = 1 << 19  # values of transformed tiles: what a cache holds; more where the kernels fill it anyway

Array = NDArray[np.float64]

_transformed: WeakKeyDictionary[nn.Conv2d, tuple[Tensor, int, Tensor]] = WeakKeyDictionary()


def suits(features: Tensor, convolution: nn.Conv2d) -> bool:
    """Whether this way gives the values of a convolution of 3 x 3, and sooner."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if features.device.type != "cpu" or features.dtype != torch.float32:
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(features):
        return False
    return min(_tiles(features)) * max(_tiles(features)) >= FEWEST <= convolution.in_channels


class Room:
    """Memory for what lies between two products, which every layer uses again: getting it anew takes long."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}

    def take(self, part: str, *shape: int) -> Tensor:
        """A float32 tensor with any values, in place of what was taken last under this name."""
        size = math.prod(shape)
        if part not in self._parts or len(self._parts[part]) < size:
            self._parts[part] = torch.empty(size, dtype=torch.float32, device="cpu")
        return self._parts[part][:size].view(shape)


def convolve(features: Tensor, convolution: nn.Conv2d, room: Room) -> Tensor:
    """Convolve with kernels of 3 x 3 and zeros around the image, (N, C, H, W) -> (N, K, H, W), channels last."""
    kernels, (down, across) = _kernels(convolution), _tiles(features)
    n, _, height, width = features.shape
    found = features.new_empty(n, SIDE * down, SIDE * across, kernels.shape[2])
    at_once = max(AT_ONCE, kernels.numel() // 4) // (WINDOW**2 * across * max(kernels.shape[1:]))
    rows = max(1, min(down, at_once))
    for image, result in zip(features.permute(0, 2, 3, 1), found, strict=True):
        for top in range(0, SIDE * down, SIDE * rows):
            some = result[top : top + SIDE * rows]
            _tiled(_framed(image, top, some.shape, room), kernels, some, room)
    return found[:, :height, :width].add_(convolution.bias).permute(0, 3, 1, 2)  # type: ignore[arg-type]


def _framed(image: Tensor, top: int, size: Sequence[int], room: Room) -> Tensor:
    """Rows of an image (H, W, C) from the top on, with a value more on every side; zeros outside the image."""
    height, width, channels = image.shape
    framed = room.take("framed", size[0] + KERNEL - 1, size[1] + KERNEL - 1, channels).zero_()
    start, stop = max(0, top - 1), min(height, top + size[0] + 1)
    framed[start - top + 1 : stop - top + 1, 1 : width + 1] = image[start:stop]
    return framed


def _tiled(framed: Tensor, kernels: Tensor, found: Tensor, room: Room) -> None:
    """Convolve some rows of tiles."""
    (_, channels, out), (into, back) = kernels.shape, _plans()
    down, across = found.shape[0] // SIDE, found.shape[1] // SIDE
    row, column, _ = framed.stride()
    shape, strides = (WINDOW, WINDOW, down, across, channels), (row, column, SIDE * row, SIDE * column, 1)
    windows = room.take("even", *shape).copy_(framed.as_strided(shape, strides))
    tiles = torch.mm(into, windows.view(WINDOW**2, -1), out=room.take("odd", WINDOW**2, down * across * channels))
    tiles = tiles.view(WINDOW**2, -1, channels)
    products = torch.bmm(tiles, kernels, out=room.take("even", WINDOW**2, down * across, out))
    results = torch.mm(back, products.view(WINDOW**2, -1), out=room.take("odd", SIDE**2, down * across * out))
    found.view(down, SIDE, across, SIDE, out).copy_(results.view(SIDE, SIDE, down, across, out).permute(2, 0, 3, 1, 4))


def _tiles(features: Tensor) -> tuple[int, int]:
    """How many tiles are below and beside each other."""
    return -(-features.shape[-2] // SIDE), -(-features.shape[-1] // SIDE)


def _kernels(convolution: nn.Conv2d) -> Tensor:
    """G g G^T of all kernels, (36, C, K), computed once for the weights that are there now."""
    weight = convolution.weight.detach()
    version = 0 if weight.is_inference() else weight._version
    known = _transformed.get(convolution)
    if known is not None and known[0].data_ptr() == weight.data_ptr() and known[1] == version:
        return known[2]
    _, kernel, _ = matrices(POINTS)
    plan = torch.from_numpy(np.kron(kernel, kernel)).to(weight)
    found = (plan @ weight.permute(2, 3, 1, 0).reshape(KERNEL**2, -1)).view(WINDOW**2, *weight.shape[1::-1])
    _transformed[convolution] = weight, version, found
    return found


@cache
def _plans() -> tuple[Tensor, Tensor]:
    """Both ways at once in rows and columns: (36, 36) into products, (16, 36) back."""
    back, _, into = matrices(POINTS)
    return torch.from_numpy(np.kron(into, into)).float(), torch.from_numpy(np.kron(back, back)).float()


def matrices(points: Sequence[float]) -> tuple[Array, Array, Array]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6) of Cook and Toom: products of polynomials at five points and at infinity."""
    at = np.asarray(points)
    back, kernel, into = np.zeros((SIDE, WINDOW)), np.zeros((WINDOW, KERNEL)), np.zeros((WINDOW, WINDOW))
    back[:, :-1], back[-1, -1] = at ** np.arange(SIDE)[:, None], 1
    for place, point in enumerate(at):
        others = np.delete(at, place)
        kernel[place] = point ** np.arange(KERNEL) / np.prod(point - others)
        into[place, :-1] = np.poly(others)[::-1]
    kernel[-1, -1], into[-1] = 1, np.poly(at)[::-1]
    return back, kernel, into
