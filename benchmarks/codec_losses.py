"""Does training a codec with a metric help? One codec, fine-tuned with several losses, judged by metrics of others.

    python benchmarks/codec_losses.py train VIDEOS PICTURES FOLDER
    python benchmarks/codec_losses.py table FOLDER --output benchmarks/results/codec_losses.json
    python benchmarks/codec_losses.py groups FOLDER FOLDER... --loss pim --against mse --output FILE
    python benchmarks/codec_losses.py page PICTURES FOLDER page.html
    python benchmarks/codec_losses.py kit PICTURES FOLDER KIT

`train` moves the shipped codec to lower rates with the MSE, goes on from there with each loss, seed by seed, on the
same patches, and measures every codec by real files of the middles of PICTURES, which are in no training. FOLDER
keeps all of that: a killed command goes on where it was. `table` says how many bits more each needs at equal quality,
`page` shows crops at equal bits, `kit` writes pictures at equal bits for people to judge. All three take what is
there so far. `groups` compares some losses on several groups of PICTURES, apart and together: of each a FOLDER into
which the codecs were copied before `train`, which then only measures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from codec_judges import JUDGES, Measured, found_in, grouped, markdown, tables, together
from codec_pictures import write_kit, write_page
from timing import setting

import pim
from ntc import store
from ntc.losses import PEAK, Distortion, mse
from ntc.models import build
from ntc.patches import Patches, PatchSettings, collect, spread
from ntc.rd import LearnedCoder, Picture, as_picture, measure
from ntc.settings import CodecTraining
from ntc.training import Progress, Run, train
from pim.core.files import write_text
from pim.datasets.frames import find_sources
from pim.errors import check_known
from pim.metrics.registry import built_in

LAMBDAS = (0.0005, 0.001, 0.002, 0.004, 0.008)  # low rates, where losses differ; as many as the shipped codec has
SLOW = ("lpips-vgg", "dists")  # a hundred times slower than the other judges
MIDDLE = 384  # pixels, side of what is measured of a picture: the slow judges take seconds for it
SAMPLES = 40  # patches that the weights of the metrics are measured on


@dataclass(frozen=True)
class Loss:
    """What a codec is fine-tuned with."""

    name: str
    seeds: int
    metric: str | None = None  # none: the MSE alone; a file, where there is one
    anchor: float = 0.5  # weight of the MSE beside it
    jitter: int = 0  # the metric sees windows smaller by so many pixels
    fine: bool = False  # and these at twice the size as well

    @property
    def there(self) -> bool:
        """Whether its metric can be loaded."""
        return self.metric is None or self.metric in built_in() or Path(self.metric).is_file()


LOSSES = (
    Loss("mse", 3),
    Loss("pim", 3, "pim", anchor=0.2, jitter=8),
    Loss("pim-fine", 3, "pim", anchor=0.2, jitter=8, fine=True),
    Loss("ms-ssim", 1, "ms-ssim", anchor=0.0),
    Loss("pim-strong", 1, "pim", anchor=0.05, jitter=8),
    Loss("pim-weak", 1, "pim", anchor=0.6, jitter=8),
    Loss("pim-square", 1, "pim-square.safetensors", anchor=0.2, jitter=8),  # `pim` with distance="mean_square"
    Loss("pim-small", 3, "pim-small.safetensors", anchor=0.2, jitter=8),  # the former small PIM, which does not ship
    Loss("vgg", 1, "vgg", anchor=0.2, jitter=96),  # a quarter of each patch, since VGG-16 costs many times the codec
)


def trials(names: Sequence[str] | None, judges: Sequence[str]) -> Iterator[tuple[Loss, int, Sequence[str]]]:
    """Losses with seeds and judges, in an order in which an early end says something about each loss."""
    known = [loss for loss in LOSSES if (loss.name in names if names else loss.there)]
    quick = [judge for judge in judges if judge not in SLOW]
    for seed in range(max(loss.seeds for loss in known)):
        for each in (quick, judges):
            yield from ((loss, seed, each) for loss in known if seed < loss.seeds)


def start(folder: Path) -> Path:
    """The shipped codec with gains for other lambdas."""
    target = folder / "start.safetensors"
    if not target.is_file():
        shipped = store.load(store.find(None)).codec
        codec = build(replace(shipped.config, lambdas=LAMBDAS))
        codec.load_state_dict(shipped.state_dict())
        assert codec.gains is not None
        finer = (torch.tensor(LAMBDAS).log() - torch.tensor(shipped.config.lambdas).log())[:, None] / 2
        with torch.no_grad():
            codec.gains.before.add_(finer)
            codec.gains.after.sub_(finer)
        codec.eval().export()
        store.save(target, codec, {})
    return target


def trained(asked: argparse.Namespace, patches: Patches, loss: Loss, seed: int) -> Path:
    """The codec of a loss and seed, trained unless it is there."""
    target: Path = asked.folder / f"{loss.name}-{seed}.safetensors"
    if target.is_file():
        return target
    base = _fit(asked, patches, start(asked.folder), asked.folder / "base.safetensors", Loss("mse", 1), seed=0)
    return _fit(asked, patches, base, target, loss, seed)


def _fit(asked: argparse.Namespace, patches: Patches, begin: Path, target: Path, loss: Loss, seed: int) -> Path:
    if target.is_file():
        return target
    codec = store.load(begin).codec
    named = loss.name
    if loss.metric is not None:
        named = f"{loss.metric}{' fine' if loss.fine else ''} + {loss.anchor} mse, jitter {loss.jitter}"
    settings = CodecTraining(
        steps=asked.steps, batch=asked.batch, window=asked.window, distortion=named, learning_rate=3e-4, seed=seed
    )
    began = time.process_time()

    def watch(now: Progress) -> None:
        if now.step % 200 == 0:
            said = f"{now.loss:.3f}, {now.bits_per_pixel:.3f} bits per pixel, {now.psnr:.2f} dB"
            print(f"{target.stem} {now.step}: {said}, {time.process_time() - began:.0f} s", flush=True)

    train(Run(patches, target, codec.config, settings, begin), objective(loss, patches, begin), watch=watch)
    return target


def objective(loss: Loss, patches: Patches, base: Path) -> Distortion:
    """What is kept, on the scale of the MSE of 0..255; a metric is weighed on what the base makes of patches."""
    if loss.metric is None:
        return mse
    found = pim.loss.Distortion(loss.metric, mse_weight=loss.anchor, jitter=loss.jitter, fine=loss.fine)
    codec = store.load(base).codec
    samples = torch.from_numpy(spread(patches.take(held_out=False), SAMPLES)).float() / PEAK
    with torch.no_grad():
        coded = [codec(samples, float(level)).image for level in range(len(LAMBDAS))]
    each = [range(level, len(samples), len(LAMBDAS)) for level in range(len(LAMBDAS))]
    found.calibrate(
        torch.cat([samples[part] for part in each]), torch.cat([c[part] for c, part in zip(coded, each, strict=True)])
    )
    scale = PEAK**2 * rate_keeping(found, samples, coded)
    print(f"{loss.name}: {found.calibration}, weight {found.weight:.5f}, scale {scale:.0f}", flush=True)
    return lambda reference, distorted: scale * found.terms(reference, distorted).loss


@torch.no_grad()
def rate_keeping(loss: pim.loss.Distortion, samples: torch.Tensor, coded: Sequence[torch.Tensor]) -> float:
    """How much more a loss must count for bits to be worth as much as under the MSE.

    That is the fall of the MSE over the fall of the loss from each level of the base to the next, weighed by lambda.
    """
    loss.eval()
    terms = [[loss.terms(x[None], y[None]) for x, y in zip(samples, images, strict=True)] for images in coded]
    loss.train()
    falls = [0.0, 0.0]
    for weight, here, after in zip(LAMBDAS, terms, terms[1:], strict=False):
        for a, b in zip(here, after, strict=True):
            falls[0] += weight * float(a.mse - b.mse)
            falls[1] += weight * float(a.loss - b.loss)
    return falls[0] / falls[1]


def judged(codec: Path, pictures: Sequence[Path], judges: Sequence[str]) -> None:
    """Measure a codec by real files of the pictures, all that is not in its .json yet."""
    file = codec.with_suffix(".json")
    whole = LearnedCoder.of(codec.stem, [store.load(codec).codec])
    coder = replace(whole, codecs={value: whole.codecs[value] for value in whole.settings[::2]})
    kept: Measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for path in pictures:
        known = kept.setdefault(path.name, {value: {} for value in coder.settings})
        metrics = [pim.load(name) for name in judges if any(name not in values for values in known.values())]
        if not metrics:
            continue
        picture = middle(as_picture(pim.open_image(path).pixels))
        for point in measure(picture, coder, coder.settings, metrics):
            known[point.setting].update({"bpp": point.bpp, **point.values})
        write_text(file, json.dumps(kept))
        print(f"{codec.stem}: measured {path.name}", flush=True)


def middle(picture: Picture) -> Picture:
    """What of a picture is measured."""
    top, left = (max(0, side - MIDDLE) // 2 for side in picture.shape[:2])
    return picture[top : top + MIDDLE, left : left + MIDDLE]


def do_train(asked: argparse.Namespace) -> None:
    """Train and measure all codecs that are missing."""
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    patches = collect(find_sources([asked.videos]), PatchSettings(asked.window, 10, 1.3, 2.5))
    pictures = sorted(path for path in asked.pictures.iterdir() if path.suffix in (".png", ".webp"))[: asked.count]
    for loss, seed, judges in trials(asked.loss, asked.judge):
        judged(trained(asked, patches, loss, seed), pictures, judges)


def do_table(asked: argparse.Namespace) -> None:
    """Compare all that is measured with the MSE."""
    found = tables(found_in(asked.folder), [loss.name for loss in LOSSES])
    print(f"Percent of bits more than with the MSE at equal quality, {len(found['pictures'])} pictures:\n")
    print(markdown(found), end="")
    if asked.output is not None:
        write_text(asked.output, json.dumps({"setting": setting(), **found}, indent=1) + "\n")


def do_groups(asked: argparse.Namespace) -> None:
    """Compare some losses on each group of pictures, and on all."""
    groups = {folder.name: found_in(folder) for folder in asked.folders}
    groups["all"] = together(list(groups.values()))
    there = sorted({loss for loss, _ in groups["all"]})
    check_known("not every folder has a codec of", [*asked.loss, *asked.against], there)
    against = {
        base: {
            name: tables(found, [loss for loss in asked.loss if loss != base], base, ranges=False)
            for name, found in groups.items()
        }
        for base in asked.against
    }
    print(grouped({"against": against}), end="")
    if asked.output is not None:
        write_text(asked.output, json.dumps({"setting": setting(), "against": against}, indent=1) + "\n")


def coded(asked: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """The codecs of the first seed that are there, by loss."""
    for loss in LOSSES:
        if (file := asked.folder / f"{loss.name}-0.safetensors").is_file():
            yield loss.name, file


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    learn = commands.add_parser("train", help="train and measure what is missing")
    learn.add_argument("videos", type=Path)
    learn.add_argument("pictures", type=Path, help="a folder of .png or .webp files to measure on")
    learn.add_argument("folder", type=Path)
    learn.add_argument("--loss", action="append", help="may be repeated; by default all of the study")
    learn.add_argument("--judge", nargs="+", default=JUDGES)
    learn.add_argument("--count", type=int, help="only the first so many pictures")
    learn.add_argument("--steps", type=int, default=2000, help="of the base and of each codec")
    learn.add_argument("--batch", type=int, default=4)
    learn.add_argument("--window", type=int, default=192, help="pixels; MS-SSIM needs 161")
    learn.add_argument("--threads", type=int, default=1)
    learn.set_defaults(do=do_train)
    table = commands.add_parser("table", help="compare all that is measured")
    table.add_argument("folder", type=Path)
    table.add_argument("--output", type=Path, help="a .json file")
    table.set_defaults(do=do_table)
    groups = commands.add_parser("groups", help="compare on several groups of pictures")
    groups.add_argument("folders", type=Path, nargs="+", help="the name of a folder is that of its group")
    groups.add_argument("--loss", action="append", required=True, help="may be repeated")
    groups.add_argument("--against", action="append", required=True, help="a loss, such as mse; may be repeated")
    groups.add_argument("--output", type=Path, help="a .json file")
    groups.set_defaults(do=do_groups)
    for name, write in (("page", write_page), ("kit", write_kit)):
        command = commands.add_parser(name, help=write.__doc__)
        command.add_argument("pictures", type=Path, help="a folder of .png files")
        command.add_argument("folder", type=Path)
        command.add_argument("target", type=Path)
        command.set_defaults(do=lambda asked, write=write: write(dict(coded(asked)), asked.pictures, asked.target))
    asked = parser.parse_args(arguments)
    asked.do(asked)


if __name__ == "__main__":
    main()
