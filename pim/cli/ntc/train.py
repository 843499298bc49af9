"""`pim ntc train`: a codec of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import progress
from pim.cli.ntc import coding
from pim.errors import UsageError

if TYPE_CHECKING:
    from ntc.losses import Distortion
    from ntc.models.config import CodecConfig
    from ntc.patches import Patches, PatchSettings
    from ntc.training import Progress, Run
    from pim.loss import Distortion as Perceptual

EXAMPLES = """\b
Example:
  pim ntc train photos/ footage/ --steps 4000 -o my-codec.safetensors
  pim ntc compress examples/reference.png --codec my-codec.safetensors
"""
DistortionName = Literal["mse", "ms-ssim", "pim", "vgg"]
CALIBRATED_ON = 64  # patches, for a metric whose weight beside the MSE does not ship


def _take_over(context: typer.Context, name: str | None) -> str | None:
    """Make the shape and the lambdas of a codec the defaults, and its name the path of its file."""
    if name is None or context.resilient_parsing:
        return name
    from ntc import store

    path = store.find(name)
    shape = store.load(path).codec.config.to_dict()  # which also checks the file, before patches are cut
    taken = {**shape, "widths": ",".join(map(str, shape["widths"]))}
    options = {option.name for option in context.command.params}
    context.default_map = {key: value for key, value in taken.items() if key in options}
    return str(path)


def train(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Pictures, folders of pictures, videos, folders of videos. A manifest.csv with columns file and "
            "split (train or valid) in a folder of videos decides which are held out.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The codec, .safetensors.")] = Path(
        "codec.safetensors"
    ),
    start: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            is_eager=True,
            callback=_take_over,
            help="Go on from a codec, one that ships or a file: its shape and lambdas are the defaults below.",
        ),
    ] = None,
    kind: Annotated[
        Literal["factorised", "scale", "mean-scale", "joint"], typer.Option(help="The model of the latents.")
    ] = "mean-scale",
    widths: Annotated[str, typer.Option(help="Channels at 1/2, 1/4 and 1/8 of the sides.")] = "12,48,64",
    latents: Annotated[int, typer.Option(min=1, help="Channels of the latents, at 1/16.")] = 96,
    hyper: Annotated[int, typer.Option(min=1, help="Channels of the hyper-latents, at 1/64.")] = 48,
    nonlinearity: Annotated[Literal["gdn", "gdn-2016", "relu"], typer.Option()] = "gdn",
    lambdas: Annotated[
        list[float] | None,
        typer.Option(
            "--lambda",
            show_default="0.013",
            help="Weight of the distortion against bits per pixel. Several make one codec for all rates between.",
        ),
    ] = None,
    distortion: Annotated[
        DistortionName,
        typer.Option(help="mse: of 0..255. ms-ssim: 1 - MS-SSIM. pim, vgg: half MSE, half the metric."),
    ] = "mse",
    rounding: Annotated[
        Literal["noise", "mixed", "straight", "dither", "soft"], typer.Option(help="What stands for rounding.")
    ] = "mixed",
    steps: Annotated[int, typer.Option(min=1)] = 4000,
    batch: Annotated[int, typer.Option("--batch-size", min=1)] = 8,
    window: Annotated[int, typer.Option(min=64, help="Side of training images, a multiple of 64.")] = 128,
    per_source: Annotated[int, typer.Option("--patches-per-source", min=1)] = 120,
    smallest_reduction: Annotated[float, typer.Option(min=1, help="Windows are reduced by at least this,")] = 1.0,
    largest_reduction: Annotated[float, typer.Option(min=1, help="and at most this.")] = 4.0,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the sources to validate on.")] = 0.1,
    optimiser: Annotated[Literal["adam", "sadam"], typer.Option()] = "adam",
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    average: Annotated[float, typer.Option(min=0, max=0.9999, help="Decay of the mean of weights.")] = 0.995,
    half: Annotated[bool, typer.Option("--half", help="Keep the codec in 16 bits a weight.")] = False,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    threads: coding.Threads = 0,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    quiet: common.Quiet = False,
) -> None:
    """Train a codec on pictures or videos.

    Prints the path of the codec. A killed run goes on where it stood when the same command is typed
    again, and ends in the same codec.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors; got {output}")
    from ntc.models.config import CodecConfig
    from ntc.patches import PatchSettings
    from ntc.settings import CodecTraining
    from ntc.training import Run

    config = CodecConfig(
        kind, common.whole_numbers(widths, "--widths"), latents, hyper, nonlinearity, tuple(sorted(lambdas or [0.013]))
    )
    began = None if start is None else Path(start)
    _check_start(began, config)
    settings = CodecTraining(
        steps=steps,
        batch=batch,
        window=window,
        distortion=distortion,
        rounding=rounding,
        first_weights="random" if nonlinearity == "relu" else "images",
        optimiser=optimiser,
        learning_rate=learning_rate,
        average=average,
        half=half,
        seed=seed,
    )
    cutting = PatchSettings(window, per_source, smallest_reduction, largest_reduction, seed=seed)
    common.use_threads(threads)
    where = common.chosen_device(device)
    perceptual = _perceptual(distortion, window)
    patches = _collect(images, cutting, held_out, quiet)
    compared = _distortion(distortion, perceptual, patches, where)
    with common.alone_with(output):
        _run(
            Run(patches, output, config, settings, None if start is None else Path(start)),
            compared,
            where,
            save_every,
            quiet,
        )
    print(output)


