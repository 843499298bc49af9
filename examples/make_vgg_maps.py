"""Draw docs/images/vgg-maps.jpg: what shallow and deep layers of VGG-16 respond to in a face, a text and a plain area.

    python examples/make_vgg_maps.py PHOTO -o docs/images/vgg-maps.jpg

PHOTO is kodim04.png of the Kodak Lossless True Color Image Suite, which Kodak released for unrestricted use; the
scene with the sign is drawn here. Prints the mean of the map over some areas, relative to that of the whole picture.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch

from pim.images.heatmap import draw
from vggmetric import VGGMetric
from vggmetric.head import uniform

WIDTH, HEIGHT = 480, 320  # of the scene
SHOWN = (272, 204)  # of each panel
HEIGHT_OF_MAP = 236  # with its caption
GAP = 12
SHOWN_BLOCKS = ("block 1", "block 3", "block 5")  # layers that see 5, 40 and 196 pixels at most
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Row:
    """One line of the picture."""

    reference: np.ndarray
    distorted: np.ndarray
    shown: Box
    areas: dict[str, Box]


def scene() -> np.ndarray:
    """A sign with words before a plain sky, above grass, (320, 480, 3) uint8."""
    random = np.random.default_rng(0)
    rows = np.linspace(0, 1, HEIGHT)[:, None]
    sky = np.stack([150 + 70 * rows, 170 + 50 * rows, 215 - 10 * rows], -1)
    coarse = random.uniform(0, 255, (HEIGHT // 4, WIDTH // 4)).astype(np.uint8)
    blades = np.asarray(PIL.Image.fromarray(coarse).resize((WIDTH, HEIGHT), PIL.Image.Resampling.BICUBIC), float) / 255
    blades = blades - 0.75 + 0.5 * random.uniform(0, 1, (HEIGHT, WIDTH))
    grass = np.stack([90 + 50 * blades, 120 + 70 * blades, 60 + 40 * blades], -1)
    pixels = np.where((rows > 0.72)[..., None], grass, sky)
    picture = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = PIL.ImageDraw.Draw(picture)
    pen.rectangle((90, 60, 390, 190), (235, 228, 205), (90, 70, 50), 4)
    for left in (130, 338):
        pen.rectangle((left, 190, left + 12, 250), (90, 70, 50))
    pen.text((240, 100), "QUIET HARBOUR", (40, 40, 60), PIL.ImageFont.load_default(34), anchor="mm")
    pen.text((240, 150), "boats for hire, ring twice", (120, 40, 40), PIL.ImageFont.load_default(19), anchor="mm")
    return np.asarray(picture)


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of that deviation in each channel."""
    noise = np.random.default_rng(1).normal(0, sigma, pixels.shape)
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream).convert("RGB"))


def rows(photo: Path) -> dict[str, Row]:
    """The three pictures and the areas that are compared in them."""
    woman = np.asarray(PIL.Image.open(photo).convert("RGB"))
    sign = scene()
    face = {"face": (150, 290, 310, 560), "shoulder": (360, 630, 490, 740), "hat": (90, 60, 430, 150)}
    text = {"large letters": (138, 82, 342, 118), "small letters": (152, 138, 330, 162), "grass": (0, 240, 480, 320)}
    plain = {"sky": (0, 70, 80, 220), "large letters": text["large letters"], "grass": text["grass"]}
    return {
        "face, noise": Row(woman, noisy(woman, 10), (0, 270, 512, 654), face),
        "text, JPEG": Row(sign, compressed(sign, 12), (70, 40, 410, 295), text),
        "plain, noise": Row(sign, noisy(sign, 10), (0, 140, 240, 320), plain),
    }


def maps(row: Row, metric: VGGMetric) -> dict[str, np.ndarray]:
    """Squared error, and the maps of three blocks of layers, (H, W) each."""
    x, y = (
        torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        for pixels in (row.reference, row.distorted)
    )
    found = {"squared error": (x - y).square().mean(1)[0].numpy()}
    with torch.no_grad():
        for layer, values in metric.layer_maps(x, y):
            block = f"block {layer[4]}"
            if block in SHOWN_BLOCKS:
                found[block] = found.get(block, 0) + values[0, 0].numpy()
    return found


def panel(values: np.ndarray, box: Box, caption: str) -> PIL.Image.Image:
    """A map, or a picture, cut to a box."""
    left, top, right, bottom = box
    if values.ndim == 3:
        return PIL.Image.fromarray(values[top:bottom, left:right]).resize(SHOWN, PIL.Image.Resampling.LANCZOS)
    highest = float(np.quantile(values, 0.998))
    cut = PIL.Image.fromarray(values[top:bottom, left:right]).resize(SHOWN, PIL.Image.Resampling.BOX)
    drawn = draw(np.asarray(cut), 0, highest, caption)
    return drawn.resize(
        (round(drawn.width * HEIGHT_OF_MAP / drawn.height), HEIGHT_OF_MAP), PIL.Image.Resampling.LANCZOS
    )


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    asked = parser.parse_args()
    metric = VGGMetric(uniform("tv1k"))
    lines = []
    for name, row in rows(asked.photo).items():
        found = maps(row, metric)
        panels = [panel(pixels, row.shown, "") for pixels in (row.reference, row.distorted)]
        panels += [panel(found[block], row.shown, f"{name}: {block}") for block in SHOWN_BLOCKS]
        lines.append(panels)
        for area, (left, top, right, bottom) in row.areas.items():
            shares = {of: values[top:bottom, left:right].mean() / values.mean() for of, values in found.items()}
            sys.stdout.write("\t".join([name, area, *(f"{of} {share:.2f}" for of, share in shares.items())]) + "\n")
    width = sum(p.width + GAP for p in lines[0]) + GAP
    height = max(p.height for p in lines[0])
    canvas = PIL.Image.new("RGB", (width, height * len(lines)), "white")
    for number, panels in enumerate(lines):
        left = GAP
        for drawn in panels:
            canvas.paste(drawn, (left, number * height + (height - drawn.height) // 2))
            left += drawn.width + GAP
    canvas.save(asked.output, quality=75)


if __name__ == "__main__":
    main()
