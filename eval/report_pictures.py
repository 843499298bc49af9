"""Pictures inside a page: the part of a pair that differs most, at full resolution, with maps of the difference."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pim.core.metric import Metric
from pim.errors import PimError
from pim.eval.boxes import Box, box_sums
from pim.images import heatmap
from pim.images.opener import OpenOptions, Pixels
from pim.scoring.pictures import PicturePair

SIDE = 384  # largest side of a picture in the page
STRIDE = 8  # pixels between the places that a part is looked for at
SMALL = 320  # pictures whose shorter side goes into this several times are shown enlarged, by whole pixels
QUALITY = {"image": 92, "map": 80}
MOST_MAP_PIXELS = 4_000_000  # no maps of larger pictures: they would take minutes


@dataclass(frozen=True)
class Frame:
    """One picture."""

    label: str
    name: str  # of its file, without folders: pages are passed on; empty for a map
    uri: str  # the picture itself


@dataclass(frozen=True)
class View:
    """Two pictures of one size, which can be laid over each other, and maps of their difference."""

    first: Frame
    second: Frame
    maps: tuple[Frame, ...]
    width: int  # as shown
    height: int
    note: str


def view(pair: PicturePair, labels: tuple[str, str], metrics: Sequence[Metric], opening: OpenOptions) -> View:
    """Open a pair and prepare it for a page, with the maps of metrics, or the plain difference if there are none.

    Raises:
        PimError: if a picture cannot be used, or the two have different sizes.
    """
    reference, distorted = pair.both()
    first, second = (picture.open(opening).pixels for picture in (reference, distorted))
    if first.shape != second.shape:
        raise PimError(f"{distorted.name} has another size than {reference.name}")
    difference = np.abs(first - second).mean(axis=2)
    box = busiest(difference, SIDE)
    maps = [_map(f"map of {metric.name}", values, box) for metric, values in _maps(metrics, first, second).items()]
    plain = _map("difference, mean of R, G and B", difference, box)
    factor = max(1, SMALL // min(box.height, box.width))
    height, width = difference.shape
    part = (
        ""
        if (height, width) == (box.height, box.width)
        else f"A part of {box.width} x {box.height} px, where they differ most, of "
    )
    return View(
        first=Frame(labels[0], Path(reference.name).name, _image_uri(first[box.slices])),
        second=Frame(labels[1], Path(distorted.name).name, _image_uri(second[box.slices])),
        maps=tuple(maps) or (plain,),
        width=box.width * factor,
        height=box.height * factor,
        note=f"{part}{width} x {height} px" + (f", enlarged {factor} times" if factor > 1 else ""),
    )


def busiest(difference: NDArray[np.float32], side: int) -> Box:
    """The part whose sides are at most `side` where the sum of the differences, (H, W), is largest."""
    height, width = (min(length, side) for length in difference.shape)
    tops, lefts = _starts(difference.shape[0] - height), _starts(difference.shape[1] - width)
    sums = box_sums(difference.astype(np.float64), tops, lefts, height, width)
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Box(int(lefts[left]), int(tops[top]), width, height)


def _starts(last: int) -> NDArray[np.int64]:
    return np.unique([*range(0, last, STRIDE), last]).astype(np.int64)


def _maps(metrics: Sequence[Metric], first: Pixels, second: Pixels) -> Mapping[Metric, NDArray[np.float32]]:
    """Maps (H, W) of the metrics that can draw one of this pair."""
    found: dict[Metric, NDArray[np.float32]] = {}
    if first.shape[0] * first.shape[1] > MOST_MAP_PIXELS:
        return found
    batches = [torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous() for pixels in (first, second)]
    for metric in metrics:
        try:
            with torch.inference_mode():
                values = metric(*batches, spatial=True)[0, 0].float().numpy()
        except PimError:  # such as a picture too small; the page does without this map
            continue
        if np.isfinite(values).all():
            found[metric] = values
    return found


def _map(label: str, values: NDArray[np.float32], box: Box) -> Frame:
    """A map in colour; its brightest colour is its own largest value."""
    low, high = min(0.0, float(values.min())), float(values.max())
    levels = (values[box.slices] - low) / (high - low if high > low else 1.0)
    pixels = np.rint(heatmap.colour(levels) * 255).astype(np.uint8)
    return Frame(f"{label}, {low:.3g} (dark) to {high:.3g} (bright)", "", _uri(pixels, QUALITY["map"]))


def _image_uri(pixels: Pixels) -> str:
    return _uri(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8), QUALITY["image"])


def _uri(pixels: NDArray[np.uint8], quality: int) -> str:
    """A picture as text that a page can hold."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
