"""Where the time of coding and decoding a picture goes, and how near the transforms come to what this processor can do.

    python benchmarks/codec_stages.py PICTURE --threads 2 --output benchmarks/results/codec_stages.json

"of peak" are the multiply-adds of a stage in its time, over those of a product of large matrices of the same precision
in the same round: what is left to gain with the same arithmetic. One thread is timed by what it computes, on a busy
machine too; several by the clock on the wall.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Spread, report, setting
from torch import Tensor, nn

import pim
from ntc import coding, store
from ntc.models.exchange import Read, Write
from ntc.models.hyperprior import MeanScaleHyperprior

QUALITY = 128
SIDE = 1024  # of the matrices


class Watch:
    """Milliseconds in methods, by stage, since it was asked last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.found: dict[str, float] = {}

    def over(self, owner: Any, method: str, stage: str) -> None:
        """Let calls of a method count."""
        plain = getattr(owner, method)

        def watched(*arguments: Any) -> Any:
            start = self.clock()
            result = plain(*arguments)
            self.found[stage] = self.found.get(stage, 0.0) + 1000 * (self.clock() - start)
            return result

        setattr(owner, method, watched)

    def taken(self) -> dict[str, float]:
        """What was found, and begin anew."""
        found, self.found = self.found, {}
        return found


def multiply_adds(layers: nn.Module, x: Tensor) -> float:
    """Those of the convolutions among the layers for one input."""
    total = 0.0

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
            total += layer.weight.numel() * places[0, 0].numel()

    hooks = [layer.register_forward_hook(count) for layer in layers.modules()]
    layers(x)
    for hook in hooks:
        hook.remove()
    return total


def work(codec: MeanScaleHyperprior, image: Tensor) -> dict[str, tuple[float, torch.dtype]]:
    """Multiply-adds of the stages that are convolutions, and the precision of these."""
    with torch.no_grad():
        y = codec.analysis(image)
        z = codec.hyper_analysis(y)
        return {
            "analysis": (multiply_adds(codec.analysis, image), torch.float32),
            "hyper-analysis": (multiply_adds(codec.hyper_analysis, y), torch.float32),
            "hyper-synthesis, exact": (multiply_adds(codec.hyper_synthesis, z), torch.float64),
            "synthesis": (multiply_adds(codec.synthesis, y), torch.float32),
        }


def measured(
    codec: MeanScaleHyperprior, image: Tensor, rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of every way and stage in every round; and of products of matrices, by precision."""
    watch = Watch(clock)
    watch.over(codec, "latents", "analysis")
    watch.over(codec, "_side", "hyper-analysis")
    watch.over(codec.hyper_synthesis, "exact", "hyper-synthesis, exact")
    watch.over(codec, "image", "synthesis")
    for owner in (Write, Read):
        watch.over(owner, "block", "rounding and range coder")
    data = coding.compress(codec, image, QUALITY)
    ways: dict[str, Callable[[], object]] = {
        "encode": lambda: coding.compress(codec, image, QUALITY),
        "decode": lambda: coding.decompress(codec, data),
    }
    ways["decode"]()
    watch.taken()
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            start = watch.clock()
            run()
            found.setdefault((way, "all"), []).append(1000 * (watch.clock() - start))
            for stage, taken in watch.taken().items():
                found.setdefault((way, stage), []).append(taken)
        for dtype in (torch.float32, torch.float64):
            matrix = torch.rand(SIDE, SIDE, dtype=dtype)
            start = watch.clock()
            matrix @ matrix
            found.setdefault(("product", str(dtype)), []).append(1000 * (watch.clock() - start))
    return found


def main() -> None:
    """Time all stages in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    codec = store.load(store.find(None)).codec
    assert isinstance(codec, MeanScaleHyperprior)
    image = coding.from_pixels(pim.open_image(asked.picture).pixels)
    of_stage = work(codec, image)
    clock = time.process_time if asked.threads == 1 else time.perf_counter
    times = measured(codec, image, asked.rounds, clock)
    rows = []
    for (way, stage), taken in times.items():
        share = None
        if stage in of_stage and way != "product":
            count, dtype = of_stage[stage]
            share = Spread.of(
                [count / SIDE**3 * p / t for t, p in zip(taken, times["product", str(dtype)], strict=True)]
            )
        rows.append({"way": way, "stage": stage, "ms": Spread.of(taken), "least ms": min(taken), "of peak": share})
    size = f"{image.shape[-1]} x {image.shape[-2]}"
    report(rows, setting(picture=size, quality=QUALITY, rounds=asked.rounds, clock=clock.__name__), asked.output)


if __name__ == "__main__":
    main()
