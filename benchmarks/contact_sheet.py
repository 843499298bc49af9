"""Pictures in rows and columns with a caption over each column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from pim.core.files import written_whole

GAP, CAPTION = 4, 14  # pixels


def sheet(columns: Mapping[str, Tensor], scale: int = 1) -> Image.Image:
    """Draw images side by side.

    Args:
        columns: By caption, (N, 3, H, W) in [0, 1] of one size; a column may be shorter than the others.
        scale: Whole number by which every pixel is enlarged.
    """
    rows = max(len(images) for images in columns.values())
    height, width = (scale * side for side in next(iter(columns.values())).shape[-2:])
    drawn = Image.new("RGB", (len(columns) * (width + GAP) - GAP, CAPTION + rows * (height + GAP) - GAP), "white")
    pen = ImageDraw.Draw(drawn)
    for place, (caption, images) in enumerate(columns.items()):
        left = place * (width + GAP)
        pen.text((left + 1, 1), caption, fill="black")
        for row, image in enumerate(images):
            pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            picture = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.NEAREST)
            drawn.paste(picture, (left, CAPTION + row * (height + GAP)))
    return drawn


def save(drawn: Image.Image, path: Path) -> None:
    """Write a sheet, whole or not at all; .jpg is smaller, everything else is PNG."""
    with written_whole(path) as stream:
        if path.suffix.lower() == ".jpg":
            drawn.save(stream, "JPEG", quality=80, subsampling="4:4:4", optimize=True)
        else:
            drawn.save(stream, "PNG", optimize=True)
