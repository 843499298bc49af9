"""A distance between images in the features of VGG-16, with weights that can be fitted to people.

In the spirit of Chinen et al., "Towards a Semantic Perceptual Image Metric", ICIP 2018 (arXiv 1808.00447),
of which only the abstract was available: layers, normalisation and fit are our own choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vggmetric.embedding import Embedding as Embedding
    from vggmetric.head import Head as Head
    from vggmetric.metric import VGGMetric as VGGMetric
else:
    _HOMES = {"Embedding": "vggmetric.embedding", "Head": "vggmetric.head", "VGGMetric": "vggmetric.metric"}

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'vggmetric' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)


__all__ = ["Embedding", "Head", "VGGMetric"]
