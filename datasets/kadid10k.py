"""KADID-10k: 81 pictures, 25 distortions, 5 levels, mean opinions from crowdsourcing.

The column `dmos` is a mean opinion in spite of its name: higher is better.

Source: Lin, Hosu, Saupe, KADID-10k: A Large-scale Artificially Distorted IQA Database (QoMEX 2019).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from pim.datasets.dataset import Dataset, Finding, count_findings, finding
from pim.datasets.folder import child, find_root, listing
from pim.datasets.labels import range_findings
from pim.datasets.numerals import number
from pim.datasets.records import OpinionRecord, standard_error
from pim.datasets.sheet import columns_of, read_sheet

TYPES = (
    "Gaussian blur",
    "lens blur",
    "motion blur",
    "colour diffusion",
    "colour shift",
    "colour quantisation",
    "colour saturation in HSV",
    "colour saturation in Lab",
    "JPEG 2000",
    "JPEG",
    "white noise",
    "white noise in colour components",
    "impulse noise",
    "multiplicative noise",
    "denoising",
    "brighten",
    "darken",
    "mean shift",
    "jitter",
    "non-eccentricity patch",
    "pixelate",
    "quantisation",
    "colour block",
    "sharpening",
    "contrast change",
)
EXPECTED = {"": 10125}
PEOPLE = 30  # for each picture; the column "var" is the standard deviation of their answers, by its smallest values
SCORE = (1.0, 5.0)
SIZE = (512, 384)
LAYOUT = "KADID-10k, a folder with dmos.csv and images"

_NAME = re.compile(r"(i\d\d)_(\d\d)_(0[1-5])\.png")


def read(path: Path) -> Dataset:
    """Read the table of KADID-10k and compare it with the files.

    Args:
        path: The folder of the data set, or one up to two levels away.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(
        path, lambda folder: child(folder, "dmos.csv").is_file() and child(folder, "images").is_dir(), LAYOUT
    )
    source = child(root, "dmos.csv")
    table = columns_of(read_sheet(source), ("dist_img", "ref_img", "dmos", "var"), source)
    files = listing(child(root, "images"))
    names = table["dist_img"].str.lower().tolist()
    records = [record for row in table.itertuples(index=False) if (record := _record(row, files.files)) is not None]
    wanted = {*names, *table["ref_img"].str.lower()}
    return Dataset(
        name="kadid10k",
        kind="opinion",
        root=root,
        rows=tuple(sorted(records, key=lambda record: record.key)),
        higher_is_better=True,
        findings=(
            *files.findings(),
            *finding("error", "rows of dmos.csv have no name and score of KADID-10k", _odd(table)),
            *finding("error", "pictures are listed more than once", [n for n, c in Counter(names).items() if c > 1]),
            *range_findings(_scores(table), *SCORE, "dmos"),
            *finding("missing", "pictures are missing", wanted - set(files.files)),
            *finding("warning", "pictures are not in the table", set(files.files) - wanted),
            *count_findings(EXPECTED, {"": len(records)}),
            Finding("note", "the column dmos holds mean opinions, higher is better"),
        ),
        expected=EXPECTED,
        found={"": len(records)},
        picture_size=SIZE,
    )


def _scores(table: pd.DataFrame) -> dict[str, float]:
    found = {name: number(score) for name, score in zip(table["dist_img"], table["dmos"], strict=True)}
    return {name: score for name, score in found.items() if score is not None}


def _odd(table: pd.DataFrame) -> list[str]:
    return [
        f"{row.dist_img} {row.dmos}"
        for row in table.itertuples(index=False)
        if number(row.dmos) is None or _parts(row.dist_img) is None
    ]


def _parts(name: str) -> tuple[str, int, int] | None:
    """Picture, type and level of a name, or None."""
    match = _NAME.fullmatch(name.lower())
    if match is None or not 1 <= int(match[2]) <= len(TYPES):
        return None
    return match[1], int(match[2]), int(match[3])


def _record(row: tuple[str, ...], files: dict[str, Path]) -> OpinionRecord | None:
    name, reference, dmos, deviation = row
    parts, score = _parts(name), number(dmos)
    pictures = files.get(reference.lower()), files.get(name.lower())
    if parts is None or score is None or pictures[0] is None or pictures[1] is None:
        return None
    return OpinionRecord(
        key=Path(name.lower()).stem,
        group=parts[0],
        distortion=TYPES[parts[1] - 1],
        level=parts[2],
        reference=pictures[0],
        distorted=pictures[1],
        score=score,
        score_error=standard_error(number(deviation), PEOPLE),
        n=PEOPLE,
    )
