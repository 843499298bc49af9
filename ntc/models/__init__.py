"""The codecs: a transform each way, a model of the latents, and one path through which both sides go."""

from __future__ import annotations

from ntc.models.autoregressive import Joint
from ntc.models.codec import Codec, Factorised
from ntc.models.config import CodecConfig, Kind
from ntc.models.hyperprior import MeanScaleHyperprior, ScaleHyperprior

_CLASSES: dict[Kind, type[Codec]] = {
    "factorised": Factorised,
    "scale": ScaleHyperprior,
    "mean-scale": MeanScaleHyperprior,
    "joint": Joint,
}


def build(config: CodecConfig) -> Codec:
    """Make a codec with random weights (`torch.manual_seed` decides which), in training mode."""
    return _CLASSES[config.kind](config)
