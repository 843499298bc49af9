"""Milliseconds per pair of every metric that is here, and ratios to two things that everyone has.

    python benchmarks/inference.py --output inference.json

Ratios are within a round: to one forward pass of the VGG-16 features on one of the images (with random
weights: speed does not depend on them), and to MS-SSIM of pytorch-msssim, both without gradients and on
the same images. "of peak" is the rate of multiply-adds beside the faster of one large product of matrices and
one large convolution, in float32 throughout. Quartiles over rounds stand in brackets. On a GPU:

    python benchmarks/inference.py --device cuda --case 256x256x64
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from pytorch_msssim import ms_ssim
from timing import Case, Spread, ratio, report, setting, timed
from torch import Tensor, nn

import pim
from pim.core.metric import Metric
from pim.metrics.peers import PeerMetric
from pim.scoring.aligned import Aligned

VGG, MS_SSIM = "vgg-16 features", "pytorch-msssim ms-ssim"
LPIPS = ("lpips-alex", "lpips-vgg")
PRODUCT, SIDE = "product of matrices", {"cpu": 2048, "cuda": 8192}
CONVOLUTION, CHANNELS, PICTURE = "convolution of 3x3", 256, {"cpu": 64, "cuda": 512}  # side of its picture
FORWARD, BACKWARD, PREPARED = "forward", "forward+backward", "prepared"
VGG_16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # channels; 0: pooling


def vgg_features() -> nn.Module:
    """The convolutions of VGG-16 with random weights."""
    layers: list[nn.Module] = []
    before = 3
    for channels in VGG_16:
        if channels == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
    return nn.Sequential(*layers).eval().requires_grad_(False)


def metrics(names: list[str]) -> dict[str, Metric]:
    """The metrics asked for, or all that can be loaded; LPIPS with random backbones where it has no others."""
    available = [status.info.name for status in pim.list_metrics() if status.available]
    wanted = names or available
    random = [name for name in LPIPS if name not in available and (name in names or not names)]
    found = {name: _load(name) for name in wanted if name not in random}
    if random and importlib.util.find_spec("lpips") is not None:
        found |= {name: random_lpips(name.removeprefix("lpips-")) for name in random}
    return found


def _load(name: str) -> Metric:
    """A metric, which `NAME+align` registers first; the pairs that are timed are not displaced."""
    plain = pim.load(name.removesuffix("+align"))
    return Aligned(plain) if plain.name != name else plain


def random_lpips(backbone: str) -> Metric:
    """LPIPS as fast as ever, with values that mean nothing."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in ways that are deprecated
        network = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    network.eval().requires_grad_(False)
    return PeerMetric(f"lpips-{backbone}", lambda x, y: network(x, y, normalize=True), network)


def cases(found: dict[str, Metric], x: Tensor, y: Tensor, candidates: int) -> Iterator[Case]:
    """What is timed for one size of images: (metric, what) as the name of each case."""
    features, count = vgg_features().to(x.device), len(x)
    square = torch.rand(SIDE[x.device.type], SIDE[x.device.type], device=x.device)
    yield Case(PRODUCT, lambda: square @ square)
    convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, device=x.device).to(memory_format=torch.channels_last)
    side = PICTURE[x.device.type]
    picture = torch.rand(1, CHANNELS, side, side, device=x.device).to(memory_format=torch.channels_last)
    yield Case(CONVOLUTION, lambda: forward(convolution, picture))
    yield Case(VGG, lambda: forward(features, x), count)
    if min(x.shape[2:]) > 160:
        yield Case(MS_SSIM, lambda: forward(lambda a: ms_ssim(a, y, data_range=1, size_average=False), x), count)
    for name, metric in found.items():
        if min(x.shape[2:]) < metric.info.min_size:
            continue
        yield Case(f"{name}|{FORWARD}", partial(forward, metric, x, y), count)
        yield Case(f"{name}|{BACKWARD}", partial(backward, metric, x, y), count)
        yield Case(f"{name}|{PREPARED}", partial(prepared, metric, x, y, candidates), count * candidates)


