"""Perceptual image-quality metrics that can be trusted; see README.md.

>>> import pim
>>> metric = pim.load()            # doctest: +SKIP
>>> metric(reference, distorted)   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pim._version import VERSION as __version__

if TYPE_CHECKING:
    from pim import loss as loss
    from pim.api import distance as distance
    from pim.api import load as load
    from pim.api import metrics as metrics
    from pim.config import PIMConfig as PIMConfig
    from pim.image import open_image as open_image
    from pim.metric import Metric as Metric
    from pim.model import PIM as PIM
else:
    _HOMES = {
        "distance": "pim.api",
        "load": "pim.api",
        "metrics": "pim.api",
        "loss": "pim.loss",
        "Metric": "pim.metric",
        "PIM": "pim.model",
        "PIMConfig": "pim.config",
        "open_image": "pim.image",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'pim' has no attribute {name!r}")
        import importlib

        home = importlib.import_module(_HOMES[name])
        return home if name == "loss" else getattr(home, name)


__all__ = ["PIM", "Metric", "PIMConfig", "__version__", "distance", "load", "loss", "metrics", "open_image"]
