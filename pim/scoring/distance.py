"""One distance of anything that is an image."""

from __future__ import annotations

import torch

from pim.core.device import choose
from pim.core.metric import Metric, ensure_finite
from pim.images.opener import OpenOptions
from pim.metrics import registry
from pim.scoring.engine import load_metrics
from pim.scoring.pictures import ImageLike, as_picture, load


def distance(
    reference: ImageLike,
    distorted: ImageLike,
    metric: str | Metric | None = None,
    *,
    align: bool | None = None,
    background: str | None = None,
    device: str | None = None,
) -> float:
    """Measure one pair of images, in the metric's published direction.

    Args:
        reference: A path, an open binary file, a PIL image, a NumPy array of (H, W, 3) or gray (H, W)
            (uint8, uint16, or floating point in [0, 1]), or a tensor (3, H, W) or (1, 3, H, W) in [0, 1].
        distorted: The same size, in any of these forms.
        metric: A metric, or a name as `load` takes it; without it the default metric, loaded once.
        align: Find displacement and change of tone, take both back and charge for them; None: if the metric does so by
            default.
        background: Colour (white, black or #rrggbb) on which transparent files are put; without it they are refused.
        device: Where to compute, "auto" for a GPU where there is one; a metric is moved there. By default where the
            metric's weights are.

    Raises:
        InputError: if an image cannot be used, or the sizes differ.
        PimError: if the metric cannot be loaded, or gives no usable value.
    """
    where = None if device is None else choose(device)
    (chosen,) = load_metrics([_loaded(metric, None if where is None else str(where))], None, align)
    where = where or chosen.device or torch.device("cpu")
    pictures = [as_picture(reference, "reference"), as_picture(distorted, "distorted")]
    first, second = (load(picture, OpenOptions(background=background)).pixels.to(where) for picture in pictures)
    with torch.no_grad():
        value = chosen(first, second)
    return float(ensure_finite(value, chosen.info, [" and ".join(picture.name for picture in pictures)]))


def _loaded(metric: str | Metric | None, device: str | None) -> Metric:
    if isinstance(metric, Metric):
        return metric if device is None else metric.to(device)
    name = registry.DEFAULT if metric is None else registry.spelled(metric)
    # A user's file or code may change between two calls; what ships does not.
    return (registry.load_kept if name in registry.built_in() else registry.load)(name, device=device)
