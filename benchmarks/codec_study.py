"""What the parts of a codec are worth: pairs of trainings that differ in one thing, at equal seeds.

    python benchmarks/codec_study.py VIDEOS FOLDER --output study.csv
    python benchmarks/codec_study.py VIDEOS FOLDER --steps 4000 --widths 32,32,32 --latents 48 --hyper 32

Every variant differs from the base (scale hyperprior, simplified GDN, Adam) in one thing and sees the
same minibatches at the same seed. What is compared is L = bits per pixel + lambda * MSE on patches of held-out
videos, or with --pictures on whole pictures, with exact rates, as files have them. FOLDER keeps every trained codec; a
killed study goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t
from timing import report, setting

from ntc import store
from ntc.losses import PEAK, mse
from ntc.models.codec import Codec
from ntc.models.config import CodecConfig
from ntc.patches import Patches, PatchSettings, collect
from ntc.rd import as_picture
from ntc.settings import CodecTraining
from ntc.training import Run, train
from pim.datasets.frames import find_sources
from pim.images.opener import open_image


@dataclass(frozen=True)
class Variant:
    """What differs from the base."""

    name: str
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


BASE = Variant("base: scale, GDN, Adam")
VARIANTS = (
    Variant("ReLU instead of GDN", {"nonlinearity": "relu"}),
    Variant("first published GDN", {"nonlinearity": "gdn-2016"}),
    Variant("Sadam instead of Adam", {}, {"optimiser": "sadam"}),
    Variant("factorised prior", {"kind": "factorised"}),
    Variant("mean-scale hyperprior", {"kind": "mean-scale"}),
    Variant("joint prior", {"kind": "joint"}),
    Variant("start from images", {}, {"first_weights": "images"}),
    Variant("noise for both", {}, {"rounding": "noise"}),
    Variant("soft rounding", {}, {"rounding": "soft"}),
)


def trained(asked: argparse.Namespace, patches: Patches, variant: Variant, weight: float, seed: int) -> Codec:
    """The codec of one training, from FOLDER if it is there."""
    config = replace(
        CodecConfig("scale", tuple(map(int, asked.widths.split(","))), asked.latents, asked.hyper, lambdas=(weight,)),
        **variant.network,
    )
    settings = replace(
        CodecTraining(
            steps=asked.steps,
            batch=asked.batch,
            window=asked.window,
            first_weights=asked.first_weights,
            learning_rate=asked.learning_rate,
            average=asked.average,
            seed=seed,
        ),
        **variant.training,
    )
    run = Run(patches, asked.folder / f"{_slug(variant.name)}-{weight:g}-{seed}.safetensors", config, settings)
    if not run.output.is_file():
        train(run, mse)
    stored = store.load(run.output)
    if stored.codec.config != config or stored.training["settings"] != asdict(settings):
        raise SystemExit(f"{run.output} was trained with other settings; name another FOLDER")
    return stored.codec


@torch.no_grad()
def losses(codec: Codec, weight: float, pictures: Sequence[NDArray[np.uint8]]) -> list[float]:
    """L of every picture (3, H, W)."""
    each = []
    for pixels in pictures:
        image = torch.from_numpy(pixels)[None].float() / PEAK
        coded = codec(image)
        each.append((coded.bits_per_pixel() + weight * mse(image, coded.image)).item())
    return each


def judging(asked: argparse.Namespace, patches: Patches) -> list[NDArray[np.uint8]]:
    """What L is measured on: pictures (3, H, W)."""
    if asked.pictures is None:
        return list(patches.take(held_out=True)[: asked.judged])
    found = [as_picture(open_image(path).pixels) for path in sorted(asked.pictures.glob("*.png"))[: asked.judged]]
    return [picture.transpose(2, 0, 1) for picture in found]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean by Student's t over seeds."""
    if len(values) < 2:
        return (math.nan, math.nan)
    reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def compared(asked: argparse.Namespace, patches: Patches, chosen: Sequence[Variant]) -> list[dict[str, Any]]:
    """One row per variant: the change of the mean L against the base, in percent, seed by seed."""
    held_out = judging(asked, patches)
    rows = []
    found: dict[tuple[str, float, int], float] = {}
    for variant in (BASE, *chosen):
        for weight in asked.lambdas:
            for seed in range(asked.seeds):
                codec = trained(asked, patches, variant, weight, seed)
                found[variant.name, weight, seed] = fmean(losses(codec, weight, held_out))
        changes = [
            100 * fmean(found[variant.name, w, s] / found[BASE.name, w, s] - 1 for w in asked.lambdas)
            for s in range(asked.seeds)
        ]
        low, high = interval(changes)
        means = {f"L at {w:g}": fmean(found[variant.name, w, s] for s in range(asked.seeds)) for w in asked.lambdas}
        each = " ".join(f"{change:+.1f}" for change in changes)
        row = {"variant": variant.name, **means, "change %": fmean(changes), "low": low, "high": high, "seeds": each}
        rows.append(row)
        print(row, flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="videos or pictures, as `pim ntc train` takes them")
    parser.add_argument("folder", type=Path, help="where trained codecs are kept")
    parser.add_argument("--only", action="append", help="a part of the name of a variant; may be repeated")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--widths", default="24,24,24")
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--hyper", type=int, default=24)
    parser.add_argument("--lambdas", type=float, nargs="+", default=[0.0067, 0.025])
    parser.add_argument("--first-weights", choices=("random", "images"), default="random", help="of the base")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--average", type=float, default=0.98)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=Path, help="a folder of .png files to judge on instead of held-out patches")
    parser.add_argument("--judged", type=int, default=256, help="held-out patches or pictures, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    patches = collect(find_sources([asked.videos]), PatchSettings(asked.window, largest_reduction=4.0))
    chosen = [v for v in VARIANTS if not asked.only or any(part in v.name for part in asked.only)]
    rows = compared(asked, patches, chosen)
    report(rows, setting(steps=asked.steps, batch=asked.batch, patches=len(patches)), asked.output)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


if __name__ == "__main__":
    main()
