"""Gradient descent on the pixels of an image against each metric: what a metric pulls an image to.

    python benchmarks/descend.py examples/reference.png descents --sheet descents.png

200 steps of Adam from noise and from a JPEG of quality 8, with nothing but the metric: no anchor, no network. A
descent that is in the folder with the same settings is not repeated. `psnr` and `ssim` judge the results. `mirrored`
is what the metric says of the same result when both images are mirrored: much more than `metric` where the descent
deceived it rather than satisfied it. `overshoot` is how far pixels left [0, 1], where the metric does not see them.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contact_sheet import save, sheet
from PIL import Image
from timing import report, setting
from torch import Tensor

import pim
from pim.calibration import perceptual_term
from pim.core.files import written_whole
from pim.loss import Distortion, clamp

ANCHORED, JITTERED = " + anchor", " + jitter"
METRICS = ("mse", "ssim", "ms-ssim", "nlpd", "pim", f"pim{JITTERED}", f"pim{ANCHORED}", "pim-1")
JITTER = 8  # pixels
STARTS = ("noise", "jpeg")
Loss = Callable[[Tensor], Tensor]
Descent = tuple[Tensor, list[float]]  # image, and its losses


def objective(name: str, reference: Tensor) -> Loss:
    """What is descended, as a function of the image."""
    if name == "mse":
        return lambda image: (image - reference).square().mean()
    if name.endswith(ANCHORED):
        distortion = Distortion(plain(name))
    elif name.endswith(JITTERED):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no anchor: that is what is looked at
            distortion = Distortion(plain(name), mse_weight=0, weight=1, jitter=JITTER)
    else:
        metric = pim.load(name)
        prepared = metric.prepare(reference)
        return lambda image: perceptual_term(metric, prepared, clamp(image)).mean()
    return lambda image: distortion(reference, image)


def plain(name: str) -> str:
    """The metric of an objective."""
    return name.removesuffix(ANCHORED).removesuffix(JITTERED)


def start_of(kind: str, reference: Tensor, quality: int, seed: int) -> Tensor:
    """Gray with noise, or the image as a strong JPEG leaves it."""
    if kind == "noise":
        generator = torch.Generator().manual_seed(seed)
        return (0.5 + 0.2 * torch.randn(reference.shape, generator=generator)).clamp(0, 1)
    stream = io.BytesIO()
    pixels = (reference[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)[None].float() / 255


def descend(loss: Loss, start: Tensor, steps: int, rate: float) -> Descent:
    """The image after Adam on its pixels, which may leave [0, 1], and the loss before every step and at the end."""
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], rate)
    values = []
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(image)
        (image.grad,) = torch.autograd.grad(value, image)
        if not (torch.isfinite(value) and torch.isfinite(image.grad).all()):
            raise SystemExit("a value or gradient is not finite")
        values.append(value.item())
        optimiser.step()
    with torch.no_grad():
        return image.detach(), [*values, loss(image).item()]


def kept(path: Path, settings: dict[str, Any], make: Callable[[], tuple[Tensor, list[float]]]) -> Descent:
    """A descent from its file, or made and written there."""
    said = json.dumps(settings, sort_keys=True)
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) == said:
                return torch.from_numpy(stored["image"]), stored["values"].tolist()
    started = time.perf_counter()
    image, values = make()
    print(f"{path.stem}: {time.perf_counter() - started:.0f} s", flush=True)
    with written_whole(path) as stream:
        np.savez(stream, image=image.numpy(), values=np.array(values), settings=said)
    return image, values


def judged(name: str, reference: Tensor, image: Tensor) -> dict[str, float]:
    """The result, clamped, in the metric itself and in others."""
    shown = image.clamp(0, 1)
    with torch.no_grad():
        metric = objective(plain(name), reference)(shown).item()
        mirrored = objective(plain(name), reference.flip(-1))(shown.flip(-1)).item()
        others = {other: pim.load(other)(reference, shown).item() for other in ("psnr", "ssim")}
    return {"metric": metric, "mirrored": mirrored, **others, "overshoot": (image - shown).abs().max().item()}


def descents(asked: argparse.Namespace, picture: Tensor) -> Iterator[tuple[str, str, Tensor, Tensor, list[float]]]:
    """Metric, start, reference, result and losses of every descent."""
    for name in asked.metric or METRICS:
        smallest = 1 if name == "mse" else pim.load(plain(name)).info.min_size
        side = max(asked.size, smallest)
        reference = picture[..., asked.top : asked.top + side, asked.left : asked.left + side].contiguous()
        for start in STARTS:
            settings = {key: getattr(asked, key) for key in ("steps", "rate", "quality", "seed", "top", "left")}
            settings |= {"metric": name, "start": start, "side": side, "picture": asked.picture.name}
            first = start_of(start, reference, asked.quality, asked.seed)
            path = asked.folder / f"{name.replace(' ', '')}-{start}.npz"
            image, values = kept(path, settings, partial(_made, asked, name, reference, first))
            yield name, start, reference, image, values


def _made(asked: argparse.Namespace, name: str, reference: Tensor, first: Tensor) -> Descent:
    return descend(objective(name, reference), first, asked.steps, asked.rate)


def main() -> None:
    """Descend, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("folder", type=Path, help="where descents are kept")
    parser.add_argument("--metric", action="append", help="may be repeated; by default those of the study")
    parser.add_argument("--size", type=int, default=128, help="side of the crop; larger where a metric needs it")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--left", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.01, help="of Adam, in units of the range")
    parser.add_argument("--quality", type=int, default=8, help="of the JPEG")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="all results as one picture, .png or .jpg")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    picture = torch.from_numpy(pim.open_image(asked.picture).pixels).permute(2, 0, 1)[None]
    first = picture[..., asked.top : asked.top + asked.size, asked.left : asked.left + asked.size]
    beginnings = [start_of(start, first, asked.quality, asked.seed) for start in STARTS]
    rows, columns = [], {"original": torch.cat([first, first]), "start": torch.cat(beginnings)}
    for name, start, reference, image, values in descents(asked, picture):
        before = judged(name, reference, start_of(start, reference, asked.quality, asked.seed))
        found = {"start": start, "metric before": before["metric"], "psnr before": before["psnr"]}
        rows.append({"descended": name, **found, **judged(name, reference, image), "loss": values[-1]})
        seen = image[..., : asked.size, : asked.size]
        columns[name] = torch.cat([columns[name], seen]) if name in columns else seen
    if asked.sheet is not None:
        save(sheet(columns), asked.sheet)
    about = setting(picture=asked.picture.name, side=asked.size, steps=asked.steps, rate=asked.rate, seed=asked.seed)
    report(rows, about, asked.output)


if __name__ == "__main__":
    main()
