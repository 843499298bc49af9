"""`pim map`: where two images differ, as a picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pim.cli import common
from pim.cli.common import one_line, short
from pim.errors import InputError, PimError, UsageError, did_you_mean
from pim.metrics.registry import DEFAULT, built_in
from pim.scoring.pairs import from_files

if TYPE_CHECKING:
    import numpy as np

    from pim.core.metric import Metric
    from pim.images.opener import OpenOptions
    from pim.scoring.pairs import Pair
    from pim.scoring.pictures import OpenedPair

EXAMPLES = """\b
Examples:
  pim map examples/reference.png examples/distorted.png -o map.png
  pim map examples/reference.png examples/distorted.png -o overlay.png --overlay --triptych
"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
LARGEST = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # pixels a side


def map(
    reference: Annotated[str, typer.Argument(metavar="REF", help="The reference, or a folder.")],
    distorted: Annotated[str, typer.Argument(metavar="DIST", help="The distorted image, or a folder of them.")],
    target: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture (.png, .jpg, .webp, .tif, .bmp), or the bare values as .npy, float32: (H, W), "
            "with --layers (1 + layers, H, W), the whole first. For folders a folder, which gets .png files.",
        ),
    ],
    metric: Annotated[
        str, typer.Option("--metric", "-m", metavar="NAME", help="A metric with a map; pim has a coarse one.")
    ] = DEFAULT,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="For a metric on VGG-16: a map for every layer too; they add up to the map."),
    ] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Lay the colours over the distorted image.")] = False,
    triptych: Annotated[bool, typer.Option("--triptych", help="Reference, distorted image and map in a row.")] = False,
    highest: Annotated[
        float | None,
        typer.Option(
            "--max",
            metavar="VALUE",
            help="The value of the brightest colour, to compare maps; by default the largest value of each map.",
        ),
    ] = None,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    device: common.Device = "auto",
) -> None:
    """Draw where two images differ.

    The mean of the map is the value that pim score --no-align prints: pictures are compared as they lie. Images of two
    folders are paired as pim score pairs them.
    """
    folders = os.path.isdir(reference) and os.path.isdir(distorted)
    if not folders and (given := [path for path in (reference, distorted) if os.path.isdir(path)]):
        other = distorted if given[0] == reference else reference
        there = "is a file" if os.path.exists(other) else "is not there"
        raise UsageError(f"{other} {there}; {given[0]} is a folder, so it should be one too")
    ending = target.suffix.lower()
    if folders and (ending in (*ENDINGS, ".npy") or target.is_file()):
        raise UsageError(f"--output {target} must be a folder, as {reference} is one; the maps in it are .png files")
    if not folders and ending not in (*ENDINGS, ".npy"):
        raise UsageError(f"--output {target} must end in one of {' '.join(ENDINGS)} or .npy")
    if highest is not None and not 0 < highest < float("inf"):
        raise UsageError(f"--max must be a number above 0; got {highest}")
    if ending == ".npy" and (overlay or triptych or highest is not None):
        raise UsageError(f"--output {target} holds bare values, without --overlay, --triptych and --max")
    pairs = _pairs(reference, distorted, target, folders)
    opening = common.open_options(background, frame, max_pixels)
    (chosen,) = common.load_metrics([metric], device)
    if not chosen.info.spatial:
        able = [name for name, info in built_in().items() if info.spatial]
        raise UsageError(f"{chosen.name} has no map; {did_you_mean('', able)}")
    how = _How(chosen, common.chosen_device(device), layers, overlay, triptych, highest)
    failed = 0
    with common.progress("map", len(pairs)) as advance:
        for pair, to in pairs:
            try:
                if folders:
                    to.parent.mkdir(parents=True, exist_ok=True)
                _one(pair, to, how, opening)
            except PimError as error:
                if not folders:
                    raise
                common.note(one_line(str(error)))
                failed += 1
            advance()
    if failed:
        common.note(f"{failed} of {len(pairs)} maps failed")
        raise typer.Exit(1)


@dataclass(frozen=True)
class _How:
    """What is drawn."""

    metric: Metric
    device: str
    layers: bool
    overlay: bool
    triptych: bool
    highest: float | None  # the value of the brightest colour; None: the largest of each map


