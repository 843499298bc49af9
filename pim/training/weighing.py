"""Weights of the bands, found without labels.

Bands differ in how far apart they put any two pictures, for reasons that have nothing to do with people. Measured
in what unrelated pictures differ by, all count alike.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from pim.datasets.crops import Crops
from pim.errors import TrainingError
from pim.model import PIM
from pim.training import batches
from pim.training.settings import TrainSettings

PAIRS = 256


@torch.no_grad()
def equal_weights(metric: PIM, crops: Crops, settings: TrainSettings) -> tuple[float, ...]:
    """One weight per band, coarsest first: 1 / mean distance between crops of different sources.

    With them the distance of two unrelated crops is 1 in the mean.

    Args:
        metric: Trained.
        crops: Of at least two sources; they are reduced already.
        settings: For the seed.

    Raises:
        TrainingError: if there is one source only, or a band is the same for all crops.
    """
    x, y = batches.unrelated(crops, settings, PAIRS)
    if not len(x):
        raise TrainingError("equal bands need crops of at least two sources; add videos")
    plain = PIM(replace(metric.config, reduction=1))
    plain.load_state_dict({name: tensor.cpu() for name, tensor in metric.state_dict().items()})
    means = plain.eval().per_band(x, y).double().mean(1)
    if not bool((means > 0).all()):
        raise TrainingError("a band gives the same latents for all crops, so it cannot be weighed; train longer")
    return tuple((1 / means).tolist())
