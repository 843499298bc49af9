"""Generalised divisive normalisation, its approximate inverse, and the simplified form.

Sources: arXiv 1511.06281 (GDN), 1611.01704 (in codecs), 1912.08771 (simplified: no square, no root).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntc.bounds import NonNegative

BETA_MINIMUM = 1e-6
GAMMA_START = 0.1


def gdn(x: Tensor, beta: Tensor, gamma: Tensor, *, inverse: bool = False, simplified: bool = False) -> Tensor:
    """Divide every channel by what all channels hold at the same place.

    y_i = x_i / (beta_i + sum_j gamma_ij |x_j|^a)^e with a = 2, e = 1/2, or a = e = 1 when simplified.
    The inverse multiplies instead: one step of a fixed-point iteration, not the exact inverse.

    Args:
        x: (N, C, H, W), as what is returned.
        beta: (C,), positive.
        gamma: (C, C), not negative; row i weighs the channels j that normalise channel i.
        inverse: Multiply instead of dividing.
        simplified: a = e = 1.
    """
    energy = x.abs() if simplified else x.square()
    norm = F.conv2d(energy, gamma[:, :, None, None], beta)
    if simplified:
        return x * norm if inverse else x / norm
    return x * norm.sqrt() if inverse else x * norm.rsqrt()


class GDN(nn.Module):
    """GDN with learned beta (from 1) and gamma (from 0.1 on the diagonal)."""

    def __init__(
        self, channels: int, *, inverse: bool = False, simplified: bool = False, rectify: bool = False
    ) -> None:
        """Settings as in `gdn`; with `rectify` negative inputs count as 0."""
        super().__init__()
        self.inverse, self.simplified, self.rectify = inverse, simplified, rectify
        self.beta = NonNegative(torch.ones(channels), BETA_MINIMUM)
        self.gamma = NonNegative(GAMMA_START * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = x.relu() if self.rectify else x
        return gdn(x, self.beta(), self.gamma(), inverse=self.inverse, simplified=self.simplified)
