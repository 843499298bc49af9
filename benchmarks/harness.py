"""What `pim eval` costs against the loop that one would write by hand.

    python benchmarks/harness.py --metric psnr --metric ssim --output cheap.csv
    python benchmarks/harness.py --metric pim-1 --size 128x96 --rounds 3 --output dear.csv
    python benchmarks/harness.py --metric psnr --metric pim --pairs 400 --size 128x96 --rounds 3 --ray

The loop opens both files of each pair with Pillow, makes tensors and calls the metric, pair after pair. The
harness opens files ahead in threads, analyses a reference once, commits every value to its table and computes
eight rows again as a check. They take turns with the same metric and files. With one pair per reference there
is nothing to share, so what is above 1 is what the harness costs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timing import Case, Spread, ratio, report, setting, timed

import pim
from pim.core.metric import Metric
from pim.eval.judgements import PlannedPair
from pim.eval.ray_engine import OnRay
from pim.eval.run import RunOptions, score
from pim.eval.scoring import Engine, InThisProcess
from pim.eval.store import writing
from pim.scoring.pictures import FilePicture

Row = dict[str, object]
Paths = tuple[Path, Path]  # reference and distorted


def write_pairs(folder: Path, count: int, per_reference: int, size: tuple[int, int]) -> list[Paths]:
    """PNG files of soft noise, whose decoding costs about as much as that of photographs."""
    rng = np.random.default_rng(0)
    pairs: list[Paths] = []
    for number in range(count):
        if number % per_reference == 0:
            coarse = rng.uniform(0, 255, (size[1] // 8, size[0] // 8, 3)).astype(np.uint8)
            smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
            clean = smooth + rng.normal(0, 3, smooth.shape)
            reference = _save(folder / f"r{number}.png", clean)
        noise = rng.normal(0, 5 + number % per_reference, clean.shape)
        pairs.append((reference, _save(folder / f"d{number}.png", clean + noise)))
    return pairs


def _save(path: Path, pixels: NDArray[np.float64]) -> Path:
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(path)
    return path


def loop(pairs: Sequence[Paths], metric: Metric) -> list[float]:
    """Pair after pair."""
    with torch.no_grad():
        return [float(metric(_opened(reference), _opened(distorted))) for reference, distorted in pairs]


def _opened(path: Path) -> torch.Tensor:
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def harness(pairs: Sequence[Paths], metric: Metric, folder: Path, engine: Engine) -> None:
    """A run from nothing to a complete table."""
    shutil.rmtree(folder, ignore_errors=True)
    plan = [PlannedPair(str(i), FilePicture(a), FilePicture(b)) for i, (a, b) in enumerate(pairs)]
    with writing(folder) as store:
        ids = store.add_pairs([(pair.key, pair.stamp(False)) for pair in plan])
        failures = score(store, plan, ids, [metric], RunOptions(), lambda *_: nullcontext(_ignore), engine)
    if failures:
        raise SystemExit(failures[0])


def _ignore(count: int = 1, note: str = "") -> None:
    """Progress that nobody looks at."""


def compared(metric: Metric, pairs: Sequence[Paths], folder: Path, asked: argparse.Namespace) -> Row:
    """The row of one metric: loop and harness by turns."""
    plain = Case("loop", lambda: loop(pairs, metric), len(pairs))
    ours = Case("pim eval", lambda: harness(pairs, metric, folder, InThisProcess(asked.workers)), len(pairs))
    times = timed([plain, ours], asked.rounds)
    return {
        "loop, ms per pair": Spread.of(times["loop"]),
        "pim eval, ms per pair": Spread.of(times["pim eval"]),
        "pim eval to loop": ratio(times["pim eval"], times["loop"]),
    }


def on_ray(metric: Metric, pairs: Sequence[Paths], folder: Path, asked: argparse.Namespace) -> Row:
    """The row of one metric: this process, and as many actors as there are threads, by turns.

    A run on Ray begins with the start of its actors, so the time of a run of two pairs is taken off.
    """
    count = len(pairs)
    with OnRay(asked.threads, workers=1) as ray:
        here = Case("here", lambda: harness(pairs, metric, folder, InThisProcess(asked.workers)), count)
        whole = Case("whole", lambda: harness(pairs, metric, folder, ray))
        begun = Case("begun", lambda: harness(pairs[:2], metric, folder, ray))
        times = timed([here, whole, begun], asked.rounds)
    each = [(a - b) / (count - 2) for a, b in zip(times["whole"], times["begun"], strict=True)]
    return {
        "start on ray, s": Spread.of([ms / 1000 for ms in times["begun"]]),
        "on ray, ms per pair": Spread.of(each),
        "on ray to pim eval": ratio(each, times["here"]),
    }


def main() -> None:
    """Write the files, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", action="append", help="may be repeated; by default psnr, ssim and pim-1")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--per-reference", type=int, action="append", help="may be repeated; by default 1 and 5")
    parser.add_argument("--size", default="512x384", help="width and height")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="time a local Ray with an actor for each thread as well")
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    width, height = map(int, asked.size.split("x"))
    rows: list[Row] = []
    for per_reference in asked.per_reference or [1, 5]:
        with tempfile.TemporaryDirectory() as name:
            pairs = write_pairs(Path(name), asked.pairs, per_reference, (width, height))
            for metric_name in asked.metric or ["psnr", "ssim", "pim-1"]:
                metric = pim.load(metric_name)
                row = compared(metric, pairs, Path(name) / "run", asked)
                more = on_ray(metric, pairs, Path(name) / "run", asked) if asked.ray else {}
                rows.append({"metric": metric_name, "pairs per reference": per_reference, **row, **more})
    report(rows, setting(pairs=f"{asked.pairs} of {asked.size}", workers=asked.workers), asked.output)


if __name__ == "__main__":
    main()
