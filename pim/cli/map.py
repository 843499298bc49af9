"""`pim map`: where two images differ, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pim.cli import common
from pim.cli.output import one_line, short
from pim.cli.pairs import from_files
from pim.cli.reading import OpenedPair, named, open_pair, tensor
from pim.errors import InputError, PimError, UsageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from pim.metric import Metric

EXAMPLES = """\b
Examples:
  pim map examples/reference.png examples/distorted.png -o map.png
  pim map examples/reference.png examples/distorted.png -o overlay.png --overlay
"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def map(
    reference: Annotated[str, typer.Argument(metavar="REF", show_default=False, help="The reference.")],
    distorted: Annotated[str, typer.Argument(metavar="DIST", show_default=False, help="The distorted image.")],
    target: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="The picture (.png, .jpg, .webp, .tif, .bmp), or the bare values as .npy, (H, W) float32.",
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option("--metric", "-m", metavar="NAME", show_default=False, help="One metric that has a map."),
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Lay the colours over the distorted image.")] = False,
    highest: Annotated[
        float | None,
        typer.Option(
            "--max",
            metavar="VALUE",
            show_default=False,
            help="The value of the brightest colour, to compare maps; by default the largest value of the map.",
        ),
    ] = None,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    device: common.Device = "auto",
) -> None:
    """Draw where two images differ.

    The mean of the map is the value that pim score prints.
    """
    ending = target.suffix.lower()
    if ending not in (*ENDINGS, ".npy"):
        raise UsageError(f"--output {target} must end in one of {' '.join(ENDINGS)} or .npy")
    if highest is not None and not 0 < highest < float("inf"):
        raise UsageError(f"--max must be a number above 0; got {highest}")
    common.keep_inputs(target, (reference, distorted))
    (pair,) = from_files(reference, [distorted]).items
    opening = common.open_options(background, frame, max_pixels)
    (chosen,) = common.load_metrics([metric] if metric else None, device)
    _check_has_map(chosen)
    images = open_pair(pair, opening)
    values = _values(chosen, images, common.chosen_device(device))
    _write(target, ending, values, _picture(values, chosen, images, overlay, highest) if ending != ".npy" else None)


def _check_has_map(metric: Metric) -> None:
    """Refuse a metric without maps, and name those that have one."""
    from pim.catalogue import SHIPPED

    if not metric.info.spatial:
        able = [name for name, info in SHIPPED.items() if info.spatial]
        raise UsageError(f"{metric.name} has no map; {did_you_mean('', able)}")


def _values(metric: Metric, images: OpenedPair, device: str) -> np.ndarray[Any, Any]:
    """The map, (H, W), finite."""
    import numpy as np
    import torch

    try:
        with torch.inference_mode():
            found = metric(tensor(images.reference, device), tensor(images.distorted, device), spatial=True)
    except (InputError, MemoryError, torch.OutOfMemoryError) as error:
        raise named(error, images.pair) from error
    values: np.ndarray[Any, Any] = found[0, 0].float().cpu().numpy()
    if not np.isfinite(values).all():
        raise named(PimError(f"the map of {metric.name} holds values that are not finite"), images.pair)
    return values


def _picture(
    values: np.ndarray[Any, Any], metric: Metric, images: OpenedPair, overlay: bool, highest: float | None
) -> Any:
    from pim.heatmap import draw

    low = min(0.0, float(values.min()))
    high = float(values.max()) if highest is None else highest
    if high <= low:
        high = low + 1.0  # identical images: any scale will do
    better = "lower" if metric.lower_is_better else "higher"
    caption = f"{one_line(metric.name)}   mean {short(float(values.mean()))}, {better} is closer"
    return draw(values, low, high, caption, over=images.distorted.pixels if overlay else None)


def _write(target: Path, ending: str, values: np.ndarray[Any, Any], picture: Any) -> None:
    import numpy as np

    from pim.files import written_whole

    with written_whole(target) as stream:
        if picture is None:
            np.save(stream, values, allow_pickle=False)
        else:
            kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
            picture.save(stream, kinds.get(ending, ending[1:].upper()))
