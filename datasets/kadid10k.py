"""KADID-10k: 81 pictures, 25 distortions, 5 levels, mean opinions from crowdsourcing.

The column `dmos` is a mean opinion in spite of its name: higher is better.

Source: Lin, Hosu, Saupe, KADID-10k: A Large-scale Artificially Distorted IQA Database (QoMEX 2019).
"""

from __future__ import annotations

import re
from pathlib import Path

from pim.datasets.dataset import Dataset, Finding, Record, finding, standard_error
from pim.datasets.folder import child, find_root, listing
from pim.datasets.numerals import number
from pim.datasets.opinions import Rating, opinion_set
from pim.datasets.sheet import read_sheet

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
COLUMNS = ("dist_img", "ref_img", "dmos", "var")
EXPECTED = {"": 10125}
PEOPLE = 30  # for each picture; the column "var" is the standard deviation of their answers, by its smallest values
SCORE = (1.0, 5.0)
SIZE = (512, 384)
LAYOUT = "KADID-10k, a folder with dmos.csv and images"

_NAME = re.compile(r"(i\d\d)_(\d\d)_(0[1-5])\.png")


def read(path: Path) -> Dataset:
    """Read the table of KADID-10k, in a folder or up to two levels away, and compare it with the files.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(
        path, lambda folder: child(folder, "dmos.csv").is_file() and child(folder, "images").is_dir(), LAYOUT
    )
    table = read_sheet(child(root, "dmos.csv"), COLUMNS)
    files = listing(child(root, "images"))
    ratings = [(row, _rating(*(row[column] for column in COLUMNS))) for _, row in table.records()]
    odd = [f"{row['dist_img']} {row['dmos']}" for row, rating in ratings if rating is None]
    known = [rating for _, rating in ratings if rating is not None]
    references = set(map(str.lower, table.column("ref_img")))
    return opinion_set(
        "kadid10k",
        root,
        sorted(known, key=lambda rating: rating.record.key),
        files.files,
        {name: file for name, file in files.files.items() if name not in references},
        score="dmos",
        limits=SCORE,
        higher_is_better=True,
        expected=EXPECTED,
        findings=(
            *files.findings(),
            *finding("error", "rows of dmos.csv have no name and score of KADID-10k", odd),
            Finding("note", "the column dmos holds mean opinions, higher is better"),
        ),
        picture_size=SIZE,
    )


def _rating(name: str, reference: str, dmos: str, deviation: str) -> Rating | None:
    """What a row says; None if it has no name and score of this data set."""
    match, score = _NAME.fullmatch(name.lower()), number(dmos)
    if match is None or score is None or not 1 <= int(match[2]) <= len(TYPES):
        return None
    record = Record(
        key=Path(name.lower()).stem,
        group=match[1],
        value=score,
        distortion=TYPES[int(match[2]) - 1],
        level=int(match[3]),
        deviation=standard_error(number(deviation), PEOPLE),
        people=PEOPLE,
    )
    return Rating(reference.lower(), name.lower(), record)
