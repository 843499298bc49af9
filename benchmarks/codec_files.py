"""Files of every kind of codec: every size comes back, a photo of 12 megapixels too, and what that costs.

    python benchmarks/codec_files.py --output codec_files.csv
    python benchmarks/codec_files.py --sizes 1 --rows 512 --columns 768 --widths 64,64,64 --latents 96 --hyper 64

For each size from 1 x 1 to --sizes: decoding the file gives what the evaluation of the codec promised, bit for bit,
and the file is as long as promised (1 % and 64 bits). Then one large image: seconds and peak memory of this process.
The codecs have random weights; times and exactness do not depend on them.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from memory import MIB
from timing import report, setting

from ntc.coding import compress, decompress, overhead
from ntc.models import build
from ntc.models.codec import Codec
from ntc.models.config import KINDS, CodecConfig

LAMBDAS = (0.0067, 0.025)


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    """Soft coloured noise, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 2 + height // 12, 2 + width // 12, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


def exact(codec: Codec, image: torch.Tensor, quality: int) -> bool:
    """Whether a file brings what the evaluation promised, in as many bits."""
    data = compress(codec, image, quality)
    promised = codec(image, codec.level(quality))
    bits = float(sum(part.sum() for part in promised.bits.values()))
    near = abs(8 * (len(data) - overhead(data)) - bits) <= 0.01 * bits + 64
    return near and torch.equal(decompress(codec, data), promised.image)


def sizes_that_fail(codec: Codec, largest: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths from 1 x 1 that do not come back."""
    every = [(height, width) for height in range(1, largest[0] + 1) for width in range(1, largest[1] + 1)]
    return [size for i, size in enumerate(every) if not exact(codec, picture(*size, seed=i), i % 256)]


def large(codec: Codec, rows: int, columns: int) -> dict[str, Any]:
    """One large image there and back."""
    image = picture(rows, columns, seed=0)
    start = time.perf_counter()
    data = compress(codec, image, 255)
    middle = time.perf_counter()
    decoded = decompress(codec, data)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    same = torch.equal(decoded, codec(image, codec.level(255)).image)
    return {"bytes": len(data), "encode s": middle - start, "decode s": end - middle, "peak MiB": peak, "exact": same}


def main(arguments: Sequence[str] | None = None) -> None:
    """Every kind, all sizes, then the large image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated; by default all")
    parser.add_argument("--sizes", default="70x50", help="largest height and width of the small images; 1: only 1 x 1")
    parser.add_argument("--rows", type=int, default=3000, help="of the large image")
    parser.add_argument("--columns", type=int, default=4000)
    parser.add_argument("--widths", default="12,48,64")
    parser.add_argument("--latents", type=int, default=128)
    parser.add_argument("--hyper", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a .json or .csv file")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    height, _, width = asked.sizes.partition("x")
    widths = tuple(map(int, asked.widths.split(",")))
    found = []
    for kind in asked.kind or KINDS:
        torch.manual_seed(0)
        small = build(CodecConfig(kind, (4, 6, 6), 8, 6, lambdas=LAMBDAS)).eval()
        small.export()
        failed = sizes_that_fail(small, (int(height), int(width or height)))
        codec = build(CodecConfig(kind, widths, asked.latents, asked.hyper, lambdas=LAMBDAS)).eval()
        codec.export()
        found.append({"codec": kind, "sizes that fail": len(failed), **large(codec, asked.rows, asked.columns)})
        print(f"{kind}: {failed[:3] or 'every size comes back'}", flush=True)
    report(found, setting(image=f"{asked.columns} x {asked.rows}", sizes=asked.sizes), asked.output)


if __name__ == "__main__":
    main()