def _check_start(start: Path | None, config: CodecConfig) -> None:
    """Refuse options that contradict the codec to go on from."""
    from ntc import store

    if start is None:
        return
    there, asked = store.load(start).codec.config.to_dict(), config.to_dict()
    if other := [name for name in asked if asked[name] != there[name]]:
        option = "--lambda" if other[0] == "lambdas" else f"--{other[0]}"
        raise UsageError(f"{option} differs from that of {start}, which cannot be changed; leave it out")


def _perceptual(name: DistortionName, window: int) -> Perceptual | None:
    """The perceptual loss of this name; none for the MSE.

    Raises:
        UsageError: if the metric needs larger patches.
    """
    if name == "mse":
        return None
    from pim.loss import MSE_WEIGHT
    from pim.loss import Distortion as Perceptual

    loss = Perceptual(name, mse_weight=MSE_WEIGHT, weight=1.0) if name == "ms-ssim" else Perceptual(name)
    smallest = loss.metric.info.min_size
    if window < smallest:
        raise UsageError(f"{name} needs patches of {smallest} pixels or more; got --window {window}")
    return loss


def _distortion(name: DistortionName, loss: Perceptual | None, patches: Patches, device: str) -> Distortion:
    """What to compare reference and decoded patches by, on the scale of the MSE of 0 .. 255 where it has an MSE."""
    import torch

    from ntc.losses import PEAK, mse
    from ntc.patches import spread

    if loss is None:
        return mse
    loss.to(device)
    if name != "ms-ssim" and loss.calibration is None:  # of the shipped metrics only those without their backbone
        samples = spread(patches.take(held_out=False), CALIBRATED_ON)
        loss.calibrate(torch.from_numpy(samples).to(device) / PEAK)
    if name == "ms-ssim":
        return lambda reference, distorted: loss.terms(reference, distorted).perceptual
    return lambda reference, distorted: PEAK**2 * loss.terms(reference, distorted).loss


def _collect(images: list[Path], settings: PatchSettings, held_out: float, quiet: bool) -> Patches:
    from ntc.patches import collect
    from pim.datasets.frames import find_sources

    sources = find_sources(images, held_out, settings.seed)
    with progress("cutting patches", len(sources), unit="sources", quiet=quiet) as advance:
        return collect(sources, settings, advance, common.note)


def _run(run: Run, distortion: Distortion, device: str, save_every: float, quiet: bool) -> None:
    from ntc.training import train

    done = run.steps_done()
    with (
        common.stoppable(f"{run.checkpoint_file} is kept", run.checkpoint_file),
        progress("training", run.settings.steps, unit="steps", done=done, quiet=quiet) as advance,
    ):

        def watch(now: Progress) -> None:
            advance(now.fresh, f"{now.bits_per_pixel:.3f} bits per pixel, {now.psnr:.2f} dB")

        reached = train(run, distortion, device=device, save_every=save_every, watch=watch)
    for result in reached:
        weight = run.config.lambdas[int(result.level)]
        common.note(
            f"lambda {weight:g}: {result.bits_per_pixel:.3f} bits per pixel, {result.psnr:.2f} dB on held-out patches",
            quiet,
        )
    if not reached:
        common.note("no source was held out, so the codec was not validated", quiet)