def _pairs(reference: str, distorted: str, target: Path, folders: bool) -> list[tuple[Pair, Path]]:
    """What to draw, and where it goes."""
    if not folders:
        common.keep_inputs(target, (reference, distorted))
        (pair,) = from_files(reference, [distorted]).items
        return [(pair, target)]
    from pim.scoring.folders import from_folders

    chosen = from_folders(reference, [distorted])
    for line in chosen.notes:
        common.note(line)
    found = [(pair, target / f"{pair.extra['picture']}.png") for pair in chosen.items]
    inputs = [path for pair in chosen.items for path in (pair.reference_path, pair.distorted_path)]
    if lost := {os.path.realpath(path) for path in inputs} & {os.path.realpath(to) for _, to in found}:
        raise UsageError(f"--output {target} would overwrite an input, {min(lost)}; name another folder")
    return found


def _one(pair: Pair, target: Path, how: _How, opening: OpenOptions) -> None:
    from pim.scoring.pictures import Reading, open_pair

    images = open_pair(pair, Reading(opening))
    maps = _maps(how.metric, images, how.device, how.layers)
    ending = target.suffix.lower()
    drawn = None if ending == ".npy" else _drawn(maps, how, images)
    _write(target, ending, maps, drawn)


def _maps(metric: Metric, images: OpenedPair[Pair], device: str, layers: bool) -> dict[str, np.ndarray[Any, Any]]:
    """The map of the whole as "", then those of the layers if they are wanted; (H, W) each, finite."""
    import numpy as np
    import torch

    from pim.scoring.engine import explained, together

    reference, distorted = together([images.reference], device), together([images.distorted], device)
    try:
        with torch.inference_mode():
            found = {"": metric(reference, distorted, spatial=True)}
            if layers:
                found |= metric.layer_maps(reference, distorted)
    except (InputError, MemoryError, RuntimeError) as error:
        raise explained(error, images) from error
    maps = {name: values[0, 0].float().cpu().numpy() for name, values in found.items()}
    if not all(np.isfinite(values).all() for values in maps.values()):
        raise explained(PimError(f"the map of {metric.name} holds values that are not finite"), images)
    return maps


def _drawn(maps: dict[str, np.ndarray[Any, Any]], how: _How, images: OpenedPair[Pair]) -> Any:
    """All maps as one picture, each with a colour bar."""
    from pim.images.heatmap import draw, row, sheet
    from pim.scoring.engine import pixels_of

    whole = float(maps[""].mean())
    below = [pixels_of(image).permute(1, 2, 0).numpy() for image in (images.reference, images.distorted)]
    pictures = []
    for name, values in maps.items():
        low = min(0.0, float(values.min()))
        high = float(values.max()) if how.highest is None else how.highest
        if high <= low:
            high = low + 1.0  # identical images: any scale will do
        caption = _caption(how.metric, name, float(values.mean()), whole)
        pictures.append(draw(values, low, high, caption, over=below[1] if how.overlay else None))
    drawn = pictures[0] if len(pictures) == 1 else sheet(pictures)
    return row(dict(zip(("reference", "distorted"), below, strict=True)), drawn) if how.triptych else drawn


def _caption(metric: Metric, layer: str, mean: float, whole: float) -> str:
    if layer:
        share = f", {mean / whole:.0%} of it" if whole else ""
        return f"{layer}   mean {short(mean)}{share}"
    better = "lower" if metric.lower_is_better else "higher"
    return f"{one_line(metric.name)}   mean {short(mean)}, {better} is closer"


def _write(target: Path, ending: str, maps: dict[str, np.ndarray[Any, Any]], picture: Any) -> None:
    import numpy as np

    from pim.core.files import written_whole

    if picture is not None and max(picture.size) > LARGEST.get(ending, math.inf):
        size = "{} x {}".format(*picture.size)
        raise PimError(f"{target} would have {size} pixels, more than a {ending} holds; write a .png")
    with written_whole(target) as stream:
        if picture is None:
            np.save(stream, maps[""] if len(maps) == 1 else np.stack(list(maps.values())), allow_pickle=False)
        else:
            kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
            picture.save(stream, kinds.get(ending, ending[1:].upper()))
