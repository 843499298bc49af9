"""Small codecs for tests: random, but with latents spread as if they had been trained."""

from __future__ import annotations

from functools import cache

import torch

from ntc.models import build
from ntc.models.codec import Codec
from ntc.models.config import CodecConfig, Kind

LAMBDAS = (0.005, 0.02)


@cache
def codec(kind: Kind, seed: int = 0, lambdas: tuple[float, ...] = LAMBDAS, width: int = 6, latents: int = 8) -> Codec:
    """An exported codec in evaluation mode; shared, so tests that change one copy it."""
    torch.manual_seed(seed)
    made = build(CodecConfig(kind=kind, widths=(width,) * 3, latents=latents, hyper=width, lambdas=lambdas))
    with torch.no_grad():
        for net in made.prior_nets():
            for layer in net.layers:
                layer.weight.mul_(3.0)  # predictions that differ from place to place
    made.eval().export()
    return made


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A smooth coloured image with some noise, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 2 + height // 16, 2 + width // 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (smooth + 0.05 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 1)
