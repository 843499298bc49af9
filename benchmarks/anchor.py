"""The same small network trained with the MSE, with a metric and its MSE anchor, and with the metric alone.

    python benchmarks/anchor.py VIDEOS FOLDER --picture anchor.jpg --output anchor.csv
    python benchmarks/anchor.py VIDEOS FOLDER --task denoiser --metric pim --metric old.safetensors --seeds 3

The network is an autoencoder, or a denoiser that sees noise of deviation 25 of 255. A metric
without a calibration of its own is calibrated on the crops.
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
from collections.abc import Sequence
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
JUDGES = ("pim", "psnr", "ssim", "nlpd")


NOISE = 25 / 255


class Denoiser(nn.Sequential):
    """Five convolutions that find the noise of a picture (Zhang et al. 2017, DnCNN, made small)."""

    def __init__(self) -> None:
        inner = [layer for _ in range(3) for layer in (nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())]
        super().__init__(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(24, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Add noise, from torch's generator, and take away what is found of it."""
        noisy = images + NOISE * torch.randn_like(images)
        found: Tensor = super().forward(noisy)  # type: ignore[no-untyped-call]
        restored: Tensor = noisy - found
        return restored


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


TASKS: dict[str, type[nn.Module]] = {"autoencoder": Autoencoder, "denoiser": Denoiser}


def train(network: nn.Module, loss: Distortion, images: Tensor, seed: int, asked: argparse.Namespace) -> Trained:
    """Adam on random windows; the same windows for every loss."""
    generator = torch.Generator().manual_seed(seed)
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


def trained(
    name: str, loss: Distortion, images: Tensor, seed: int, asked: argparse.Namespace
) -> tuple[nn.Module, Trained]:
    """The network of a loss from its file, or trained and written there; all of a seed begin with the same weights."""
    torch.manual_seed(seed)
    network = TASKS[asked.task]()
    path = asked.folder / f"{asked.task}-{name.replace(' ', '')}-{seed}.safetensors"
    settings = json.dumps({key: getattr(asked, key) for key in ("mse_weight", "steps", "rate", "crops")})
    if path.is_file():
        with safe_open(path, "pt") as stored:
            about = stored.metadata()
            if about["settings"] == settings:
                network.load_state_dict({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118  no dict
                return network, Trained(**json.loads(about["trained"]))
    print(name, flush=True)
    done = train(network, loss, images, seed, asked)
    with written_whole(path) as stream:
        stream.write(serialised(network.state_dict(), {"settings": settings, "trained": json.dumps(asdict(done))}))
    return network, done


def _windows(images: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(len(images), (BATCH,), generator=generator)
    top, left = torch.randint(KEPT - CROP + 1, (2,), generator=generator).tolist()
    return images[chosen, :, top : top + CROP, left : left + CROP]


def judged(network: nn.Module, images: Tensor, judges: Sequence[str]) -> dict[str, float]:
    """What held-out crops become, in numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        made = network(images)
        error = made - images
        made = made.clamp(0, 1)
        values = {name: pim.load(name)(images, made).mean().item() for name in judges}
    return {**values, "colour error": 255 * error.mean((2, 3)).abs().mean().item(), "checkerboard": checkerboard(error)}


def checkerboard(error: Tensor) -> float:
    """Energy of an error (N, C, H, W) where neighbours alternate, relative to white noise: in [0, 4]."""
    taps = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])[None, None]
    filtered = F.conv2d(error.flatten(0, 1)[:, None], taps)
    return (filtered.square().mean() / error.square().mean()).item()


def losses(metrics: Sequence[str], mse_weight: float, images: Tensor) -> dict[str, Distortion]:
    """Those of the comparison."""
    found = {"MSE": Distortion(mse_weight=1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is shown here
        for name in metrics:
            metric = pim.load(name)
            for kind, weight in (("+ anchor", mse_weight), ("alone", 0.0)):
                loss = found[f"{metric.name} {kind}"] = Distortion(metric, mse_weight=weight)
                if loss.calibration is None:
                    loss.calibrate(images[:64])
    return found


def main() -> None:
    """Train, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--loss", action="append", help="train only this one, such as MSE; may be repeated")
    parser.add_argument("--task", choices=TASKS, default="autoencoder")
    parser.add_argument("--metric", action="append", help="a metric to train with; may be repeated; else pim")
    parser.add_argument("--judge", action="append", help=f"a metric to judge by; may be repeated; else {JUDGES}")
    parser.add_argument("--mse-weight", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--crops", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="held-out crops side by side, a .png file")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = crops([asked.videos], asked.crops, KEPT, seed=0)
    held_out = crops([asked.videos], asked.held_out, KEPT, seed=0, held_out=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    metrics = asked.metric or ["pim"]
    rows, columns = [], {"original": held_out[:4]}
    for seed in range(asked.seeds):
        for name, loss in losses(metrics, asked.mse_weight, images).items():
            if asked.loss and name not in asked.loss:
                continue
            network, done = trained(name, loss, images, seed, asked)
            faults = {"steps not finite": done.not_finite, "largest gradient": done.largest_gradient}
            values = judged(network, held_out, asked.judge or JUDGES)
            rows.append({"loss": name, "seed": seed, **values, **faults, "seconds": done.seconds})
            with torch.no_grad():
                columns.setdefault(name, network(held_out[:4]).clamp(0, 1))
    if asked.picture is not None:
        save(sheet(columns), asked.picture)
    about = setting(steps=asked.steps, task=asked.task, batch=f"{BATCH} of {CROP}x{CROP}", held_out=asked.held_out)
    report(rows, about, asked.output)


if __name__ == "__main__":
    main()
