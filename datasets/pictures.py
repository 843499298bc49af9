"""Looking at the pictures of a data set before anything is scored: sizes from headers, or all of them decoded."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from pim.datasets.dataset import Dataset, Finding, finding
from pim.errors import InputError
from pim.images.opener import OpenOptions, open_image
from pim.images.raster import orientation_of

if TYPE_CHECKING:
    from pim.datasets.dataset import Picture

Size = tuple[int, int]  # width, height
SIZES_NAMED = 5


def check_pictures(
    dataset: Dataset,
    decode: bool = False,
    options: OpenOptions | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Dataset:
    """Look at every picture file once, and add what there is to say of unreadable pictures and of sizes.

    With `decode` each file is decoded to its end, which finds truncated ones; otherwise only headers are read.
    `progress` is called with 1 after every record.
    """
    sizes: dict[Path, Size | str] = {}
    unequal: set[str] = set()
    for record in dataset.records():
        for pair in record.pairs:
            paths = [_path(picture) for picture in pair]
            for path in paths:
                if path not in sizes:
                    sizes[path] = _decoded_size(path, options) if decode else _header_size(path)
            shown = [_shown(picture, sizes[path]) for picture, path in zip(pair, paths, strict=True)]
            if not any(isinstance(size, str) for size in shown) and shown[0] != shown[1]:
                unequal.add(f"{_inside(paths[0], dataset)} and {_inside(paths[1], dataset)}")
        progress(1)
    found = (*dataset.findings, *_findings(dataset, sizes), *finding("error", "pairs differ in size", unequal))
    return replace(dataset, findings=found)


def _findings(dataset: Dataset, sizes: dict[Path, Size | str]) -> tuple[Finding, ...]:
    unreadable = [f"{_inside(path, dataset)} ({why})" for path, why in sizes.items() if isinstance(why, str)]
    met = Counter(size for size in sizes.values() if not isinstance(size, str))
    wanted = dataset.picture_size
    odd = [
        f"{_inside(path, dataset)} ({size[0]} x {size[1]})"
        for path, size in sizes.items()
        if wanted and not isinstance(size, str) and size != wanted
    ]
    named = ", ".join(f"{w} x {h} ({count})" for (w, h), count in met.most_common(SIZES_NAMED))
    more = f" and {len(met) - SIZES_NAMED} other sizes" if len(met) > SIZES_NAMED else ""
    expected = f"{wanted[0]} x {wanted[1]}" if wanted else ""
    return (
        *finding("missing", "pictures cannot be read", unreadable),
        *finding("error", f"pictures do not have the size {expected}", odd),
        *((Finding("note", f"sizes of pictures: {named}{more}"),) if met else ()),
    )


def _path(picture: Picture) -> Path:
    return picture if isinstance(picture, Path) else picture.path


def _inside(path: Path, dataset: Dataset) -> str:
    return str(path.relative_to(dataset.root)) if path.is_relative_to(dataset.root) else str(path)


def _shown(picture: Picture, size: Size | str) -> Size | str:
    """The size that a metric will see."""
    if isinstance(picture, Path) or isinstance(size, str) or not picture.crop:
        return size
    from pim.datasets.rendered import CROP

    return CROP, CROP


def _header_size(path: Path) -> Size | str:
    """Width and height as the opener gives them, or why they cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about huge pictures, which are not decoded here
            with Image.open(path) as image:
                if image.format == "TIFF":  # which Pillow turns by itself
                    return image.size
                return image.size if orientation_of(image.info.get("exif")) < 5 else (image.height, image.width)
    except UnidentifiedImageError:
        return "no picture" if path.stat().st_size else "empty"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return getattr(error, "strerror", None) or str(error)


def _decoded_size(path: Path, options: OpenOptions | None) -> Size | str:
    try:
        decoding = open_image(path, options).decoding
    except InputError as error:
        return str(error).removeprefix(f"{path}").lstrip(": ")
    return decoding.width, decoding.height
