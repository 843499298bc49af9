"""Weights as functions of quantised latents, with a density that says what the latents cost.

Source: Oktay, Ballé, Singh, Shrivastava, "Scalable Model Compression by Entropy Penalized
Reparameterization", arXiv 1906.06624, sections 2 and 3. Deviations: latents are stored in the units of the
weights and divided by the step, so that one learning rate suits all layers; the Fourier form uses the
orthonormal real basis, which has as many coefficients as the kernel has weights (the half-spectrum of
the paper holds some of them twice); the density is a logistic of learned width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pim.errors import UsageError

LOG_STEP = -4.0  # natural logarithm of the first quantisation step
LOG_SCALE = 0.5  # of the first width of the density, in steps
SMALLEST = 2.0**-14  # the smallest normal float16; steps are stored in that


class Reparameterisation(nn.Module):
    """Weight = synthesis(step * round(latent)), for one weight tensor; steps and densities are learned by group.

    Latents form a matrix (M, G), G groups of M latents with one step and one density each.
    """

    def __init__(self, shape: torch.Size, groups: int) -> None:
        super().__init__()
        self.shape = shape
        self.log_step = nn.Parameter(torch.full((groups,), LOG_STEP))
        self.log_scale = nn.Parameter(torch.full((groups,), LOG_SCALE))

    def forward(self, original: Tensor) -> Tensor:
        """The weights, from the latents in units of the weights, (M, G); rounding is passed straight through."""
        latent = original * torch.exp(-self.log_step)
        rounded = latent + (latent.round() - latent).detach()
        return self.synthesis(rounded * torch.exp(self.log_step))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The latents of given weights, in units of the weights, (M, G)."""
        return weight.reshape(-1, 1)

    def bits(self, original: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Code length of the latents with uniform noise in place of rounding, a scalar, in bits."""
        latent = original * torch.exp(-self.log_step)
        noise = torch.rand(latent.shape, generator=generator, dtype=latent.dtype, device=latent.device) - 0.5
        return noisy_logistic_bits(latent + noise, torch.exp(self.log_scale)).sum()

    def integers(self, original: Tensor) -> Tensor:
        """The rounded latents, (M, G), int32."""
        return (original * torch.exp(-self.log_step)).round().to(torch.int32)

    def synthesis(self, values: Tensor) -> Tensor:
        """From the matrix of latents to weights."""
        return values.reshape(self.shape)


class ScalarForm(Reparameterisation):
    """One step and one density for all weights of a tensor: dense layers and biases ("SQ")."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__(shape, 1)


class FourierForm(Reparameterisation):
    """Convolution kernels by spatial frequency, each with its own step and density ("DFT")."""

    basis: Tensor

    def __init__(self, shape: torch.Size) -> None:
        height, width = shape[-2:]
        super().__init__(shape, height * width)
        self.register_buffer("basis", real_fourier_basis(height, width), persistent=False)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """From kernels (O, I, H, W) to coefficients (O * I, H * W)."""
        return weight.reshape(-1, self.basis.shape[0]) @ self.basis.T

    def synthesis(self, values: Tensor) -> Tensor:
        """From coefficients to kernels."""
        return (values @ self.basis).reshape(self.shape)


def noisy_logistic_bits(latent: Tensor, scale: Tensor) -> Tensor:
    """-log2 of a logistic density of that width > 0 convolved with uniform noise of width 1; any shape.

    With u, l = (|latent| +- 1/2) / scale, sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l - u)).
    """
    size = latent.abs()
    upper, lower = (size + 0.5) / scale, (size - 0.5) / scale
    # -log sigmoid(-l) = relu(l) - log sigmoid(|l|); log and sigmoid are several times faster than softplus.
    nats = F.relu(lower) - torch.log(torch.sigmoid(upper)) - torch.log(torch.sigmoid(lower.abs()))
    return (nats - torch.log(-torch.expm1(-1 / scale))) / math.log(2)


def real_fourier_basis(height: int, width: int) -> Tensor:
    """Orthonormal real Fourier basis of (height, width) arrays: (height * width, height * width), a row a function."""
    rows, columns = _real_fourier(height), _real_fourier(width)
    return torch.kron(rows, columns).float()


def _real_fourier(size: int) -> Tensor:
    """Constant, cosines and sines in order of frequency, (size, size), float64."""
    t = torch.arange(size, dtype=torch.float64)
    found = [torch.full((size,), 1 / math.sqrt(size), dtype=torch.float64)]
    for k in range(1, size // 2 + 1):
        phase = 2 * math.pi * k * t / size
        if 2 * k == size:
            found.append(torch.cos(phase) / math.sqrt(size))
        else:
            found += [torch.cos(phase) * math.sqrt(2 / size), torch.sin(phase) * math.sqrt(2 / size)]
    return torch.stack(found)


@dataclass(frozen=True)
class Tensors:
    """A reparameterised weight tensor of a module."""

    name: str  # as in the state dict of the plain module, such as "0.weight"
    owner: nn.Module
    form: Reparameterisation
    original: nn.Parameter  # the latents in units of the weights, (M, G)


def fourier_for_convolutions(name: str, weight: Tensor) -> Reparameterisation:
    """The forms of the paper: Fourier for kernels larger than one pixel, scalar for all else."""
    spatial = weight.ndim == 4 and weight.shape[-2] * weight.shape[-1] > 1
    return FourierForm(weight.shape) if spatial else ScalarForm(weight.shape)


def reparameterise(
    module: nn.Module, choose: Callable[[str, Tensor], Reparameterisation | None] = fourier_for_convolutions
) -> None:
    """Make every parameter of a module a function of quantised latents, in place; values stay up to rounding.

    `choose` gives the form for a parameter from its name and value; None leaves it as it is.
    """
    for name, weight in list(module.named_parameters(remove_duplicate=False)):
        form = choose(name, weight)
        if form is not None:
            weight.grad = None  # of another shape than the latents
            owner, _, attribute = name.rpartition(".")
            form.to(weight.device, weight.dtype)
            parametrize.register_parametrization(module.get_submodule(owner), attribute, form)


def reparameterised(module: nn.Module) -> Iterator[Tensors]:
    """All reparameterised tensors, in the order of the module's own parameters."""
    for prefix, owner in module.named_modules():
        if not parametrize.is_parametrized(owner):
            continue
        for attribute, chain in owner.parametrizations.items():
            if isinstance(chain[0], Reparameterisation):
                yield Tensors(f"{prefix}.{attribute}".lstrip("."), owner, chain[0], chain.original)


def code_length(module: nn.Module, generator: torch.Generator | None = None) -> Tensor:
    """What all latents of a module cost in bits, a scalar, with noise in place of rounding: the penalty of training."""
    lengths = [found.form.bits(found.original, generator) for found in reparameterised(module)]
    return torch.stack(lengths).sum()


@torch.no_grad()
def set_steps(module: nn.Module, relative: float) -> None:
    """Quantise a finished network without training it: one step for each reparameterised tensor, in place.

    Steps are relative to the root mean square of the tensor. At high rates an equal step for all coefficients of an
    orthonormal transform, with entropy coding, spends bits where they lower the squared error most, so frequencies of
    kernels share one step too.

    Raises:
        UsageError: if the step is not positive.
    """
    if not relative > 0:
        raise UsageError(f"the relative step must be positive; got {relative}")
    for found in reparameterised(module):
        power = float(found.original.square().mean().sqrt())
        found.form.log_step.fill_(math.log(max(relative * power, SMALLEST)))
