"""Recipes: how a PIM that there is was trained, read from its file for another training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pim.core import weights
from pim.datasets.crops import CropSettings
from pim.errors import UsageError
from pim.pim.networks import PIMConfig
from pim.pim.training.settings import GONE, TrainSettings

MODEL = "pim"  # whose recipe is taken where nothing is said


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; the band weights are found by it, and the seed is the first."""

    config: PIMConfig
    settings: TrainSettings
    cutting: CropSettings


def recipe_of(name: str = MODEL) -> Recipe:
    """Read how a PIM was trained: one that ships, by its name, or a weight file.

    Raises:
        UsageError: if the file holds another kind of weights, or does not say how it was trained.
        WeightsError: if it cannot be read.
    """
    header = weights.read_header(weights.shipped().get(name) or Path(name))
    if header.kind != "pim":
        raise UsageError(f"a recipe needs a PIM; {name} holds weights of kind {header.kind!r}")
    settings, cutting = (header.training.get(part, {}) for part in ("settings", "crop_settings"))
    if not isinstance(settings, dict) or not isinstance(cutting, dict) or "filters" not in header.config:
        raise UsageError(f"{name} does not say how it was trained")
    config = replace(PIMConfig.from_dict(header.config), band_weights=())
    kept = {key: value for key, value in settings.items() if (key, value) not in GONE.items()}
    try:
        return Recipe(config, replace(TrainSettings(**kept), seed=0), replace(CropSettings(**cutting), seed=0))
    except TypeError as error:
        raise UsageError(f"{name} was trained with settings that are gone: {error}") from error
