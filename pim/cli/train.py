"""`pim train`: a PIM of one's own, from videos, without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import progress
from pim.errors import UsageError
from pim.pim.training.settings import TrainSettings

if TYPE_CHECKING:
    from pim.datasets.crops import Crops, CropSettings
    from pim.pim.training.loop import Outcome, Progress

EXAMPLES = """\b
Example:
  pim train footage/ -o my.safetensors
  pim score examples/reference.png examples/distorted.png -m my.safetensors
  pim train footage/ --like pim-1 -o published.safetensors
"""
CROP_OPTIONS = {
    "size": "crop_size",
    "per_source": "crops_per_source",
    "largest_gap": "largest_gap",
    "largest_reduction": "largest_reduction",
}


def _take_over(context: typer.Context, name: str | None) -> str | None:
    """Make the settings of a PIM the defaults of all other options, except the seed."""
    if name is None or context.resilient_parsing:
        return name
    from pim.pim.networks import PIMConfig
    from pim.pim.training.recipe import recipe_of

    recipe = recipe_of(name)
    taken = {**recipe.config.to_dict(), **asdict(recipe.settings)}
    options = {option.name for option in context.command.params}
    usual = {**PIMConfig().to_dict(), **asdict(TrainSettings())}
    foreign = {key: value for key, value in taken.items() if key not in options and value != usual[key]}
    if foreign:
        raise UsageError(f"--like {name}: it has settings that pim train has no option for: {foreign}")
    taken["filters"] = ",".join(map(str, recipe.config.filters))
    taken |= {option: getattr(recipe.cutting, key) for key, option in CROP_OPTIONS.items()}
    context.default_map = {key: value for key, value in taken.items() if key in options - {"seed"}}
    return name


def train(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="VIDEOS...",
            help="Video files, folders of videos, folders of frames. A manifest.csv with columns file and split "
            "(train or valid) in a folder of videos decides which are held out.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The weights, .safetensors.")] = Path(
        "pim.safetensors"
    ),
    crops_file: Annotated[Path | None, typer.Option("--crops", help="Packed crops instead of videos.")] = None,
    pack: Annotated[Path | None, typer.Option(help="Only write the crops there, for another machine.")] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            is_eager=True,
            callback=_take_over,
            help="A PIM, such as pim-1 or a file: its settings are the defaults of all options below but --seed. "
            "Without it they are those of pim, the default metric.",
        ),
    ] = None,
    filters: Annotated[str, typer.Option(help="Channels of the convolutions; 64,64,64,3 is pim-1.")] = "24,24,6",
    kernel: Annotated[int, typer.Option(min=1, help="Side of their kernels.")] = 3,
    stride: Annotated[
        int, typer.Option(min=1, help="Of the first convolution: 2 has latents at every second place.")
    ] = 2,
    mixtures: Annotated[int, typer.Option(min=1, help="5 is pim-5.")] = 1,
    reduction: Annotated[
        int, typer.Option(min=1, help="The metric averages blocks of this side first; windows of training are not.")
    ] = 2,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail/--no-detail",
            help="One more band: the gradients within those blocks; windows are reduced as well.",
        ),
    ] = True,
    pyramid: Annotated[Literal["steerable", "laplacian", "none"], typer.Option()] = "steerable",
    filter_set: Annotated[
        Literal["sp0", "sp1", "sp3", "sp5"],
        typer.Option(help="1, 2, 4 or 6 orientations."),
    ] = "sp1",
    scales: Annotated[int, typer.Option(min=1)] = 2,
    high_pass: Annotated[
        bool, typer.Option("--high-pass/--no-high-pass", help="The high-pass rest of the steerable pyramid is a band.")
    ] = False,
    surround: Annotated[
        int, typer.Option(min=0, help="Side of the window of divisive normalisation, odd; 0: none.")
    ] = 5,
    grouped: Annotated[
        bool, typer.Option("--grouped/--no-grouped", help="All orientations of a scale are one band, with one network.")
    ] = True,
    padding: Annotated[
        Literal["same", "replicate", "valid"],
        typer.Option(help="Beyond borders: zeros, the border again (zeros in training), nothing."),
    ] = "replicate",
    distance: Annotated[
        Literal["mean_square", "root_mean_square"],
        typer.Option(help="Of latents, in a band; the mean square is published, its root makes a norm."),
    ] = "root_mean_square",
    weigh: Annotated[
        bool,
        typer.Option(
            "--weigh/--no-weigh",
            help="Bands count by the pictures they hold, the coarsest half; unrelated pictures are 1 apart.",
        ),
    ] = True,
    mean: Annotated[Literal["relu", "linear"], typer.Option(help="Output of the encoder.")] = "relu",
    crop_size: Annotated[int, typer.Option(min=16, help="Side of crops, from which windows are taken.")] = 96,
    crops_per_source: Annotated[int, typer.Option(min=1)] = 160,
    largest_gap: Annotated[int, typer.Option(min=1, help="Frames between a pair.")] = 2,
    largest_reduction: Annotated[float, typer.Option(min=1, help="Windows are reduced by up to this.")] = 4.0,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the videos to validate on.")] = 0.1,
    steps: Annotated[int, typer.Option(min=1)] = 400,
    batch: Annotated[int, typer.Option("--batch-size", min=2)] = 64,
    per_source: Annotated[int, typer.Option(min=1, help="Crops of one video in a batch.")] = 8,
    window: Annotated[int, typer.Option(min=8, help="Side, pixels.")] = 64,
    bound: Annotated[Literal["position", "scale", "image"], typer.Option()] = "scale",
    gain: Annotated[float, typer.Option(min=0, help="Contrast jitter between the two frames.")] = 0.6,
    offset: Annotated[float, typer.Option(min=0, help="Brightness jitter.")] = 0.2,
    noise: Annotated[float, typer.Option(min=0, help="Largest deviation of white noise.")] = 0.06,
    chroma_noise: Annotated[
        float, typer.Option(min=0, help="Largest deviation of noise in the colour differences.")
    ] = 0.24,
    shift: Annotated[int, typer.Option(min=0, help="Largest displacement, pixels.")] = 12,
    learning_rate: Annotated[float, typer.Option(min=0)] = 2e-3,
    average: Annotated[float, typer.Option(min=0, max=0.9999, help="Decay of the mean of weights.")] = 0.98,
    half: Annotated[bool, typer.Option("--half", help="Convolutions in bfloat16.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile.")] = False,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    threads: Annotated[int, typer.Option(min=0, help="Of the CPU; 0: all. The same number repeats bit for bit.")] = 0,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    quiet: common.Quiet = False,
) -> None:
    """Train a PIM on videos, without labels.

    Needs nothing but footage in which something moves. Prints the path of the weights. A killed run
    goes on where it stood when the same command is typed again, and ends in the same weights.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors; got {output}")
    settings = TrainSettings(
        steps=steps,
        batch=batch,
        per_source=per_source,
        window=window,
        bound=bound,
        gain=gain,
        offset=offset,
        noise=noise,
        chroma_noise=chroma_noise,
        shift=shift,
        learning_rate=learning_rate,
        average=average,
        weigh=weigh,
        seed=seed,
    )
    from pim.datasets.crops import CropSettings, load_crops, save_crops
    from pim.pim.networks import PIMConfig

    config = PIMConfig(
        reduction=reduction,
        detail=detail,
        pyramid=pyramid,
        scales=scales,
        filter_set=filter_set,
        filters=common.whole_numbers(filters, "--filters"),
        kernel=kernel,
        stride=stride,
        high_pass=high_pass,
        surround=surround,
        grouped=grouped,
        padding=padding,
        distance=distance,
        mixtures=mixtures,
        mean=mean,
    )
    if (crops_file is None) == (not videos):
        raise UsageError("name either VIDEOS or a file of packed crops with --crops")
    if crops_file is not None:
        crops = load_crops(crops_file)
    else:
        cutting = CropSettings(
            size=crop_size,
            per_source=crops_per_source,
            largest_gap=largest_gap,
            largest_reduction=largest_reduction,
            seed=seed,
        )
        crops = _collect(videos or [], cutting, held_out, quiet)
    if pack is not None:
        save_crops(pack, crops)
        common.note(f"{len(crops)} crops of {len(crops.names)} sources", quiet)
        print(pack)
        return
    from pim.core.device import train_in_float32
    from pim.pim.training.loop import steps_done, train

    train_in_float32()
    common.use_threads(threads)
    run = partial(train, crops, output, config, settings, device=common.chosen_device(device))
    with common.alone_with(output):
        done = steps_done(crops, output, config, settings, half)
        _run(partial(run, half=half, compiled=compiled, save_every=save_every), output, done, steps, quiet)
    print(output)
    from pim.pim.training.parallel import leave

    leave()