def forward(compute: Callable[..., Tensor], *images: Tensor) -> None:
    """Values alone."""
    with torch.no_grad():
        compute(*images)


def backward(metric: Metric, x: Tensor, y: Tensor) -> None:
    """Values, and their gradient at the distorted images."""
    metric(x, y.detach().requires_grad_()).sum().backward()


def prepared(metric: Metric, x: Tensor, y: Tensor, candidates: int) -> None:
    """References analysed once, and that many candidates compared with each."""
    with torch.no_grad():
        fixed = metric.prepare(x)
        for _ in range(candidates):
            metric(fixed, y)


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, once the device has done what it was given."""

    def seconds() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return seconds


def fastest(times: dict[str, list[float]], device: str) -> list[float]:
    """Milliseconds for one multiply-add, round by round, as fast as either of the two does it. They leave `times`."""
    products, convolutions = float(SIDE[device]) ** 3, 9.0 * (CHANNELS * PICTURE[device]) ** 2
    pairs = zip(times.pop(PRODUCT), times.pop(CONVOLUTION), strict=True)
    return [min(product / products, convolution / convolutions) for product, convolution in pairs]


def of_peak(metric: Metric, pixels: int, times: list[float], peak: list[float]) -> Spread | None:
    """Multiply-adds of a pair in the time that it takes, over those that the fastest product would do."""
    if metric.info.operations is None:
        return None
    mine = 2 * pixels * metric.info.operations
    return ratio(peak, [t / mine for t in times])


def rows(
    found: dict[str, Metric], size: tuple[int, int], batch: int, rounds: int, candidates: int, device: torch.device
) -> Iterator[dict[str, object]]:
    """The table for images of one size, cheapest first within what was done."""
    width, height = size
    torch.manual_seed(0)
    x = torch.rand(batch, 3, height, width)
    y = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
    times = timed(list(cases(found, x.to(device), y.to(device), candidates)), rounds, clock(device))
    peak = fastest(times, device.type)
    for name in sorted(times, key=lambda n: (n.partition("|")[2], Spread.of(times[n]).middle)):
        metric, _, what = name.partition("|")
        yield {
            "metric": metric,
            "size": f"{width}x{height}",
            "batch": batch,
            "what": what or "baseline, forward",
            "ms per pair": Spread.of(times[name]),
            "pairs per s": Spread.of([1000 / t for t in times[name]]),
            "to vgg-16": ratio(times[name], times[VGG]),
            "to ms-ssim": ratio(times[name], times[MS_SSIM]) if MS_SSIM in times else None,
            "of peak": of_peak(found[metric], width * height, times[name], peak) if what == FORWARD else None,
        }


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--case", action="append", help="such as 256x256x8: width, height, batch; may be repeated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--candidates", type=int, default=8, help="compared with each prepared reference")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    if asked.device.type not in SIDE or (asked.device.type == "cuda" and not torch.cuda.is_available()):
        parser.error(f"--device {asked.device}: there is none here; take cpu, or cuda where there is a GPU")
    torch.set_num_threads(asked.threads)
    torch.backends.cudnn.allow_tf32 = False  # for the others as for ours
    found = {name: metric.to(asked.device) for name, metric in metrics(asked.metric).items()}
    table: list[dict[str, object]] = []
    for case in asked.case or ["256x256x1", "256x256x8", "768x512x1"]:
        width, height, batch = map(int, case.split("x"))
        table += rows(found, (width, height), batch, asked.rounds, asked.candidates, asked.device)
    device = torch.cuda.get_device_name(asked.device) if asked.device.type == "cuda" else "cpu"
    about = setting(
        device=device, rounds=asked.rounds, prepared=f"one reference, {asked.candidates} candidates, analysis included"
    )
    report(table, about, asked.output)


if __name__ == "__main__":
    main()
