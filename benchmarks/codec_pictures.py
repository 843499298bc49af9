"""Pictures of several codecs at equal bits: a page of crops, and a kit to ask people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from contact_sheet import save, sheet
from PIL import Image

import pim
from ntc import coding, store
from ntc.models.codec import BEST_QUALITY, Codec
from ntc.rd import Picture, as_picture, as_tensor
from pim.core.files import written_whole

RATES = (0.15, 0.35)  # bits per pixel
CROP, SHOWN = 96, 4  # side of the crops of a page, and from how many pictures
KIT_CROP = 384
STEP = 32  # pixels between the places where a crop may begin


def at_rate(codec: Codec, picture: Picture, rate: float) -> Picture:
    """What the codec makes of a picture with as many bits per pixel as there may be, by bisection of its quality."""
    low, high = 0, BEST_QUALITY
    best = coding.compress(codec, as_tensor(picture), 0)
    while low < high:
        middle = (low + high + 1) // 2
        data = coding.compress(codec, as_tensor(picture), middle)
        if 8 * len(data) <= rate * picture.shape[0] * picture.shape[1]:
            low, best = middle, data
        else:
            high = middle - 1
    return coding.to_8_bit(coding.decompress(codec, best))


def place(pictures: list[Picture], side: int) -> tuple[slice, slice]:
    """Where these versions of one picture differ most."""
    spread = np.std([picture.astype(np.float32).mean(2) for picture in pictures], axis=0)
    height, width = spread.shape
    corners = [(y, x) for y in range(0, height - side + 1, STEP) for x in range(0, width - side + 1, STEP)]
    y, x = max(corners, key=lambda at: float(spread[at[0] : at[0] + side, at[1] : at[1] + side].mean()))
    return slice(y, y + side), slice(x, x + side)


def crops(codecs: Mapping[str, Codec], path: Path, rate: float, side: int) -> dict[str, Picture]:
    """A crop of a picture and of what each codec makes of it with so many bits per pixel."""
    picture = as_picture(pim.open_image(path).pixels)
    made = {name: at_rate(codec, picture, rate) for name, codec in codecs.items()}
    where = place(list(made.values()), min(side, *picture.shape[:2]))
    return {name: each[where] for name, each in {"original": picture, **made}.items()}


def write_page(files: Mapping[str, Path], pictures: Path, target: Path) -> None:
    """Show crops of every codec at equal bits."""
    codecs = {name: store.load(file).codec for name, file in files.items()}
    rows = [crops(codecs, path, rate, CROP) for path in sorted(pictures.glob("*.png"))[:SHOWN] for rate in RATES]
    columns = {name: torch.cat([as_tensor(row[name]) for row in rows]) for name in rows[0]}
    save(sheet(columns, scale=2), target)


def write_kit(files: Mapping[str, Path], pictures: Path, target: Path) -> None:
    """Write crops of every codec at equal bits for `pim rate serve`, and print its command."""
    codecs = {name: store.load(file).codec for name, file in files.items()}
    for path in sorted(pictures.glob("*.png")):
        for rate in RATES:
            for name, crop in crops(codecs, path, rate, KIT_CROP).items():
                (target / name).mkdir(parents=True, exist_ok=True)
                with written_whole(target / name / f"{path.stem}-{rate}.png") as stream:
                    Image.fromarray(crop).save(stream, "PNG")
    print("pim rate serve", *(target / name for name in ("original", *files)), "--db", target / "answers.sqlite")
