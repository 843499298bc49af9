"""Everything that has to be seen on a GPU once, in one run of less than four minutes, as one JSON.

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --device cpu --tiny

Each part says what it found and whether that is as promised; the command ends with 1 where a part is not, or failed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import inference
import numpy as np
import torch
import torch.distributed as dist
from timing import Case, Spread, ratio, setting, timed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

import pim
from pim.core.files import write_text
from pim.datasets.crops import Crops, CropSettings
from pim.pim.training.loop import Progress

PARITY = 1e-4  # of the value: as far as the order of sums may move it
OURS = ("pim", "pim-1", "vgg", "nlpd", "ssim", "ms-ssim")
PEERS = ("lpips-alex", "lpips-vgg")
Found = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What is computed, large for a GPU or tiny to try the script."""

    side: int = 256
    batch: int = 64
    rounds: int = 5
    steps: int = 100
    large: tuple[int, int] = (4000, 6000)  # of the picture whose memory is measured
    metrics: tuple[str, ...] = OURS
    peers: tuple[str, ...] = PEERS


TINY = Sizes(176, 2, 1, 2, (200, 300), ("pim", "psnr", "ssim"), ())


def images(count: int, height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Noise over ramps, and the same with more noise; (count, 3, height, width)."""
    generator = torch.Generator().manual_seed(0)
    x = 0.5 * torch.linspace(0, 1, width).expand(count, 3, height, width)
    x = x + 0.5 * torch.rand(count, 3, height, width, generator=generator)
    y = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    return x.to(device), y.to(device)


def outcomes(name: str, device: torch.device | str, side: int) -> dict[str, Tensor]:
    """What a metric gives on a device, on the CPU: values, gradients and maps as far as it has them."""
    metric = pim.load(name).to(device)
    x, y = images(4, side, side + 16, device)
    found = {"value": metric(x, y)}
    if metric.info.differentiable:
        y.requires_grad_()
        (found["gradient"],) = torch.autograd.grad(metric(x, y).sum(), y)
    if metric.info.spatial:
        found["map"] = metric(x, y.detach(), spatial=True)
    return {what: values.detach().cpu().double() for what, values in found.items()}


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest magnitude."""
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def parity(device: torch.device, sizes: Sizes) -> Found:
    """Every metric that is here, against itself on the CPU."""
    rows = {}
    for status in pim.list_metrics():
        if status.available and (sizes != TINY or status.info.name in sizes.metrics):
            there, here = (outcomes(status.info.name, where, sizes.side) for where in (device, "cpu"))
            rows[status.info.name] = {what: apart(there[what], here[what]) for what in here}
    return {"good": all(row["value"] <= PARITY for row in rows.values()), "apart": rows}


def tf32(device: torch.device, sizes: Sizes) -> Found:
    """With TF32 allowed to the whole process, values and gradients are those without it."""
    rows = {}
    for name in sizes.metrics:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        allowed = outcomes(name, device, sizes.side)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        forbidden = outcomes(name, device, sizes.side)
        rows[name] = {what: apart(allowed[what], forbidden[what]) for what in forbidden}
    return {"good": all(max(row.values()) <= 1e-5 for row in rows.values()), "apart": rows}


def crossings(device: torch.device, sizes: Sizes) -> Found:
    """Copies between host and device, and waits of the host, in one call; the second, when all is in place."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    rows = {}
    for name in sizes.metrics:
        metric, (x, y) = pim.load(name).to(device), images(2, sizes.side, sizes.side, device)
        with torch.no_grad():
            metric(x, y)
            with profile(activities=activities) as seen:
                metric(x, y)
        events = [event.name for event in seen.events() or []]
        kinds = {"to device": "Memcpy HtoD", "to host": "Memcpy DtoH", "waits": "StreamSynchronize"}
        rows[name] = {kind: sum(mark in event for event in events) for kind, mark in kinds.items()}
    return {"good": all(row["to device"] == 0 and row["waits"] <= 1 for row in rows.values()), "calls": rows}


def speed(device: torch.device, sizes: Sizes) -> Found:
    """Pairs per second beside LPIPS, and the share of the rate of the fastest product."""
    found = {name: metric.to(device) for name, metric in inference.metrics([*sizes.metrics, *sizes.peers]).items()}
    size = (sizes.side, sizes.side)
    kept = ("metric", "size", "batch", "what", "pairs per s", "to vgg-16", "of peak")
    rows = [
        {key: vars(row[key]) if isinstance(row[key], Spread) else row[key] for key in kept}
        for row in inference.rows(found, size, sizes.batch, sizes.rounds, 2, device)
    ]
    return {"good": True, "rows": rows}


def training(device: torch.device, sizes: Sizes) -> Found:
    """A short training of the default's network on noise that moves."""
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (128, 1, 3, 96, 96), np.uint8)
    zeros = np.zeros(128, np.int32)
    crops = Crops(
        np.concatenate([first, np.roll(first, 1, axis=-1)], 1),
        np.arange(128, dtype=np.int32) % 8,
        zeros,
        zeros + 1,
        tuple(f"noise {i}" for i in range(8)),
        np.arange(8) == 7,
        CropSettings(size=96),
    )
    seen: list[Progress] = []
    settings = pim.TrainSettings(steps=sizes.steps, batch=16, window=64, weigh=True)
    with tempfile.TemporaryDirectory() as folder:
        pim.train(
            crops, Path(folder) / "new.safetensors", config=default_config(), settings=settings, device=str(device),
            watch=seen.append,
        )  # fmt: skip
        value = float(pim.load(str(Path(folder) / "new.safetensors"))(*images(1, 96, 96))[0])
    last = seen[-1]
    rates = {"information": last.information, "pairs per s": last.pairs_per_second, "value": value}
    return {"good": bool(np.isfinite(list(rates.values())).all()), **rates}


