"""Images to bytes and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ntc import container
from ntc.coder import Decoder, Encoder
from ntc.container import Container
from ntc.models.codec import BEST_QUALITY, Codec
from ntc.models.exchange import Read, Write
from pim.core.metric import as_batch, check_values
from pim.errors import InputError, UsageError


def compress(codec: Codec, image: Tensor, quality: int | None = None) -> bytes:
    """Code one image, (1, 3, H, W) or (3, H, W), sRGB in [0, 1], with an exported codec, as the content of a file.

    Codecs of several rates take a quality from 0 (fewest bits) to 255 (most; None means that), others none.

    Raises:
        InputError: if the image cannot be used.
        UsageError: if the codec is not ready, or has no such quality.
    """
    batch = as_batch(image, "image")
    if len(batch) != 1:
        raise InputError(f"one image is coded at a time; got a batch of {len(batch)}")
    check_values({"image": batch})
    height, width = batch.shape[-2:]
    if max(height, width) > container.LARGEST_SIDE:
        raise InputError(f"sides of up to {container.LARGEST_SIDE} pixels can be coded; got {width} x {height}")
    _check_ready(codec)
    quality = _quality(codec, quality)
    level = torch.tensor([codec.level(quality)])
    latents = codec.latents(batch, level).cpu()
    write = Write(encoder := Encoder(codec.codings()[0].tables))
    with torch.no_grad():
        codec.exact(latents, codec.latent_size((height, width)), write)
    assert codec.id is not None
    return Container(codec.id, height, width, quality, encoder.finish(), write.checksum).to_bytes()


def decompress(codec: Codec, data: bytes, max_pixels: int = container.MAX_PIXELS) -> Tensor:
    """Decode a file, which need not be trusted, with the codec that coded it; refuse images of more than `max_pixels`.

    Returns:
        (1, 3, H, W) in [0, 1], bit for bit what the codec in evaluation mode gives for the original.

    Raises:
        InputError: if the file is damaged, of another codec, or too large.
    """
    _check_ready(codec)
    file = container.parse(data, max_pixels)
    if file.codec != codec.id:
        raise InputError(f"was coded by another codec, {file.codec.hex()}; this one is {(codec.id or b'').hex()}")
    if file.quality and not codec.config.conditioned:
        raise InputError(f"asks for quality {file.quality} of a codec that has only one")
    size = (file.height, file.width)
    latent_size = codec.latent_size(size)
    if codec.least_bits(latent_size) > 8 * len(file.stream) + 64:  # before the work is done
        raise InputError(
            f"is damaged: {len(file.stream)} bytes cannot hold the {file.width} x {file.height} pixels that it claims"
        )
    level = torch.tensor([codec.level(file.quality)])
    read = Read(Decoder(file.stream, codec.codings()[0].tables))
    with torch.no_grad():
        latents = codec.exact(None, latent_size, read)
    if read.checksum != file.checksum:
        raise InputError("is damaged: the decoded latents do not have the checksum that it states")
    return codec.image(latents, size, level)


def overhead(data: bytes) -> int:
    """Bytes of a file that are not its stream: header and checksums."""
    return len(data) - len(container.parse(data).stream)


def from_pixels(pixels: NDArray[np.float32]) -> Tensor:
    """(H, W, 3) in [0, 1], as `pim.images.opener.open_image` gives, as (1, 3, H, W)."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def to_8_bit(image: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) in [0, 1] as (H, W, 3) from 0 to 255, to the nearest."""
    levels: Tensor = (image[0] * 255 + 0.5).to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()


def _check_ready(codec: Codec) -> None:
    if codec.training:
        raise UsageError("a codec codes in evaluation mode; call its eval() first")
    codec.check_exported()


def _quality(codec: Codec, quality: int | None) -> int:
    if not codec.config.conditioned:
        if quality is not None:
            raise UsageError("this codec has one quality; leave it out, or use a codec trained for several lambdas")
        return 0
    quality = BEST_QUALITY if quality is None else quality
    if not 0 <= quality <= BEST_QUALITY:
        raise UsageError(f"quality must lie in 0 .. {BEST_QUALITY}; got {quality}")
    return quality
