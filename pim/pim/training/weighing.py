"""Weights of the bands and the unit of the distance, found without labels."""

from __future__ import annotations

from dataclasses import replace

import torch

from pim.datasets.crops import Crops
from pim.errors import TrainingError
from pim.pim.distance import over_bands
from pim.pim.model import PIM
from pim.pim.training import batches
from pim.pim.training.settings import TrainSettings

PAIRS = 256
COARSEST = 0.5  # of the low-pass rest: brightness and colour, which people forgive more; docs/training-study.md


def check_sources(crops: Crops) -> None:
    """Raise TrainingError if all crops come from one source: bands cannot be weighed then."""
    if len(set(crops.source.tolist())) < 2:
        raise TrainingError(
            "weighing the bands needs at least two videos to train on, beside those that are held out; add videos, "
            "hold none out (--held-out 0) where there are two, or leave the bands alike (--no-weigh)"
        )


@torch.no_grad()
def band_weights(metric: PIM, crops: Crops, settings: TrainSettings) -> tuple[float, ...]:
    """Weigh bands by the filtered pictures that each holds, the coarsest half, so that unrelated pictures are 1 apart.

    Raises:
        TrainingError: if all crops are the same to the metric.
    """
    x, y = batches.unrelated(crops, settings, PAIRS)
    # As in training; see `Pyramid.of_crops`.
    config = replace(metric.config, band_weights=())
    plain = PIM(config if config.detail else replace(config, reduction=1))
    plain.load_state_dict({name: tensor.cpu() for name, tensor in metric.state_dict().items()})
    pictures = torch.tensor(config.pictures, dtype=torch.float64)
    pictures[0] *= COARSEST
    unit = over_bands(plain.eval().per_band(x, y).double(), pictures).mean()
    if unit <= 0:
        raise TrainingError("the metric gives the same latents for all crops, so it has no unit; train longer")
    return tuple((pictures / unit).tolist())
