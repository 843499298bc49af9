"""Perceptual image-quality metrics that can be trusted; see README.md.

>>> import pim
>>> metric = pim.load()            # doctest: +SKIP
>>> metric(reference, distorted)   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pim import loss as loss
    from pim.core.metric import Metric as Metric
    from pim.eval.evaluate import evaluate as evaluate
    from pim.eval.rated import RatedSet as RatedSet
    from pim.hub import from_pretrained as from_pretrained
    from pim.hub import push_to_hub as push_to_hub
    from pim.images.opener import OpenOptions as OpenOptions
    from pim.images.opener import open_image as open_image
    from pim.metrics.registry import list_metrics as list_metrics
    from pim.metrics.registry import load as load
    from pim.pim.model import PIM as PIM
    from pim.pim.networks import PIMConfig as PIMConfig
    from pim.pim.training.loop import train as train
    from pim.pim.training.settings import TrainSettings as TrainSettings
    from pim.scoring.accumulator import Accumulator as Accumulator
    from pim.scoring.distance import distance as distance
    from pim.scoring.engine import score as score
    from pim.scoring.torchmetric import TorchMetric as TorchMetric
    from pim.scoring.video import VideoScore as VideoScore
    from pim.scoring.video import score_video as score_video

    __version__: str
else:
    _HOMES = {
        "__version__": "pim._version",
        "Accumulator": "pim.scoring.accumulator",
        "evaluate": "pim.eval.evaluate",
        "RatedSet": "pim.eval.rated",
        "train": "pim.pim.training.loop",
        "TrainSettings": "pim.pim.training.settings",
        "distance": "pim.scoring.distance",
        "from_pretrained": "pim.hub",
        "list_metrics": "pim.metrics.registry",
        "load": "pim.metrics.registry",
        "loss": "pim.loss",
        "Metric": "pim.core.metric",
        "open_image": "pim.images.opener",
        "OpenOptions": "pim.images.opener",
        "PIM": "pim.pim.model",
        "PIMConfig": "pim.pim.networks",
        "push_to_hub": "pim.hub",
        "score": "pim.scoring.engine",
        "score_video": "pim.scoring.video",
        "VideoScore": "pim.scoring.video",
        "TorchMetric": "pim.scoring.torchmetric",
    }

    __all__ = sorted(_HOMES)

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'pim' has no attribute {name!r}")
        import importlib

        home = importlib.import_module(_HOMES[name])
        return home if name == "loss" else getattr(home, {"__version__": "VERSION"}.get(name, name))

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