def _collect(videos: list[Path], settings: CropSettings, held_out: float, quiet: bool) -> Crops:
    from pim.core.weights import cache_folder
    from pim.datasets.frames import collect, find_sources

    sources = find_sources(videos, held_out, settings.seed)
    with (
        common.stoppable("crops of finished videos are kept"),
        progress("cutting crops", len(sources), unit="sources", quiet=quiet) as advance,
    ):
        return collect(sources, settings, cache_folder() / "crops", advance, common.note)


def _run(train: Callable[..., Outcome], output: Path, done: int, steps: int, quiet: bool) -> None:
    kept = output.with_suffix(".ckpt")
    with (
        common.stoppable(f"{kept} is kept", kept),
        progress("training", steps, unit="steps", done=done, quiet=quiet) as advance,
    ):

        def watch(now: Progress) -> None:
            advance(now.fresh, f"bound {now.information:.2f} nats, weakest band {now.weakest:.2f}")

        outcome = train(watch=watch)
    _report(outcome, quiet)


def _report(outcome: Outcome, quiet: bool) -> None:
    from pim.pim.training.conclusions import conclude

    if outcome.bound:
        bands = " ".join(f"{value:.2f}" for value in outcome.bound)
        common.note(
            f"bound by band (coarsest first): {bands} nats; without jitter, mean: "
            f"{sum(outcome.bare) / len(outcome.bare):.2f}",
            quiet,
        )
    for sentence in conclude(outcome):
        common.note(sentence, quiet)
