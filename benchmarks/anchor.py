"""The same small autoencoder trained with the MSE, with a metric and its MSE anchor, and with the metric alone.

    python benchmarks/anchor.py VIDEOS FOLDER --picture anchor.jpg --output anchor.csv

FOLDER keeps the networks; one that is there with the same settings is not trained again. Every step is checked for
values and gradients that are not finite. Afterwards each network is judged on crops of held-out videos: by the metric
it was trained with, by others, and by two faults that a metric may not see. `colour error` is how far the mean of a
crop and channel moved, in grey levels of 255. `checkerboard` is the energy of the error where neighbours alternate,
relative to white noise of the same energy: 1 is noise, 4 a checkerboard.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from contact_sheet import save, sheet
from safetensors import safe_open
from safetensors.torch import save as serialised
from timing import report, setting
from torch import Tensor, nn
from video_crops import crops

import pim
from pim.core.files import written_whole
from pim.loss import Distortion

CROP, BATCH = 32, 4
KEPT = 96  # side of the crops that random windows come from, and of those that judge
JUDGES = ("psnr", "ssim", "nlpd")


class Autoencoder(nn.Sequential):
    """Two strided convolutions down to 8 channels, two transposed ones up: of the kind that makes checkerboards."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 24, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(24, 8, 5, stride=2, padding=2),
            nn.ConvTranspose2d(8, 24, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 3, 5, stride=2, padding=2, output_padding=1),
        )


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    not_finite: int  # steps whose loss or gradient was not finite
    largest_gradient: float
    seconds: float


def train(network: Autoencoder, loss: Distortion, images: Tensor, asked: argparse.Namespace) -> Trained:
    """Adam on random windows; the same windows for every loss."""
    generator = torch.Generator().manual_seed(asked.seed)
    optimiser = torch.optim.Adam(network.parameters(), asked.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, asked.steps)
    not_finite, largest, start = 0, 0.0, time.perf_counter()
    for step in range(asked.steps):
        reference = _windows(images, generator)
        optimiser.zero_grad()
        value = loss(reference, network(reference))
        value.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        not_finite += not (torch.isfinite(value) and torch.isfinite(norm))
        largest = max(largest, norm.item())
        optimiser.step()
        schedule.step()
        if step % 500 == 499:
            print(f"  step {step + 1}: {value.item():.5f}, {time.perf_counter() - start:.0f} s", flush=True)
    return Trained(not_finite, largest, time.perf_counter() - start)


def trained(name: str, loss: Distortion, images: Tensor, asked: argparse.Namespace) -> tuple[Autoencoder, Trained]:
    """The network of a loss from its file, or trained and written there; all begin with the same weights."""
    torch.manual_seed(asked.seed)
    network = Autoencoder()
    path = asked.folder / f"{name.replace(' ', '')}.safetensors"
    names = ("metric", "mse_weight", "steps", "rate", "crops", "seed")
    settings = json.dumps({key: getattr(asked, key) for key in names})
    if path.is_file():
        with safe_open(path, "pt") as stored:
            about = stored.metadata()
            if about["settings"] == settings:
                network.load_state_dict({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118  no dict
                return network, Trained(**json.loads(about["trained"]))
    print(name, flush=True)
    done = train(network, loss, images, asked)
    with written_whole(path) as stream:
        stream.write(serialised(network.state_dict(), {"settings": settings, "trained": json.dumps(asdict(done))}))
    return network, done


def _windows(images: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(len(images), (BATCH,), generator=generator)
    top, left = torch.randint(KEPT - CROP + 1, (2,), generator=generator).tolist()
    return images[chosen, :, top : top + CROP, left : left + CROP]


def judged(network: Autoencoder, images: Tensor, metric: str) -> dict[str, float]:
    """What held-out crops become, in numbers."""
    with torch.no_grad():
        made = network(images)
        error = made - images
        made = made.clamp(0, 1)
        values = {name: pim.load(name)(images, made).mean().item() for name in dict.fromkeys((metric, *JUDGES))}
    return {**values, "colour error": 255 * error.mean((2, 3)).abs().mean().item(), "checkerboard": checkerboard(error)}


def checkerboard(error: Tensor) -> float:
    """Energy of an error (N, C, H, W) where neighbours alternate, relative to white noise: in [0, 4]."""
    taps = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])[None, None]
    filtered = F.conv2d(error.flatten(0, 1)[:, None], taps)
    return (filtered.square().mean() / error.square().mean()).item()


def losses(metric: str, mse_weight: float) -> Mapping[str, Distortion]:
    """The three of the comparison."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is shown here
        return {
            "MSE": Distortion(metric, mse_weight=1.0),
            f"{metric} + anchor": Distortion(metric, mse_weight=mse_weight),
            f"{metric} alone": Distortion(metric, mse_weight=0.0),
        }


def main() -> None:
    """Train, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--loss", action="append", help="train only this one, such as MSE; may be repeated")
    parser.add_argument("--metric", default="pim")
    parser.add_argument("--mse-weight", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--crops", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="held-out crops side by side, a .png file")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = crops([asked.videos], asked.crops, KEPT, asked.seed)
    held_out = crops([asked.videos], asked.held_out, KEPT, asked.seed, held_out=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    rows, columns = [], {"original": held_out[:4]}
    for name, loss in losses(asked.metric, asked.mse_weight).items():
        if asked.loss and name not in asked.loss:
            continue
        network, done = trained(name, loss, images, asked)
        faults = {"steps not finite": done.not_finite, "largest gradient": done.largest_gradient}
        rows.append({"loss": name, **judged(network, held_out, asked.metric), **faults, "seconds": done.seconds})
        with torch.no_grad():
            columns[name] = network(held_out[:4]).clamp(0, 1)
    if asked.picture is not None:
        save(sheet(columns), asked.picture)
    about = setting(steps=asked.steps, batch=f"{BATCH} of {CROP}x{CROP}", seed=asked.seed, held_out=asked.held_out)
    report(rows, about, asked.output)


if __name__ == "__main__":
    main()
