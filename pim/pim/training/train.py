"""From footage to the weights of a PIM, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pim.core.device import choose
from pim.core.weights import cache_folder
from pim.datasets.crops import Crops, CropSettings
from pim.datasets.frames import collect, find_sources
from pim.pim.networks import PIMConfig
from pim.pim.training import loop
from pim.pim.training.settings import TrainSettings

_CONFIG, _SETTINGS, _CUTTING = PIMConfig(), TrainSettings(), CropSettings()


def train(
    footage: Crops | Iterable[str | Path],
    output: str | Path,
    config: PIMConfig = _CONFIG,
    settings: TrainSettings = _SETTINGS,
    *,
    cutting: CropSettings = _CUTTING,
    held_out: float = 0.1,
    device: str = "auto",
    half: bool = False,
    compiled: bool = False,
    save_every: float = loop.SAVE_EVERY,
    watch: Callable[[loop.Progress], None] = lambda progress: None,
) -> loop.Outcome:
    """Train a PIM without labels and write its weights; the same call goes on where a killed one stood.

    Args:
        footage: Video files, folders of videos and folders of frames, or crops that were cut before.
        output: Where the weights go, a .safetensors file; `pim.load` reads it.
        config: The network.
        settings: Objective, batches, optimiser, seed.
        cutting: How crops are taken from footage; those of finished videos are kept.
        held_out: Share of the videos to validate on.
        device: "auto" for a GPU where there is one, else as torch names it; each process of `torchrun` takes its own.
        half: Convolutions in bfloat16; densities stay in float32.
        compiled: Run the network through torch.compile.
        save_every: Seconds between checkpoints.
        watch: Told about progress, in the leading process.

    Returns:
        The bound on held-out footage, in nats for each band.

    Raises:
        DataError: if the footage cannot be read or has no usable crop.
        TrainingError: if there are too few crops, the loss is not finite, or a checkpoint is another run's.
    """
    if not isinstance(footage, Crops):
        footage = collect(find_sources(footage, held_out, cutting.seed), cutting, cache_folder() / "crops")
    return loop.train(
        footage,
        output,
        config,
        settings,
        device=str(choose(device)),
        half=half,
        compiled=compiled,
        save_every=save_every,
        watch=watch,
    )
