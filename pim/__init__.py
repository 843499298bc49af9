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
    from pim.core.metric import Metric as Metric
    from pim.images.opener import open_image as open_image
    from pim.metrics.registry import list_metrics as list_metrics
    from pim.metrics.registry import load as load
    from pim.pim.config import PIMConfig as PIMConfig
    from pim.pim.model import PIM as PIM
    from pim.scoring.distance import distance as distance
else:
    _HOMES = {
        "distance": "pim.scoring.distance",
        "load": "pim.metrics.registry",
        "list_metrics": "pim.metrics.registry",
        "loss": "pim.loss",
        "Metric": "pim.core.metric",
        "PIM": "pim.pim.model",
        "PIMConfig": "pim.pim.config",
        "open_image": "pim.images.opener",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'pim' has no attribute {name!r}")
        import importlib

        home = importlib.import_module(_HOMES[name])
        return home if name == "loss" else getattr(home, name)


__all__ = [
    "PIM",
    "Metric",
    "PIMConfig",
    "__version__",
    "distance",
    "load",
    "list_metrics",
    "load",
    "loss",
    "open_image",
]
