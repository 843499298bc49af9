"""Convolutions and products of matrices that a GPU does not round to TF32, in one thread and in its gradients.

The switches for TF32 belong to the whole process, and gradients are computed after a call has ended, by other threads.
So while `Float32` is active, operators are replaced by those that take the wish as an argument, and their gradients are
made of the same ones. Gradients of the weights of convolutions are left to the switches: only training needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Sizes = int | Sequence[int]


class Float32(TorchFunctionMode):
    """Replace, in this thread and while active, what could be rounded; what was recorded stays exact in backward."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the exact form of an operator where there is one."""
        return _EXACT.get(func, func)(*args, **(kwargs or {}))


class _Options(NamedTuple):
    """Of a convolution, in the order in which operators take them."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    more: tuple[int, ...]  # rows and columns at the end of a transposed one
    groups: int

    def adjoint(self, image: torch.Size, output: torch.Size, kernel: torch.Size) -> _Options:
        """Those of the convolution that takes the gradient of the output to that of the image."""
        more = (0,) * len(self.stride)
        if not self.transposed:
            axes = zip(image[2:], output[2:], kernel[2:], self.stride, self.padding, self.dilation, strict=True)
            more = tuple(i - (o - 1) * s + 2 * p - d * (k - 1) - 1 for i, o, k, s, p, d in axes)
        return self._replace(transposed=not self.transposed, more=more)


class _Convolution(torch.autograd.Function):
    """A convolution that says itself that it is not to be rounded; so does its gradient at the image."""

    generate_vmap_rule = True

    @staticmethod
    def forward(image: Tensor, weight: Tensor, options: _Options) -> Tensor:
        exact, cudnn = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.enabled
        return torch._convolution(image, weight, None, *options, False, exact, cudnn, False)  # the last: TF32

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Options], output: Tensor) -> None:
        image, weight, ctx.options = inputs
        ctx.save_for_backward(image, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (image, weight), (gradient,), options = ctx.saved_tensors, gradients, ctx.options
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            adjoint = options.adjoint(image.shape, gradient.shape, weight.shape)
            of_image = _Convolution.apply(gradient, weight, adjoint)
        if ctx.needs_input_grad[1]:
            backward = torch.ops.aten.convolution_backward
            of_weight = backward(gradient, image, weight, None, *options, [False, True, False])[1]
        return of_image, of_weight, None


class _Product(torch.autograd.Function):
    """A product of matrices, (B, n, k) and (B, k, m), as a convolution of one position for each of B groups."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        count, n, k = a.shape
        options = _Options((1, 1), (0, 0), (1, 1), False, (0, 0), count)
        out: Tensor = _Convolution.apply(b.reshape(1, count * k, -1, 1), a.reshape(count * n, k, 1, 1), options)
        return out.reshape(count, n, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (gradient,) = ctx.saved_tensors, gradients
        of_a = _Product.apply(gradient, b.mT) if ctx.needs_input_grad[0] else None
        return of_a, _Product.apply(a.mT, gradient) if ctx.needs_input_grad[1] else None


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    axes = weight.ndim - 2
    if isinstance(padding, str):
        reach = zip(_each(dilation, axes), weight.shape[2:], strict=True)
        sides = [(d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for d, k in reach]
        image = image if padding == "valid" else F.pad(image, [n for pair in reversed(sides) for n in pair])
        padding = 0
    options = _Options(_each(stride, axes), _each(padding, axes), _each(dilation, axes), False, (0,) * axes, groups)
    return _biased(image, weight, bias, options)


def _convolve_transposed(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    each = [_each(sizes, weight.ndim - 2) for sizes in (stride, padding, dilation, output_padding)]
    return _biased(image, weight, bias, _Options(each[0], each[1], each[2], True, each[3], groups))


def _biased(image: Tensor, weight: Tensor, bias: Tensor | None, options: _Options) -> Tensor:
    single = image.ndim < weight.ndim  # no batch
    out: Tensor = _Convolution.apply(image[None] if single else image, weight, options)
    out = out if bias is None else out + bias.reshape(-1, *[1] * (weight.ndim - 2))
    return out[0] if single else out


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    if a.ndim < 2 or b.ndim < 2:  # by a vector: sums, which are never rounded
        return torch.matmul(a, b)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    flat = [side.expand(*batch, *side.shape[-2:]).reshape(-1, *side.shape[-2:]) for side in (a, b)]
    out: Tensor = _Product.apply(*flat)
    return out.reshape(*batch, *out.shape[-2:])


def _linear(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = _multiply(features, weight.mT)
    return out if bias is None else out + bias


def _add_product(summand: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return beta * summand + alpha * _multiply(a, b)


def _each(sizes: Sizes, axes: int) -> tuple[int, ...]:
    if isinstance(sizes, int):
        return (sizes,) * axes
    return tuple(sizes) * (axes if len(sizes) == 1 else 1)


_EXACT: dict[Callable[..., Any], Callable[..., Any]] = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolve),
    **dict.fromkeys((torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d), _convolve_transposed),
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.mm, Tensor.bmm), _multiply),
    **dict.fromkeys((Tensor.__matmul__,), _multiply),
    **dict.fromkeys((torch.addmm, torch.baddbmm), _add_product),
    F.linear: _linear,
}
