"""Sadam: Adam on the spectrum of every convolution kernel.

Source: arXiv 1802.00847; the parametrisation follows tensorflow/compression (RDFTParameter).
Both forms here learn the same kernels: the parametrisation for any optimiser, the optimiser for plain modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer


def rdft(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal real spectrum of kernels, (O, I, H, W) -> real and imaginary parts, (O, I, H, W // 2 + 1)."""
    spectrum = torch.fft.rfft2(kernel, norm="ortho")
    return spectrum.real, spectrum.imag


def irdft(real: Tensor, imaginary: Tensor, size: tuple[int, int]) -> Tensor:
    """The kernels with that spectrum, (O, I, *size)."""
    kernel: Tensor = torch.fft.irfft2(torch.complex(real, imaginary), s=size, norm="ortho")
    return kernel


class RDFT(nn.Module):
    """A parametrisation: the kernel is stored as its spectrum.

    >>> layer = parametrize.register_parametrization(nn.Conv2d(3, 8, 5), "weight", RDFT((5, 5)))
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """For kernels of `size`, rows and columns."""
        super().__init__()
        self.size = size

    def forward(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Spectrum (O, I, H, W // 2 + 1) to kernel (O, I, H, W)."""
        return irdft(real, imaginary, self.size)

    def right_inverse(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel (O, I, H, W) to spectrum."""
        return rdft(kernel)


def parametrise(module: nn.Module) -> nn.Module:
    """Store the kernels of all convolutions below `module` that see more than one pixel as spectra; in place."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not parametrize.is_parametrized(layer, "weight"):
            height, width = layer.weight.shape[2:]
            if height * width > 1:
                parametrize.register_parametrization(layer, "weight", RDFT((height, width)))
    return module


class Sadam(Optimizer):
    """Adam whose moments live in the spectrum of convolution kernels.

    Tensors with four axes and more than one tap are transformed; all others get plain Adam, and so do
    groups with `spectral=False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        spectral: bool = True,
    ) -> None:
        """As `torch.optim.Adam`, without its rarer options."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "spectral": spectral})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters with a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(self._update(parameter, group))
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """What to subtract from a parameter."""
        assert parameter.grad is not None
        spectral = group["spectral"] and parameter.ndim == 4 and parameter.shape[2:].numel() > 1
        grad = torch.stack(_gradient_spectrum(parameter.grad)) if spectral else parameter.grad
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"], state["square"] = torch.zeros_like(grad), torch.zeros_like(grad)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(grad, 1 - first)
        state["square"].mul_(second).addcmul_(grad, grad, value=1 - second)
        count = float(state["step"])
        mean, square = state["mean"] / (1 - first**count), state["square"] / (1 - second**count)
        change: Tensor = group["lr"] * mean / (square.sqrt() + group["eps"])
        if not spectral:
            return change
        return irdft(change[0], change[1], (int(parameter.shape[2]), int(parameter.shape[3])))


def _gradient_spectrum(grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient by the spectrum that `irdft` turns into a kernel, from the gradient by the kernel."""
    real, imaginary = rdft(grad)
    width = grad.shape[-1]
    twice = torch.ones(real.shape[-1], dtype=grad.dtype, device=grad.device)
    twice[1 : (width + 1) // 2] = 2.0  # these columns stand for their mirror images too
    return real * twice, imaginary * twice
