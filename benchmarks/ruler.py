"""What a value means: the values of known changes of photographs, for every metric that ships.

    python benchmarks/ruler.py PICTURES                  # all metrics, some minutes each
    python benchmarks/ruler.py PICTURES --metric pim-1   # one, such as after a training; the others stay
    python benchmarks/ruler.py                           # only the tables of the documents

Takes the middles of the photographs in a folder, changes them, and scores them as `pim score` does. Median and range
over the photographs go to pim/pretrained/ruler.json, and from there into README.md, docs/ruler.md and the cards.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

import pim
from pim.core.files import write_text
from pim.metrics.ruler import JPEG, OTHER, Mark, Ruler, rulers
from pim.scoring.engine import load_metrics
from pim.scoring.folders import image_files

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "pim" / "pretrained" / "ruler.json"
METRICS = ("pim", "pim-1", "pim-5", "vgg", "nlpd", "psnr", "ssim", "ms-ssim")
CARDS = {"pim": "pim", "pim-1": "pim-1", "pim-5": "pim-5", "vgg": "lpips-vgg"}
SIDE, MARGIN = 256, 16  # of the middles; around them, for what blur and shift bring in
BLUR, NOISE, SHIFT = "blur, sigma {} px", "noise, sigma {} of 255", "shift by {} px"
CHANGES: tuple[tuple[str, float | None], ...] = (
    *((JPEG, quality) for quality in range(95, 0, -5)),
    *((BLUR, sigma) for sigma in (0.5, 1, 2, 4)),
    *((NOISE, sigma) for sigma in (2, 5, 10, 20, 40)),
    *((SHIFT, pixels) for pixels in (1, 2, 4, 8)),
    (OTHER, None),
)
FEW = ((JPEG, 90), (JPEG, 75), (JPEG, 50), (JPEG, 25), (JPEG, 10), (JPEG, 5), (BLUR, 2), (NOISE, 20), (SHIFT, 2))
SHORT = ("pim", "vgg", "ssim", "psnr")  # columns of the table of the README
BEGIN, END = "<!-- ruler -->\n", "<!-- /ruler -->"

Pixels = NDArray[np.uint8]


def regions(pictures: Path) -> list[Pixels]:
    """The middles of all photographs of a folder, with a margin, (288, 288, 3) each."""
    found = []
    for name in image_files([str(pictures)]):
        pixels = np.rint(pim.open_image(name).pixels * 255).astype(np.uint8)
        top, left = ((length - SIDE) // 2 - MARGIN for length in pixels.shape[:2])
        found.append(pixels[top : top + SIDE + 2 * MARGIN, left : left + SIDE + 2 * MARGIN])
    return found


def middle(region: NDArray[Any], right: int = 0) -> Pixels:
    """What lies inside the margin, or so many pixels to the left of it: the picture is shifted to the right."""
    inner = region[MARGIN : MARGIN + SIDE, MARGIN - right : MARGIN - right + SIDE]
    return np.ascontiguousarray(np.rint(inner.clip(0, 255)).astype(np.uint8))


def changed(region: Pixels, following: Pixels, change: str, amount: float, seed: int) -> Pixels:
    """The middle of a photograph after a change; `following` is another photograph."""
    if change == JPEG:
        stream = io.BytesIO()
        Image.fromarray(middle(region)).save(stream, "JPEG", quality=int(amount))
        return np.asarray(Image.open(stream))
    if change == BLUR:
        return middle(gaussian_filter(region.astype(np.float64), (amount, amount, 0)))
    if change == NOISE:
        return middle(region + amount * np.random.default_rng(seed).standard_normal(region.shape))
    return middle(region, int(amount)) if change == SHIFT else middle(following)


def pairs(photographs: Sequence[Pixels]) -> Iterator[tuple[Pixels, Pixels]]:
    """All changes of a photograph, then those of the next."""
    for number, region in enumerate(photographs):
        reference = middle(region)
        following = photographs[(number + 1) % len(photographs)]
        for change, amount in CHANGES:
            yield reference, changed(region, following, change, amount or 0.0, number)


def measured(name: str, photographs: Sequence[Pixels]) -> dict[str, Any]:
    """The entry of a metric in the store."""
    (metric,) = load_metrics(name, "cpu")
    values: dict[tuple[str, float | None], list[float]] = {change: [] for change in CHANGES}
    for number, found in enumerate(pim.score(pairs(photographs), metric, device="cpu", workers=0)):
        values[CHANGES[number % len(CHANGES)]].append(found.values[metric.name])
    return {
        "weights_hash": metric.weights_hash,
        "aligned": metric.explains,
        "lower_is_better": metric.lower_is_better,
        "photographs": len(photographs),
        "pim": pim.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "marks": [[*change, *(_short(f(found)) for f in (median, min, max))] for change, found in values.items()],
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def store(names: Sequence[str], pictures: Path) -> None:
    """Measure metrics and put them into the store, each as soon as it is done."""
    photographs = regions(pictures)
    for name in names:
        entry = measured(name, photographs)
        known = json.loads(STORE.read_text(encoding="utf-8"))["metrics"] if STORE.exists() else {}
        known[name] = entry
        lines = ",\n".join(_entry(each, known[each]) for each in METRICS if each in known)
        write_text(STORE, f'{{"metrics": {{\n{lines}\n}}}}\n')
        print(f"{name}: {entry['photographs']} photographs, {len(CHANGES)} changes")
    rulers.cache_clear()


def _entry(name: str, about: dict[str, Any]) -> str:
    """One metric as text: a line for each mark."""
    marks = ",\n  ".join(json.dumps(mark) for mark in about["marks"])
    head = json.dumps({key: value for key, value in about.items() if key != "marks"})
    return f'{json.dumps(name)}: {head[:-1]}, "marks": [\n  {marks}\n]}}'


def number(value: float) -> str:
    """Three digits, without the zero before the point."""
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def spread(mark: Mark) -> str:
    """The range over photographs."""
    return f"{number(mark.low)} to {number(mark.high)}"


def table(found: Sequence[Ruler], rows: Sequence[tuple[str, float | None]], cell: Any) -> str:
    """Changes by metrics."""
    known = [{(mark.change, mark.amount): mark for mark in ruler.marks} for ruler in found]
    heads = [ruler.metric if ruler.lower_is_better else f"{ruler.metric} (higher is closer)" for ruler in found]
    lines = [f"| | {' | '.join(heads)} |", "| --- " * (len(found) + 1) + "|"]
    for row in rows:
        marks = [marks[row] for marks in known]
        lines.append(f"| {marks[0].name} | {' | '.join(cell(mark) for mark in marks)} |")
    return "\n".join(lines) + "\n"


def tables(found: dict[str, Ruler]) -> dict[Path, str]:
    """What stands between the marks of every document."""
    everything = list(found.values())
    few = [*FEW, (OTHER, None)]
    photographs = everything[0].photographs
    of = f"over the middles of {photographs} photographs of Kodak, {SIDE} x {SIDE} pixels"
    made = {
        ROOT / "README.md": table([found[name] for name in SHORT if name in found], few, lambda m: number(m.median))
        + f"\nMedians {of}, by `python benchmarks/ruler.py PHOTOGRAPHS`; [all metrics, with ranges](docs/ruler.md).\n",
        ROOT / "docs" / "ruler.md": f"Medians {of}:\n\n{table(everything, CHANGES, lambda m: number(m.median))}"
        f"\nThe lowest and the highest of these photographs:\n\n{table(everything, CHANGES, spread)}",
    }
    for name, card in ((name, card) for name, card in CARDS.items() if name in found):
        both = table([found[name]], few, lambda m: f"{number(m.median)} ({spread(m)})")
        made[ROOT / "pim" / "pretrained" / f"{card}.md"] = f"{both}\nMedian, and lowest to highest, {of}.\n"
    return made


def filled(text: str, content: str) -> str:
    """A document with other content between its marks."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + content + END + rest.partition(END)[2]


def main() -> None:
    """Measure what is asked for, then write all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pictures", nargs="?", type=Path, help="a folder of photographs; without it nothing is measured"
    )
    parser.add_argument("--metric", action="append", choices=METRICS, help="may be repeated; by default all")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.pictures is not None:
        store(asked.metric or METRICS, asked.pictures)
    for path, content in tables(rulers()).items():
        write_text(path, filled(path.read_text(encoding="utf-8"), content))


if __name__ == "__main__":
    main()
