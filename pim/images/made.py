"""Pictures to measure with: a standard one, and copies as a simple codec would leave them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STANDARD = 192  # side of the standard picture: what MS-SSIM needs, and a little more
BLOCK, STEP = 8, 0.2  # of the coarse copies: a cosine transform of 8 x 8 pixels, rounded to multiples of 0.2


def standard_picture() -> Tensor:
    """Make noise with the spectrum 1/f of photographs, always the same, (1, 3, 192, 192) in [0, 1]."""
    noise = torch.randn(3, STANDARD, STANDARD, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = torch.fft.fftfreq(STANDARD, dtype=torch.float64), torch.fft.rfftfreq(STANDARD, dtype=torch.float64)
    frequency = (rows[:, None] ** 2 + columns**2).sqrt().clamp_min(1 / STANDARD)
    colours = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(STANDARD, STANDARD))
    gray = colours.mean(0, keepdim=True)  # colours of photographs are much alike
    mixed = gray + 0.3 * (colours - gray)
    picture: Tensor = (0.5 + 0.2 * (mixed - mixed.mean()) / mixed.std()).clamp(0, 1)
    return picture[None].float()


def coarse(image: Tensor, seed: int = 0) -> Tensor:
    """Copy an image (N, 3, H, W) in [0, 1] as a simple codec would: cosines of blocks, rounded to a coarse step.

    Photographs keep 30 to 36 dB. The seed decides where the grid of blocks begins.
    """
    generator = torch.Generator().manual_seed(seed)
    top, left = torch.randint(BLOCK, (2,), generator=generator).tolist()
    n, channels, height, width = image.shape
    bottom, right = -(top + height) % BLOCK, -(left + width) % BLOCK
    padded = F.pad(image, (left, right, top, bottom), mode="replicate")
    rows, columns = (side // BLOCK for side in padded.shape[2:])
    blocks = padded.reshape(n, channels, rows, BLOCK, columns, BLOCK).transpose(3, 4)
    cosines = _cosines().to(image.dtype).to(image.device)
    rounded = ((cosines @ blocks @ cosines.T) / STEP).round() * STEP
    found: Tensor = (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(padded.shape)
    return found[..., top : top + height, left : left + width].clamp(0, 1)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 samples, (frequency, sample)."""
    samples = torch.arange(BLOCK, dtype=torch.float64)
    table = torch.cos(math.pi / BLOCK * (samples + 0.5) * samples[:, None]) * math.sqrt(2 / BLOCK)
    table[0] /= math.sqrt(2)
    return table
