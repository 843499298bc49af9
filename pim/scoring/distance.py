"""One distance of anything that is an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from pim.errors import InputError
from pim.metrics import catalogue, registry

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from torch import Tensor

    from pim.core.metric import Metric

    ImageLike = str | os.PathLike[str] | BinaryIO | PIL.Image.Image | np.ndarray[Any, Any] | Tensor


def distance(
    reference: ImageLike,
    distorted: ImageLike,
    metric: str | Metric | None = None,
    *,
    background: str | None = None,
    device: str | None = None,
) -> float:
    """The value of one pair of images, in the metric's published direction.

    Args:
        reference: A path, an open binary file, a PIL image, a NumPy array of (H, W, 3) or gray (H, W)
            (uint8, uint16, or floating point in [0, 1]), or a tensor (3, H, W) or (1, 3, H, W) in [0, 1].
        distorted: The same size, in any of these forms.
        metric: A metric, or a name as `load` takes it; without it the default metric, loaded once.
        background: Colour (white, black or #rrggbb) on which transparent files are put; without it they are refused.
        device: Where to compute; by default where the metric's weights are.

    Raises:
        InputError: if an image cannot be used, or the sizes differ.
        PimError: if the metric cannot be loaded, or gives no usable value.
    """
    import torch

    from pim.core.metric import ensure_finite

    chosen = _named(metric, device) if metric is None or isinstance(metric, str) else metric
    where = chosen.device or torch.device(device or "cpu")
    first = _tensor(reference, "reference", background).to(where)
    second = _tensor(distorted, "distorted", background).to(where)
    with torch.no_grad():
        value = chosen(first, second)
    pair = f"{_called(reference, 'reference')} and {_called(distorted, 'distorted')}"
    return float(ensure_finite(value, chosen.info, [pair]))


def _named(name: str | None, device: str | None) -> Metric:
    name = catalogue.DEFAULT if name is None else name
    # A user's file or code may change between two calls; what ships does not.
    return registry.load_kept(name, device) if name in catalogue.BUILT_IN else registry.load(name, device=device)


def _tensor(image: ImageLike, name: str, background: str | None) -> Tensor:
    """As (3, H, W); ranges are left to the metric."""
    import numpy as np
    import torch

    if isinstance(image, torch.Tensor):
        if image.ndim == 4 and len(image) != 1:
            raise InputError(f"{name} holds {len(image)} images; pim.distance compares one pair, pim.load() batches")
        return image[0] if image.ndim == 4 else image
    if isinstance(image, np.ndarray):
        from pim.images.arrays import pixels_of

        return torch.from_numpy(pixels_of(image, name)).permute(2, 0, 1)
    from pim.images.opener import OpenOptions, open_image

    return torch.from_numpy(open_image(image, OpenOptions(background=background)).pixels).permute(2, 0, 1)


def _called(image: ImageLike, otherwise: str) -> str:
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else otherwise
