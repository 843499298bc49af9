"""Where a codec begins to learn: as a block transform that is made of its training images.

Stage by stage, each convolution takes the principal components of blocks of 2 x 2 of its inputs, and the
transposed convolution on the other side puts them together again. With GDN near the identity at first,
the codec starts as a truncated Karhunen-Loeve transform of blocks of 16 x 16 pixels instead of as noise.
Our own; it replaces the first thousands of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntc.models.codec import Codec
from ntc.models.transforms import GRAY
from pim.errors import UsageError

DAMPING = 0.5  # of every stage: keeps what comes next small, so that GDN changes little
STEP = 62 / 255  # of the latents at first, in intensity: what lambda = 0.0067 asks of a uniform quantiser


@torch.no_grad()
def start_from_images(codec: Codec, images: Tensor) -> None:
    """Set the weights of both transforms; in place.

    Args:
        codec: With GDN; rectifiers would lose the negative half.
        images: (N, 3, H, W) in [0, 1], sides being multiples of 16.

    Raises:
        UsageError: if the codec has rectifiers.
    """
    if codec.config.nonlinearity == "relu":
        raise UsageError("a start from images needs GDN; with relu, start at random")
    down = [layer for layer in codec.analysis if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in codec.synthesis if isinstance(layer, nn.ConvTranspose2d)][::-1]
    x = images - GRAY
    scales = [DAMPING] * (len(down) - 1) + [DAMPING ** (1 - len(down)) / STEP]
    for forward, backward, scale in zip(down, up, scales, strict=True):
        blocks = F.pixel_unshuffle(x, 2)
        components = _principal(blocks, forward.out_channels)
        taps = components.reshape(len(components), -1, 2, 2)
        # A start of exact zeros would stay: some outputs are to learn what is new.
        forward.weight.mul_(0.01)
        backward.weight.mul_(0.01)
        forward.weight[: len(taps), :, 2:4, 2:4] = scale * taps
        backward.weight[: len(taps), :, 2:4, 2:4] = taps / scale
        assert forward.bias is not None
        x = forward(x)


def _principal(blocks: Tensor, count: int) -> Tensor:
    """The first principal components of the channels of (N, C, h, w), (min(count, C), C), orthonormal rows."""
    flat = blocks.transpose(0, 1).flatten(1).double()
    _, vectors = torch.linalg.eigh(flat @ flat.T)
    first: Tensor = vectors.flip(1).T[:count].to(blocks)
    return first
