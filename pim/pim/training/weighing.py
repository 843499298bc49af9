"""Weights of the bands, found without labels.

Bands differ in how far apart they put any two pictures, for reasons that have nothing to do with people. Measured
in what unrelated pictures differ by, all count alike. The published mean over bands lets one position of a coarse band
count as much as the many of a fine band that cover it; by their number, all positions count alike. Halfway there can
agree better with people (the training study).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from pim.datasets.crops import Crops
from pim.errors import TrainingError
from pim.pim.model import PIM
from pim.pim.training import batches
from pim.pim.training.settings import TrainSettings

PAIRS = 256


def check_sources(crops: Crops) -> None:
    """Whether bands can be weighed on these crops.

    Raises:
        TrainingError: if all come from one source.
    """
    if len(set(crops.source.tolist())) < 2:
        raise TrainingError(
            "weights of bands (equal_bands, equal_positions) need at least two videos to train on, "
            "beside those that are held out; add videos"
        )


@torch.no_grad()
def band_weights(metric: PIM, crops: Crops, settings: TrainSettings) -> tuple[float, ...]:
    """One weight per band, coarsest first: a p^f / m^e.

    p is the number of the band's positions, m its mean distance between crops of different sources; e is
    `settings.equal_bands`, f `settings.equal_positions`; a makes 1 of the mean distance of two unrelated crops.

    Args:
        metric: Trained.
        crops: Of at least two sources.
        settings: For e, f and the seed.

    Raises:
        TrainingError: if a band is the same for all crops.
    """
    x, y = batches.unrelated(crops, settings, PAIRS)
    # As in training; see `Pyramid.of_crops`.
    plain = PIM(metric.config if metric.config.detail else replace(metric.config, reduction=1))
    plain.load_state_dict({name: tensor.cpu() for name, tensor in metric.state_dict().items()})
    means = plain.eval().per_band(x, y).double().mean(1)
    if not bool((means > 0).all()):
        raise TrainingError("a band gives the same latents for all crops, so it cannot be weighed; train longer")
    sizes = [latents.means.shape[-2:] for latents in plain.latents(x[:1])]
    positions = torch.tensor([height * width for height, width in sizes], dtype=torch.float64)
    weights = positions**settings.equal_positions / means**settings.equal_bands
    return tuple((weights / (weights * means).mean()).tolist())
