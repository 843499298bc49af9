"""The transforms of an image into latents and back, whole or tile by tile.

Sources: arXiv 1611.01704 and 1802.01436; sizes of the layers as in tensorflow/compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ntc.gdn import GDN
from ntc.models.config import CodecConfig
from pim.errors import UsageError
from pim.pim import tiles

STRIDE = 16  # pixels per latent
TILE = 48  # latents per side of a tile
HALO = 3  # latents around a tile that its pixels depend on
START_SPREAD = 10.0  # deviation of the first latents over that of images, so that noise does not drown them
GRAY = 0.5
DAMPING = 0.5  # of every stage of a start from images: keeps what comes next small, so that GDN changes little
STEP = 62 / 255  # of the latents then, in intensity: what lambda = 0.0067 asks of a uniform quantiser


def down(inner: int, outer: int, kernel: int = 5) -> nn.Conv2d:
    """Convolution with stride 2; a side of n becomes ceil(n / 2)."""
    return nn.Conv2d(inner, outer, kernel, stride=2, padding=kernel // 2)


def up(inner: int, outer: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """Its mirror image; a side of n becomes 2 n."""
    return nn.ConvTranspose2d(inner, outer, kernel, stride=2, padding=kernel // 2, output_padding=1)


class Shift(nn.Module):
    """Adds a constant: images are centred on gray, so that borders of zeros are gray too."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x + self.by


def analysis(config: CodecConfig) -> nn.Sequential:
    """Image (N, 3, H, W) to latents (N, M, H / 16, W / 16), sides being multiples of 16."""
    a, b, c = config.widths
    convolutions = [down(3, a), down(a, b), down(b, c), down(c, config.latents)]
    _start(convolutions)
    with torch.no_grad():
        convolutions[-1].weight.mul_(START_SPREAD)
    return nn.Sequential(Shift(-GRAY), *_interleaved(convolutions, config, inverse=False))


def synthesis(config: CodecConfig) -> nn.Sequential:
    """Latents (N, M, h, w) to an image (N, 3, 16 h, 16 w), which can leave [0, 1]."""
    a, b, c = config.widths
    convolutions = [up(config.latents, c), up(c, b), up(b, a), up(a, 3)]
    _start(convolutions)
    with torch.no_grad():
        convolutions[0].weight.div_(START_SPREAD)
    return nn.Sequential(*_interleaved(convolutions, config, inverse=True), Shift(GRAY))


def analyse(transform: Callable[[Tensor], Tensor], image: Tensor, tile: int = TILE) -> Tensor:
    """Apply an analysis by tiles of `tile` latents, so that memory does not grow with the image; equal up to rounding.

    (1, 3, H, W), sides being multiples of 16, becomes (1, M, H / 16, W / 16).
    """
    size = torch.Size([image.shape[-2] // STRIDE, image.shape[-1] // STRIDE])
    out = image.new_empty(0)
    for where in tiles.grid(size, tile):
        outer, inner = tiles.with_halo(where, HALO, size)
        part = transform(_by_pixel(image[..., _pixels(outer[0]), _pixels(outer[1])]))[..., inner[0], inner[1]]
        if not len(out):
            out = part.new_empty(1, part.shape[1], *size)
        out[..., where[0], where[1]] = part
    return out


def synthesise(transform: Callable[[Tensor], Tensor], latents: Tensor, tile: int = TILE) -> Tensor:
    """Apply a synthesis by tiles of `tile` latents, equal up to rounding: (1, M, h, w) becomes (1, 3, 16 h, 16 w)."""
    size = latents.shape[-2:]
    out = latents.new_empty(1, 3, size[0] * STRIDE, size[1] * STRIDE)
    for where in tiles.grid(size, tile):
        outer, inner = tiles.with_halo(where, HALO, size)
        part = transform(_by_pixel(latents[..., outer[0], outer[1]]))
        out[..., _pixels(where[0]), _pixels(where[1])] = part[..., _pixels(inner[0]), _pixels(inner[1])]
    return out


def _by_pixel(x: Tensor) -> Tensor:
    """All channels of a pixel beside each other, for which convolutions of few channels are a quarter faster."""
    return x.contiguous(memory_format=torch.channels_last)


def _pixels(latents: slice) -> slice:
    return slice(latents.start * STRIDE, latents.stop * STRIDE)


def _interleaved(
    convolutions: Sequence[nn.Conv2d | nn.ConvTranspose2d], config: CodecConfig, *, inverse: bool
) -> Iterator[nn.Module]:
    """Convolutions with the nonlinearity between them."""
    for convolution in convolutions[:-1]:
        yield convolution
        if config.nonlinearity == "relu":
            yield nn.ReLU()
        else:
            yield GDN(convolution.out_channels, inverse=inverse, simplified=config.nonlinearity == "gdn")
    yield convolutions[-1]


@torch.no_grad()
def _start(convolutions: Sequence[nn.Conv2d | nn.ConvTranspose2d]) -> None:
    """Random weights under which every layer keeps the variance of its inputs."""
    for layer in convolutions:
        # A pixel of a transposed convolution of stride 2 sees a quarter of the taps.
        share = 0.25 if isinstance(layer, nn.ConvTranspose2d) else 1.0
        taps = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] * share
        layer.weight.normal_(0.0, taps**-0.5)
        assert layer.bias is not None
        layer.bias.zero_()


@torch.no_grad()
def start_from_images(analysis: nn.Sequential, synthesis: nn.Sequential, images: Tensor) -> None:
    """Make both transforms one block transform of training images, in place; our own, for the first thousands of steps.

    Stage by stage, each convolution takes the principal components of blocks of 2 x 2 of its inputs, and the
    transposed convolution on the other side puts them together again. With GDN near the identity at first, the codec
    starts as a truncated Karhunen-Loeve transform of blocks of 16 x 16 pixels instead of as noise. Images are
    (N, 3, H, W) in [0, 1], sides being multiples of 16.

    Raises:
        UsageError: if there are rectifiers, which would lose the negative half.
    """
    if any(isinstance(layer, nn.ReLU) for layer in analysis):
        raise UsageError("a start from images needs GDN; with relu, start at random")
    there = [layer for layer in analysis if isinstance(layer, nn.Conv2d)]
    back = [layer for layer in synthesis if isinstance(layer, nn.ConvTranspose2d)][::-1]
    x = images - GRAY
    scales = [DAMPING] * (len(there) - 1) + [DAMPING ** (1 - len(there)) / STEP]
    for forward, backward, scale in zip(there, back, scales, strict=True):
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
    return torch.as_tensor(vectors.flip(1).T[:count].to(blocks))
