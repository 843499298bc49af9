"""What a perceptual term costs a training step: ratios to the same step with the MSE.

    python benchmarks/loss_step.py --output loss_step.csv

A step is forward, loss, backward and Adam of an autoencoder with the convolutions of a learned codec: four
5x5 of stride 2 and their mirror, `--channels` wide. With the MSE the loss costs next to nothing, so the ratio
says what the metric adds; a larger network makes it smaller.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from timing import Case, Spread, ratio, report, setting, timed
from torch import Tensor, nn

import pim
from pim.calibration import Calibration, check_usable
from pim.errors import PimError
from pim.loss import Distortion

MSE = "mse"
Loss = Callable[[Tensor, Tensor], Tensor]


def autoencoder(channels: int) -> nn.Sequential:
    """The convolutions of a codec, without its entropy model."""
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for before, after in ((3, channels), *[(channels, channels)] * 3):
        down += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.ReLU()]
        up = [nn.ConvTranspose2d(after, before, 5, stride=2, padding=2, output_padding=1), nn.ReLU(), *up]
    return nn.Sequential(*down[:-1], *up[:-1])


def step(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Loss, images: Tensor) -> None:
    """One step of training."""
    optimiser.zero_grad()
    torch.autograd.backward(loss(images, network(images)))
    optimiser.step()


def cases(names: list[str], images: Tensor, channels: int) -> Iterator[Case]:
    """A step with the MSE, and one with every metric beside it."""
    torch.manual_seed(0)
    network = autoencoder(channels)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    losses: dict[str, Loss] = {MSE: nn.MSELoss()}
    for name in names:
        metric = pim.load(name)
        if min(images.shape[2:]) >= metric.info.min_size:
            losses[name] = Distortion(metric, calibration=Calibration(0.004, 0.2))  # any weight takes as long
    for name, loss in losses.items():
        yield Case(name, partial(step, network, optimiser, loss, images), len(images))


def usable(names: list[str]) -> list[str]:
    """The metrics asked for; without names all that are here and can be a loss."""
    found = []
    for name in names or [status.info.name for status in pim.list_metrics() if status.available]:
        try:
            check_usable(pim.load(name))
        except PimError:
            if names:
                raise
            continue  # such as PSNR
        found.append(name)
    return found


def main() -> None:
    """Time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--metric", action="append", default=[], help="may be repeated; by default all that can be a loss"
    )
    parser.add_argument("--case", action="append", help="such as 128x128x4: width, height, batch; may be repeated")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    names, rows = usable(asked.metric), []
    for case in asked.case or ["128x128x4", "256x256x1"]:
        width, height, batch = map(int, case.split("x"))
        images = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
        times = timed(list(cases(names, images, asked.channels)), asked.rounds)
        for name, found in times.items():
            cost = {"ms per image": Spread.of(found), "to mse": ratio(found, times[MSE])}
            rows.append({"loss": name if name == MSE else f"{name} + mse", "case": case, **cost})
    report(rows, setting(channels=asked.channels, rounds=asked.rounds), asked.output)


if __name__ == "__main__":
    main()
