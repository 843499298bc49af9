"""Draw docs/images/vgg-boxes.jpg: the boxes of a probe, control boxes of three kinds, and the content scrambled.

    python examples/make_vgg_boxes.py boxes.csv -o docs/images/vgg-boxes.jpg

boxes.csv is the table of `pim probe`: columns image,x,y,w,h; a picture in more than one row is drawn for each.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pim.eval.boxes import Box, controls
from pim.eval.probe import scrambled

LOOSEN = 2.0  # as the probe in docs/vgg-metric.md
COLOURS = {"alike": (250, 210, 40), "flat": (60, 150, 255), "texture": (60, 200, 90)}
BOX = (235, 40, 40)
HEIGHT, BESIDE = 240, 130  # of a picture; width of what stands beside it
COLUMNS = 3
GAP = 8


def panel(pixels: np.ndarray, box: Box) -> Image.Image:
    """A picture with its boxes, and beside it the box as it is and with random phases."""
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    drawn = [(b, colour) for like, colour in COLOURS.items() for b in controls(pixels, box, (), LOOSEN, like)]
    for each, colour in (*drawn, (box, BOX)):
        pen.rectangle((each.x, each.y, each.x + each.width - 1, each.y + each.height - 1), outline=colour, width=2)
    picture = picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (picture.width + GAP + BESIDE, HEIGHT), "white")
    canvas.paste(picture, (0, 0))
    for place, shown in enumerate((pixels, scrambled(pixels, box, "phases", 0))):
        factor = min(BESIDE / box.width, (HEIGHT - GAP) / 2 / box.height)
        size = round(box.width * factor), round(box.height * factor)
        part = Image.fromarray(shown[box.slices]).resize(size, Image.Resampling.BICUBIC)
        canvas.paste(part, (picture.width + GAP, place * (HEIGHT + GAP) // 2))
    return canvas


def main() -> None:
    """Read the table, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    asked = parser.parse_args()
    panels = []
    with asked.boxes.open(newline="") as table:
        for row in csv.DictReader(table):
            pixels = np.asarray(Image.open(asked.boxes.parent / row["image"]).convert("RGB"))
            panels.append(panel(pixels, Box(*(int(row[name]) for name in "xywh"))))
    lines = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    width = max(sum(drawn.width + 2 * GAP for drawn in line) for line in lines)
    canvas = Image.new("RGB", (width, len(lines) * (HEIGHT + 2 * GAP)), "white")
    for place, line in enumerate(lines):
        left = GAP
        for drawn in line:
            canvas.paste(drawn, (left, place * (HEIGHT + 2 * GAP) + GAP))
            left += drawn.width + 2 * GAP
    canvas.save(asked.output, quality=78)


if __name__ == "__main__":
    main()