def default_config() -> pim.PIMConfig:
    """The network of the default metric, before bands are weighed."""
    metric = pim.load("pim")
    assert isinstance(metric, pim.PIM)
    return replace(metric.config, band_weights=())


def distributed(device: torch.device, sizes: Sizes) -> Found:
    """One process of DDP: a step with a perceptual loss, and a mean over a validation set."""
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=0, world_size=1)
        try:
            x, y = images(2, sizes.side, sizes.side, device)
            network = DistributedDataParallel(torch.nn.Conv2d(3, 3, 3, padding=1).to(device))
            pim.loss.Distortion("pim").to(device)(x, network(y).sigmoid()).backward()
            metric = pim.load("pim").to(device)
            mean = pim.Accumulator(metric)
            mean.update(x, y)
            difference = abs(mean.compute() - float(metric(x, y).mean()))
            moved = all(bool(p.grad is not None and p.grad.isfinite().all()) for p in network.parameters())
        finally:
            dist.destroy_process_group()
    return {"good": moved and difference < 1e-5, "difference of means": difference}


def compiled(device: torch.device, sizes: Sizes) -> Found:
    """torch.compile of the default: the same values, and how much faster."""
    metric, (x, y) = pim.load("pim").to(device), images(sizes.batch, sizes.side, sizes.side, device)
    fast = torch.compile(metric)
    cases = [
        Case(name, partial(inference.forward, call, x, y)) for name, call in (("eager", metric), ("compiled", fast))
    ]
    times = timed(cases, sizes.rounds, inference.clock(device))
    with torch.no_grad():
        difference = apart(fast(x, y).cpu(), metric(x, y).cpu())
    return {
        "good": difference <= PARITY,
        "apart": difference,
        "to eager": vars(ratio(times["compiled"], times["eager"])),
    }


def memory(device: torch.device, sizes: Sizes) -> Found:
    """The most memory of the device that one large pair takes, and a batch of small ones, in MiB."""
    if device.type != "cuda":
        return {"good": True, "MiB": None}
    found = {}
    for name in ("pim", "pim-1", "vgg"):
        for what, (count, height, width) in {
            "large": (1, *sizes.large),
            "batch": (sizes.batch, sizes.side, sizes.side),
        }.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            with torch.no_grad():
                pim.load(name).to(device)(*images(count, height, width, device))
            found[f"{name}, {what}"] = torch.cuda.max_memory_allocated(device) / (1 << 20)
    return {"good": True, "MiB": found}


PARTS: tuple[Callable[[torch.device, Sizes], Found], ...] = (
    parity,
    tf32,
    crossings,
    speed,
    training,
    distributed,
    compiled,
    memory,
)


def attempt(part: Callable[[torch.device, Sizes], Found], device: torch.device, sizes: Sizes) -> Found:
    """One part, with its seconds; what it raises is its result, so that the others still run."""
    start = time.perf_counter()
    try:
        found = part(device, sizes)
    except Exception:
        found = {"good": False, "error": traceback.format_exc()}
    return {**found, "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run all parts, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--tiny", action="store_true", help="to try the script: seconds on a CPU")
    parser.add_argument("--part", action="append", choices=[part.__name__ for part in PARTS], help="only this one")
    parser.add_argument("--output", type=Path, help="the .json file")
    asked = parser.parse_args()
    device: torch.device = asked.device
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --tiny tries the script without one")
    torch.backends.cudnn.allow_tf32 = False  # for the peers as for ours
    about = setting(device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device))
    sizes, parts = TINY if asked.tiny else Sizes(), [p for p in PARTS if not asked.part or p.__name__ in asked.part]
    found = {part.__name__: attempt(part, device, sizes) for part in parts}
    text = json.dumps({"setting": about, **found}, indent=1)
    print(text)
    if asked.output is not None:
        write_text(asked.output, text + "\n")
    bad = [name for name, result in found.items() if not result["good"]]
    if bad:
        raise SystemExit(f"not as promised: {', '.join(bad)}")


if __name__ == "__main__":
    main()
