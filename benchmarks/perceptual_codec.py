"""The same codec trained with a metric and its MSE anchor, and with the MSE alone, compared at equal bits.

    python benchmarks/perceptual_codec.py VIDEOS PICTURES FOLDER --output curves.csv --plot curves.svg

A codec for several rates is trained with the MSE. From there two twins go on for equally many steps on the same
patches: one with the MSE, one with `pim.loss.Distortion`, both with the same lambdas. They are measured by real files
of pictures that are not from the videos. FOLDER keeps the codecs; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from contact_sheet import save, sheet
from timing import report, setting

import pim
from ntc import store
from ntc.losses import PEAK, Distortion, mse
from ntc.models.config import CodecConfig
from ntc.patches import Patches, PatchSettings, collect
from ntc.rd import LearnedCoder, as_picture, as_tensor, measure
from ntc.rd_cache import rate_cache
from ntc.settings import CodecTraining
from ntc.training import Progress, Run, train
from pim.core.files import write_text
from pim.datasets.frames import find_sources
from pim.eval.bd_rate import bd_quality, bd_rate
from pim.eval.fingerprint import describe
from pim.eval.rate_curves import LUMA, RatePoint, average, curves, scale_of
from pim.eval.rate_plots import draw
from pim.images.opener import OpenOptions

TWINS = ("mse", "metric")
JUDGES = ("psnr", "ms-ssim", "ssim", "nlpd", "pim")


def trained(asked: argparse.Namespace, patches: Patches, twin: str) -> Path:
    """The codec of a twin, or the `base` of both; trained unless it is there."""
    target = asked.folder / f"{twin}.safetensors"
    if target.is_file():
        return target
    config = CodecConfig.uniform(asked.width, latents=asked.latents, lambdas=tuple(asked.lambdas))
    steps, rate, start = asked.base_steps, 1e-3, None
    if twin != "base":
        steps, rate, start = asked.steps, 3e-4, trained(asked, patches, "base")
    named = f"{asked.metric} + mse" if twin == "metric" else "mse"
    settings = CodecTraining(
        steps=steps, batch=asked.batch, window=asked.window, distortion=named, learning_rate=rate, seed=asked.seed
    )
    began = time.perf_counter()

    def watch(now: Progress) -> None:
        if now.step % 100 == 0:
            seconds = time.perf_counter() - began
            said = f"{now.loss:.3f}, {now.bits_per_pixel:.3f} bits per pixel, {now.psnr:.2f} dB, {seconds:.0f} s"
            print(f"{twin} {now.step}: {said}", flush=True)

    train(Run(patches, target, config, settings, start), objective(asked, twin), watch=watch)
    return target


def objective(asked: argparse.Namespace, twin: str) -> Distortion:
    """What a twin is trained to keep, on the scale of the MSE of 0..255."""
    if twin != "metric":
        return mse
    loss = pim.loss.Distortion(asked.metric, mse_weight=asked.mse_weight, jitter=asked.jitter)
    return lambda reference, distorted: PEAK**2 * loss.terms(reference, distorted).loss


def coder_of(asked: argparse.Namespace, patches: Patches, twin: str) -> LearnedCoder:
    """A twin at every second of the usual qualities."""
    whole = LearnedCoder.of(twin, [store.load(trained(asked, patches, twin)).codec])
    return LearnedCoder(twin, {setting: whole.codecs[setting] for setting in whole.settings[::2]})


def measured(asked: argparse.Namespace, coders: Sequence[LearnedCoder], pictures: Sequence[Path]) -> list[RatePoint]:
    """Mean points over all pictures, from real files; those that were measured before are in the folder."""
    metrics = {name: pim.load(name) for name in asked.judge}
    opening, points, names = OpenOptions(), [], (*metrics, LUMA)
    with rate_cache(
        asked.folder, {name: describe(metric, "cpu", opening) for name, metric in metrics.items()}
    ) as cache:
        for path in pictures:
            picture = as_picture(pim.open_image(path).pixels)
            for coder in coders:
                known = {value: cache.get(picture, coder, value, names) for value in coder.settings}
                new = [value for value, point in known.items() if point is None or set(names) - set(point.values)]
                for point in measure(picture, coder, new, list(metrics.values())):
                    cache.put(picture, coder, point)
                    known[point.setting] = point
                points += known.values()
            print(f"measured {path.name}", flush=True)
    return average(points)


def compared(points: Sequence[RatePoint], judges: Sequence[str]) -> list[dict[str, object]]:
    """What the metric's twin gains or loses: in bits at equal quality, and in dB at equal bits."""
    rows = []
    for name in (*judges, LUMA):
        info = scale_of(name)
        assert info is not None
        found = curves(points, name, info)
        rate = bd_rate(found["mse"], found["metric"])
        gain = bd_quality(found["mse"], found["metric"])
        rows.append({"judge": name, "bits at equal quality, %": rate.pchip, "dB at equal bits": gain})
    return rows


