"""What the VGG metrics cost against LPIPS on VGG-16 as its own package computes it, and against the bare network.

    python benchmarks/vgg.py --output vgg.json

All weights are random: speed does not depend on them. Everything takes turns within a round; ratios are within a
round, quartiles in brackets.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lpips
import torch
from timing import Case, Spread, ratio, report, setting, timed
from torch import Tensor
from torchvision.models import vgg16

from pim.core.metric import Prepared
from vggmetric import Head, VGGMetric
from vggmetric.features import TAPS, operations
from vggmetric.head import locate, uniform

LPIPS = "lpips.LPIPS(net='vgg'), a pair"
BARE = "vgg16().features, both images"
PRODUCT = "products of matrices with as many multiply-adds"
SIDE = 1024  # of these matrices


def cases(heads: list[str], x: Tensor, y: Tensor) -> Iterator[Case]:
    """What is timed: LPIPS, the network alone, then pairs, candidates of a prepared reference, and gradients."""
    package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    yield Case(LPIPS, partial(without_gradient, package, x, y))
    features = vgg16(weights=None, init_weights=False).features.eval().requires_grad_(False)
    both = torch.cat([x, y])
    yield Case(BARE, partial(without_gradient, features, both))
    half = copy.deepcopy(features).bfloat16().to(memory_format=torch.channels_last)
    coarse = both.bfloat16().contiguous(memory_format=torch.channels_last)
    yield Case(f"{BARE}, bfloat16", partial(without_gradient, half, coarse))
    count = round(operations(TAPS[-1]) * both[:, 0].numel() / SIDE**3)
    left, right, out = torch.rand(3, SIDE, SIDE)
    yield Case(PRODUCT, lambda: [torch.mm(left, right, out=out) for _ in range(count)])
    for name in heads:
        head = uniform("rand0") if name == "uniform" else dataclasses.replace(Head.read(locate(name)), backbone="rand0")
        metric = VGGMetric(head)
        with torch.no_grad():
            fixed = metric.prepare(x)
        yield Case(f"{name}: pair", partial(without_gradient, metric, x, y))
        yield Case(f"{name}: pair and map", partial(without_gradient, partial(metric, spatial=True), x, y))
        yield Case(f"{name}: candidate of a prepared reference", partial(without_gradient, metric, fixed, y))
        yield Case(f"{name}: candidate and its gradient", partial(with_gradient, metric, fixed, y))


def without_gradient(compute: Callable[..., Tensor], *arguments: Tensor | Prepared) -> None:
    """Values alone."""
    with torch.no_grad():
        compute(*arguments)


def with_gradient(metric: VGGMetric, fixed: Prepared, y: Tensor) -> None:
    """Values, and their gradient at the distorted image."""
    metric(fixed, y.detach().requires_grad_()).sum().backward()


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--head", action="append", help="vgg, lpips-vgg, uniform or a file; lpips-vgg by default; may be repeated"
    )
    parser.add_argument("--size", default="256x256", help="width and height")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    parser.add_argument(
        "--cpu", action="store_true", help="time of the processor, summed over threads: for a busy machine"
    )
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    width, height = map(int, asked.size.split("x"))
    x = torch.rand(1, 3, height, width)
    y = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    times = timed(
        list(cases(asked.head or ["lpips-vgg"], x, y)),
        asked.rounds,
        time.process_time if asked.cpu else time.perf_counter,
    )
    rows = [
        {"what": name, "ms": Spread.of(values), "to lpips": ratio(values, times[LPIPS])}
        for name, values in times.items()
    ]
    report(
        rows, setting(size=asked.size, rounds=asked.rounds, clock="processor" if asked.cpu else "wall"), asked.output
    )


if __name__ == "__main__":
    main()
