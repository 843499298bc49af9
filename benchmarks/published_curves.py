"""BD-rates that papers state, computed again from the points that they publish for the 24 pictures of Kodak.

    python benchmarks/published_curves.py store FOLDER
    python benchmarks/published_curves.py table

`store` reads tfc_kodak.csv and compressai_kodak.csv in FOLDER, tables as `pim ntc rd --curve` reads them, and writes
results/published_curves.json; `table` makes of that the table of docs/rate-distortion.md. The points are those of
https://github.com/tensorflow/compression (results/image_compression) and
https://github.com/InterDigitalInc/CompressAI (results/image), one row for each point.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pim.core.files import write_text
from pim.eval.bd_rate import Curve, bd_rate
from pim.eval.rate_curves import LUMA, curves, read
from pim.metrics.registry import PSNR

RESULTS = Path(__file__).parent / "results" / "published_curves.json"
TFC, COMPRESSAI = "tfc_kodak.csv", "compressai_kodak.csv"
RGB = "psnr"
Three = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """Two codecs of a table of points."""

    about: str
    table: str
    reference: str
    test: str
    known: Three  # percent by cubic, PCHIP, Akima, from the same points by another program
    published: str = ""
    metric: str = RGB


JOINT, SCALE, MEAN_SCALE = "minnen-2018-neurips-opt-mse", "balle-2018-iclr-opt-mse", "minnen-2018-neurips-no-context"
FACTORISED, HYPERPRIOR = "compressai-bmshj2018-factorized_mse_cuda", "compressai-bmshj2018-hyperprior_mse_cuda"
MEAN, CONTEXT = "compressai-mbt2018-mean_mse_cuda", "compressai-mbt2018_mse_cuda"
X265 = "bpg_444_x265_ycbcr"
COMPARISONS = (
    Comparison("joint, against scale hyperprior", TFC, SCALE, JOINT, (-15.73, -15.53, -15.53), "-15.8 %"),
    Comparison("joint, against JPEG 4:2:0", TFC, "jpeg420", JOINT, (-59.68, -58.92, -58.92), "-59.8 %"),
    Comparison("joint, against BPG 4:4:4", TFC, "bpg444", JOINT, (-8.98, -8.12, -8.13), "-8.4 %"),
    Comparison("joint, against WebP", TFC, "webp", JOINT, (-41.36, -41.12, -41.12), "beyond -35 %"),
    Comparison("joint, against JPEG 2000, Kakadu", TFC, "j2k-kdu5", JOINT, (-43.00, -43.07, -43.08), "beyond -35 %"),
    Comparison("joint, against JPEG 2000, OpenJPEG", TFC, "j2k-opj5", JOINT, (-34.80, -34.70, -34.70), "beyond -35 %"),
    Comparison("mean and scale, against scale hyperprior", TFC, SCALE, MEAN_SCALE, (-10.08, -9.76, -9.87)),
    Comparison("joint, against mean and scale", TFC, MEAN_SCALE, JOINT, (-4.85, -4.71, -4.64)),
    Comparison(
        "scale hyperprior, against factorised (2017)", TFC, "balle-2017-iclr-opt-mse", SCALE, (-18.37, -18.26, -18.26)
    ),
    Comparison("channel by channel (2020), against joint", TFC, JOINT, "minnen-2020-icip", (-8.51, -8.69, -8.67)),
    Comparison("joint, against BPG 4:2:0", TFC, "bpg420", JOINT, (-15.64, None, None)),
    Comparison("joint, against BPG 4:2:0", TFC, "bpg420", JOINT, (4.39, None, None), metric=LUMA),
    Comparison("joint, against BPG 4:4:4", TFC, "bpg444", JOINT, (-2.70, None, None), metric=LUMA),
    Comparison(
        "CompressAI: scale hyperprior, against factorised", COMPRESSAI, FACTORISED, HYPERPRIOR, (-21.15, None, None)
    ),
    Comparison("CompressAI: mean and scale, against factorised", COMPRESSAI, FACTORISED, MEAN, (-26.70, None, None)),
    Comparison("CompressAI: joint, against factorised", COMPRESSAI, FACTORISED, CONTEXT, (-33.09, None, None)),
    Comparison(
        "CompressAI: attention (2020), against factorised",
        COMPRESSAI,
        FACTORISED,
        "compressai-cheng2020-attn_mse_cuda",
        (-38.46, None, None),
    ),
    Comparison("CompressAI: joint, against scale hyperprior", COMPRESSAI, HYPERPRIOR, CONTEXT, (-14.31, None, None)),
    Comparison("CompressAI: joint, against BPG 4:4:4 (x265)", COMPRESSAI, X265, CONTEXT, (-11.53, None, None)),
    Comparison("CompressAI: joint, against JPEG (Pillow)", COMPRESSAI, "jpeg", CONTEXT, (-61.27, None, None)),
    Comparison("VTM, against BPG 4:4:4 (x265)", COMPRESSAI, X265, "vtm", (-18.07, None, None)),
)


def stored_curves(folder: Path) -> dict[tuple[str, str], dict[str, Curve]]:
    """Read all curves in a folder: codecs by table and metric."""
    found = {}
    for table in (TFC, COMPRESSAI):
        points = read(folder / table)
        found.update({(table, metric): curves(points, metric, PSNR) for metric in (RGB, LUMA)})
    return found


def compute(folder: Path) -> list[dict[str, Any]]:
    """Compute every comparison from the tables of points in a folder: percent, interval in dB, numbers of points."""
    known, rows = stored_curves(folder), []
    for asked in COMPARISONS:
        reference, test = (known[asked.table, asked.metric][name] for name in (asked.reference, asked.test))
        found = bd_rate(reference, test)
        rows.append(
            {
                "about": asked.about,
                "metric": asked.metric,
                "table": asked.table,
                "reference": asked.reference,
                "test": asked.test,
                "cubic": round(found.cubic, 4),
                "pchip": round(found.pchip, 4),
                "akima": round(found.akima, 4),
                "low": round(found.low, 2),
                "high": round(found.high, 2),
                "points": [len(reference.rate), len(test.rate)],
                "notes": list(found.notes),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Draw the stored comparisons beside what is published and known, in Markdown."""
    lines = [
        "| | PSNR of | published | by another program | ours | from .. to, dB |",
        "| --- " * 6 + "|",
    ]
    for asked, row in zip(COMPARISONS, rows, strict=True):
        colour = "luma" if asked.metric == LUMA else "RGB"
        ours = _three((row["cubic"], row["pchip"], row["akima"]))
        interval = f"{row['low']:.2f} .. {row['high']:.2f}"
        cells = (asked.about, colour, asked.published or "-", _three(asked.known), ours, interval)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _three(values: Three) -> str:
    return " / ".join(f"{value:+.2f}" for value in values if value is not None)


def main() -> None:
    """Store the comparisons, or print the table of those that are stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("store").add_argument("folder", type=Path)
    commands.add_parser("table")
    asked = parser.parse_args()
    if asked.what == "store":
        write_text(RESULTS, json.dumps(compute(asked.folder), indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
