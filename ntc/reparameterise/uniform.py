"""Quantising a finished network without training it: one step for each tensor, in proportion to its weights.

At high rates an equal step for all coefficients of an orthonormal transform, with entropy coding, spends bits
where they lower the squared error most, so frequencies of kernels share one step too.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ntc.reparameterise.forms import reparameterised
from pim.errors import UsageError

SMALLEST = 2.0**-14  # the smallest normal float16; steps are stored in that


@torch.no_grad()
def set_steps(module: nn.Module, relative: float) -> None:
    """Give every reparameterised tensor a step, in place.

    Args:
        module: After `reparameterise`.
        relative: Step in units of the root mean square of the tensor, > 0.

    Raises:
        UsageError: if it is not positive.
    """
    if not relative > 0:
        raise UsageError(f"the relative step must be positive; got {relative}")
    for found in reparameterised(module):
        power = float(found.original.square().mean().sqrt())
        found.form.log_step.fill_(math.log(max(relative * power, SMALLEST)))
