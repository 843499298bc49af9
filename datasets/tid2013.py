"""TID2013: 25 pictures, 24 distortions, 5 levels, mean opinions of 971 people.

Source: Ponomarenko et al., Image database TID2013 (Signal Processing: Image Communication 30, 2015).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pim.datasets.dataset import Dataset, Finding, ManifestError, count_findings, finding
from pim.datasets.folder import Listing, child, find_root, listing
from pim.datasets.labels import range_findings, text_lines
from pim.datasets.numerals import number
from pim.datasets.records import OpinionRecord

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


@dataclass(frozen=True)
class _Row:
    name: str  # as in the table
    file: str  # in lower case
    picture: int
    kind: int
    level: int
    mos: float


def read(path: Path) -> Dataset:
    """Read the tables of TID2013 and compare them with the files.

    Args:
        path: The folder of the data set, or one up to two levels away.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(path, lambda folder: child(folder, "mos_with_names.txt").is_file(), LAYOUT)
    rows = _rows(child(root, "mos_with_names.txt"))
    deviations, about_deviations = _deviations(child(root, "mos_std.txt"), len(rows))
    references = listing(child(root, "reference_images"))
    distorted = listing(child(root, "distorted_images"))
    names = [row.file for row in rows]
    paired = [
        (row, deviation, references.files[f"i{row.picture:02}.bmp"], distorted.files[row.file])
        for row, deviation in zip(rows, deviations, strict=True)
        if row.file in distorted.files and f"i{row.picture:02}.bmp" in references.files
    ]
    records = [_record(*parts) for parts in paired]
    found = Counter(name for record in records for name in ("", *record.subsets))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    return Dataset(
        name="tid2013",
        kind="opinion",
        root=root,
        rows=tuple(sorted(records, key=lambda record: record.key)),
        higher_is_better=True,
        findings=(
            *references.findings(),
            *distorted.findings(),
            *finding("error", "pictures are listed more than once in mos_with_names.txt", repeated),
            *range_findings({row.name: row.mos for row in rows}, *MOS, "MOS"),
            *_missing(rows, references, distorted),
            *finding("warning", "files in distorted_images have no score", set(distorted.files) - set(names)),
            *_order_findings(rows),
            *about_deviations,
            *count_findings(EXPECTED, found),
            *_case_findings(rows, distorted),
        ),
        expected=EXPECTED,
        found=found,
        picture_size=SIZE,
    )


def _record(row: _Row, deviation: float | None, reference: Path, distorted: Path) -> OpinionRecord:
    return OpinionRecord(
        key=Path(row.file).stem,
        group=f"i{row.picture:02}",
        subsets=tuple(name for name, types in SUBSETS.items() if row.kind in types),
        distortion=TYPES[row.kind - 1],
        level=row.level,
        reference=reference,
        distorted=distorted,
        score=row.mos,
        score_error=deviation,
    )


def _rows(path: Path) -> list[_Row]:
    """The rows of mos_with_names.txt: a score, a space, a name."""
    rows = []
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
        rows.append(_Row(parts[1], parts[1].lower(), picture, kind, level, mos))
    if not rows:
        raise ManifestError(f"{path} is empty")
    if len(rows) > 5 and max(row.kind for row in rows) <= 17 and max(row.level for row in rows) <= 4:
        raise ManifestError(
            f"{path} lists {len(rows)} pictures of up to 17 types and 4 levels: this is TID2008, whose pictures, "
            "levels and scores differ; TID2013 has 24 types and 5 levels"
        )
    return rows


def _deviations(path: Path, rows: int) -> tuple[list[float | None], tuple[Finding, ...]]:
    """The standard errors of the scores in the order of the rows, and what is wrong with them."""
    if not path.is_file():
        return [None] * rows, (Finding("note", "mos_std.txt is not here; scores have no deviation"),)
    values = [number(line) for line in text_lines(path)]
    if len(values) != rows or any(value is None or not value >= 0 for value in values):
        problem = f"mos_std.txt must hold {rows} numbers, one for each score; it has {len(values)} lines"
        return [None] * rows, (Finding("error", problem),)
    return values, ()


def _missing(rows: list[_Row], references: Listing, distorted: Listing) -> tuple[Finding, ...]:
    lacking = {f"i{row.picture:02}.bmp" for row in rows} - set(references.files)
    return (
        *finding("missing", "reference pictures are missing", lacking),
        *finding("missing", "distorted pictures are missing", {row.file for row in rows} - set(distorted.files)),
    )


def _order_findings(rows: list[_Row]) -> tuple[Finding, ...]:
    """Whether scores fall with the level where they must: they do only if names and scores belong together."""
    scores: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        scores[row.kind, row.level].append(row.mos)
    whole = [
        kind
        for kind in range(1, len(TYPES) + 1)
        if kind not in NOT_FALLING and all(len(scores[kind, level]) == REFERENCES for level in range(1, LEVELS + 1))
    ]
    means = {kind: [np.mean(scores[kind, level]) for level in range(1, LEVELS + 1)] for kind in whole}
    odd = [f"{kind:02} {TYPES[kind - 1]}" for kind in whole if not (np.diff(means[kind]) < 0).all()]
    text = "mean MOS does not fall from level to level, so scores and names do not belong together or it is no MOS"
    return finding("error", text, odd)


def _case_findings(rows: list[_Row], distorted: Listing) -> tuple[Finding, ...]:
    odd = [row.name for row in rows if row.file in distorted.files and distorted.files[row.file].name != row.name]
    return finding("note", "names are spelled in another case than their files, which does no harm", odd)
