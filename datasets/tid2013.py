"""TID2013: 25 pictures, 24 distortions, 5 levels, mean opinions of 971 people.

Source: Ponomarenko et al., Image database TID2013 (Signal Processing: Image Communication 30, 2015).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pim.datasets.dataset import Dataset, Finding, ManifestError, Record, finding
from pim.datasets.folder import child, find_root, listing
from pim.datasets.numerals import number
from pim.datasets.opinions import Rating, opinion_set, text_lines

TYPES = (
    "additive Gaussian noise",
    "noise stronger in colour",
    "spatially correlated noise",
    "masked noise",
    "high-frequency noise",
    "impulse noise",
    "quantisation noise",
    "Gaussian blur",
    "denoising",
    "JPEG",
    "JPEG 2000",
    "JPEG transmission errors",
    "JPEG 2000 transmission errors",
    "non-eccentricity pattern noise",
    "local block-wise distortions",
    "mean shift",
    "contrast change",
    "colour saturation",
    "multiplicative Gaussian noise",
    "comfort noise",
    "lossy compression of noisy images",
    "colour quantisation with dither",
    "chromatic aberrations",
    "sparse sampling and reconstruction",
)
SUBSETS: dict[str, tuple[int, ...]] = {
    "noise": (*range(1, 10), 19, 21),
    "actual": (1, 3, 4, 5, 6, 8, 9, 10, 11, 19, 21),
    "simple": (1, 8, 10),
    "exotic": (12, 13, 14, 15, 16, 17, 20, 23, 24),
    "new": tuple(range(18, 25)),
    "color": (2, 7, 10, 18, 22, 23),
    "full": tuple(range(1, 25)),
}
REFERENCES, LEVELS = 25, 5
RATED = REFERENCES * LEVELS  # of one type
EXPECTED = {"": len(TYPES) * RATED} | {name: len(types) * RATED for name, types in SUBSETS.items()}
NOT_FALLING = (14, 15, 17)  # types whose mean score does not fall from level to level
MOS = (0.0, 9.0)
SIZE = (512, 384)
LAYOUT = "TID2013, a folder with mos_with_names.txt, reference_images and distorted_images"

_NAME = re.compile(r"i(\d\d)_(\d\d)_(\d)\.bmp")


def read(path: Path) -> Dataset:
    """Read the tables of TID2013, in a folder or up to two levels away, and compare them with the files.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(path, lambda folder: child(folder, "mos_with_names.txt").is_file(), LAYOUT)
    names, rated = _ratings(child(root, "mos_with_names.txt"))
    deviations, about_deviations = _deviations(child(root, "mos_std.txt"), len(rated))
    known = [replace(r, record=replace(r.record, deviation=d)) for r, d in zip(rated, deviations, strict=True)]
    references = listing(child(root, "reference_images"))
    distorted = listing(child(root, "distorted_images"))
    files = [distorted.files.get(rating.distorted) for rating in rated]
    respelled = [name for name, file in zip(names, files, strict=True) if file is not None and file.name != name]
    return opinion_set(
        "tid2013",
        root,
        sorted(known, key=lambda rating: rating.record.key),
        references.files,
        distorted.files,
        score="MOS",
        limits=MOS,
        higher_is_better=True,
        expected=EXPECTED,
        findings=(
            *references.findings(),
            *distorted.findings(),
            *_order_findings([rating.record for rating in rated]),
            *about_deviations,
            *finding("note", "names are spelled in another case than their files, which does no harm", respelled),
        ),
        picture_size=SIZE,
    )


def _ratings(path: Path) -> tuple[list[str], list[Rating]]:
    """The rows of mos_with_names.txt, a score, a space, a name: the names as they are spelled, and what they say."""
    names, rows = [], []
    for at, line in enumerate(text_lines(path), start=1):
        parts = line.split()
        mos = number(parts[0])
        if mos is None or len(parts) != 2:
            swapped = len(parts) == 2 and number(parts[1]) is not None
            hint = "; the columns are swapped" if swapped else ""
            raise ManifestError(f"{path}, line {at}: expected '5.51 i01_01_1.bmp', got {line[:60]!r}{hint}")
        match = _NAME.fullmatch(parts[1].lower())
        picture, kind, level = (int(part) for part in match.groups()) if match else (0, 0, 0)
        if not (1 <= picture <= REFERENCES and 1 <= kind <= len(TYPES) and 1 <= level <= LEVELS):
            raise ManifestError(
                f"{path}, line {at}: {parts[1]} is no name of TID2013, i01_01_1.bmp to i25_24_5.bmp; "
                "this is another data set"
            )
        names.append(parts[1])
        rows.append(_rating(parts[1].lower(), picture, kind, level, mos))
    if not rows:
        raise ManifestError(f"{path} is empty")
    types = {rating.record.distortion for rating in rows}
    if len(rows) > 5 and types <= set(TYPES[:17]) and max(rating.record.level or 0 for rating in rows) <= 4:
        raise ManifestError(
            f"{path} lists {len(rows)} pictures of up to 17 types and 4 levels: this is TID2008, whose pictures, "
            "levels and scores differ; TID2013 has 24 types and 5 levels"
        )
    return names, rows


def _rating(name: str, picture: int, kind: int, level: int, mos: float) -> Rating:
    record = Record(
        key=Path(name).stem,
        group=f"i{picture:02}",
        value=mos,
        subsets=tuple(subset for subset, types in SUBSETS.items() if kind in types),
        distortion=TYPES[kind - 1],
        level=level,
    )
    return Rating(f"i{picture:02}.bmp", name, record)


def _deviations(path: Path, rows: int) -> tuple[list[float | None], tuple[Finding, ...]]:
    """The standard errors of the scores in the order of the rows, and what is wrong with them."""
    if not path.is_file():
        return [None] * rows, (Finding("note", "mos_std.txt is not here; scores have no deviation"),)
    values = [number(line) for line in text_lines(path)]
    if len(values) != rows or any(value is None or not value >= 0 for value in values):
        problem = f"mos_std.txt must hold {rows} numbers, one for each score; it has {len(values)} lines"
        return [None] * rows, (Finding("error", problem),)
    return values, ()


def _order_findings(rows: Sequence[Record]) -> tuple[Finding, ...]:
    """Whether scores fall with the level where they must: they do only if names and scores belong together."""
    scores: dict[tuple[str | None, int | None], list[float]] = defaultdict(list)
    for row in rows:
        scores[row.distortion, row.level].append(row.value or 0.0)
    odd = []
    for kind, name in enumerate(TYPES, start=1):
        levels = [scores[name, level] for level in range(1, LEVELS + 1)]
        whole = kind not in NOT_FALLING and all(len(each) == REFERENCES for each in levels)
        if whole and not (np.diff([np.mean(each) for each in levels]) < 0).all():
            odd.append(f"{kind:02} {name}")
    text = "mean MOS does not fall from level to level, so scores and names do not belong together or it is no MOS"
    return finding("error", text, odd)