def crops_of(coders: Sequence[LearnedCoder], path: Path, place: tuple[int, int], side: int) -> dict[str, torch.Tensor]:
    """A crop of a picture and of what each codec makes of it at its lowest and highest quality, by caption."""
    picture = as_picture(pim.open_image(path).pixels)
    rows, columns = (slice(start, start + side) for start in place)
    found = {"original": torch.cat([as_tensor(picture[rows, columns])] * 2)}
    for coder in coders:
        made, rates = [], []
        for value in (coder.settings[0], coder.settings[-1]):
            stream, decoded = coder.code(picture, value)
            made.append(as_tensor(decoded[rows, columns]))
            rates.append(f"{8 * len(stream) / (picture.size / 3):.3f}")
        found[f"{coder.name}, {' and '.join(rates)} bpp"] = torch.cat(made)
    return found


def main() -> None:
    """Train, measure, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("pictures", type=Path, help="a folder of .png files to measure on")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric", default="pim")
    parser.add_argument("--mse-weight", type=float, default=0.5)
    parser.add_argument("--jitter", type=int, default=8)
    parser.add_argument("--lambda", dest="lambdas", type=float, nargs="+", default=[0.0035, 0.0067, 0.013, 0.025])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--latents", type=int, default=48)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--base-steps", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=1000, help="of each twin")
    parser.add_argument("--patches", type=int, default=60, help="from each video")
    parser.add_argument("--judge", action="append", help="may be repeated; by default those of the study")
    parser.add_argument("--count", type=int, help="only the first so many pictures")
    parser.add_argument("--crop", type=int, nargs=2, default=[64, 96], help="top and left of the crops that are shown")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="the curves, .svg")
    parser.add_argument("--picture", type=Path, help="crops of the first picture, .png or .jpg")
    parser.add_argument("--output", type=Path, help="the points, a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    patches = collect(find_sources([asked.videos]), PatchSettings(asked.window, asked.patches, seed=asked.seed))
    coders = [coder_of(asked, patches, twin) for twin in TWINS]
    pictures = sorted(asked.pictures.glob("*.png"))[: asked.count]
    asked.judge = judges = asked.judge or [*JUDGES]
    points = measured(asked, coders, pictures)
    about = setting(pictures=len(pictures), steps=f"{asked.base_steps} + {asked.steps}", seed=asked.seed)
    report([{"codec": p.codec, "quality": p.setting, "bpp": p.bpp, **p.values} for p in points], about, asked.output)
    report(compared(points, judges), {"percent and dB of": f"{asked.metric} + mse against mse"}, None)
    if asked.plot is not None:
        infos = {name: info for name in judges if (info := scale_of(name)) is not None}
        by_metric = {name: curves(points, name, info) for name, info in infos.items()}
        write_text(asked.plot, draw(by_metric, infos, "The twins"))
    if asked.picture is not None:
        save(sheet(crops_of(coders, pictures[0], tuple(asked.crop), 160)), asked.picture)


if __name__ == "__main__":
    main()
