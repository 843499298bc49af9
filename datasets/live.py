"""LIVE image quality assessment database, release 2: 29 pictures, 5 distortions, realigned DMOS.

Source: Sheikh, Sabir, Bovik, A Statistical Evaluation of Recent Full Reference Image Quality
Assessment Algorithms (IEEE Transactions on Image Processing 15, 2006).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pim.datasets.dataset import Dataset, Finding, ManifestError, count_findings, finding
from pim.datasets.folder import child, find_root, listing
from pim.datasets.labels import range_findings
from pim.datasets.matfile import Value, read_mat
from pim.datasets.records import OpinionRecord

FOLDERS = {  # in the order of the tables: name, pictures with undistorted copies, what it is
    "jp2k": (227, "JPEG 2000"),
    "jpeg": (233, "JPEG"),
    "wn": (174, "white noise"),
    "gblur": (174, "Gaussian blur"),
    "fastfading": (174, "fast fading"),
}
ROWS = sum(count for count, _ in FOLDERS.values())
EXPECTED = {"": 779, "jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
DMOS = (-5.0, 115.0)  # met are -2.64 to 111.77
LAYOUT = "LIVE release 2, a folder with dmos_realigned.mat, refnames_all.mat, refimgs and " + ", ".join(FOLDERS)


@dataclass(frozen=True)
class _Row:
    folder: str
    number: int  # of the picture in its folder
    reference: str  # in lower case
    dmos: float
    deviation: float | None  # of the mean: a tenth of what single people differ by

    @property
    def key(self) -> str:
        return f"{self.folder}/img{self.number}"


def read(path: Path) -> Dataset:
    """Read the tables of LIVE and compare them with the files; undistorted copies are left out.

    Args:
        path: The folder of the data set, or one up to two levels away.

    Raises:
        ManifestError: if it is another data set, or its tables cannot be understood.
    """
    root = find_root(path, lambda folder: child(folder, "refnames_all.mat").is_file(), LAYOUT)
    rows, copies = _rows(root)
    references = listing(child(root, "refimgs"))
    folders = {name: listing(child(root, name), (".bmp",), by_stem=True) for name in FOLDERS}
    files = {f"{name}/{stem}": file for name, folder in folders.items() for stem, file in folder.files.items()}
    records = [
        OpinionRecord(
            key=row.key,
            group=Path(row.reference).stem,
            subsets=(row.folder,),
            distortion=FOLDERS[row.folder][1],
            reference=references.files[row.reference],
            distorted=files[row.key],
            score=row.dmos,
            score_error=row.deviation,
        )
        for row in rows
        if row.reference in references.files and row.key in files
    ]
    found = Counter(name for record in records for name in ("", *record.subsets))
    return Dataset(
        name="live",
        kind="opinion",
        root=root,
        rows=tuple(records),
        higher_is_better=False,
        findings=(
            *(found for folder in (references, *folders.values()) for found in folder.findings()),
            *range_findings({row.key: row.dmos for row in rows}, *DMOS, "DMOS"),
            *finding("missing", "reference pictures are missing", {r.reference for r in rows} - set(references.files)),
            *finding("missing", "distorted pictures are missing", {r.key for r in rows} - set(files)),
            *count_findings(EXPECTED, found),
            Finding("note", f"{copies} undistorted copies are left out", copies),
        ),
        expected=EXPECTED,
        found=found,
    )


def _rows(root: Path) -> tuple[list[_Row], int]:
    """The distorted pictures in the order of the tables, and the number of undistorted copies."""
    scores = child(root, "dmos_realigned.mat")
    if not scores.is_file():
        old = "; dmos.mat is there, but its scores are not aligned between sessions" * child(root, "dmos.mat").is_file()
        raise ManifestError(f"{root} lacks dmos_realigned.mat{old}")
    table = read_mat(scores)
    dmos = _column(table, "dmos_new", scores)
    copies = _column(table, "orgs", scores) != 0
    deviations: list[float | None] = [None] * ROWS
    if "dmos_std" in table:
        deviations = list(_column(table, "dmos_std", scores))
    references = _names(child(root, "refnames_all.mat"))
    places = [(folder, number) for folder, (count, _) in FOLDERS.items() for number in range(1, count + 1)]
    rows = [
        _Row(folder, number, reference.lower(), float(score), deviation)
        for (folder, number), reference, score, deviation, copy in zip(
            places, references, dmos, deviations, copies, strict=True
        )
        if not copy
    ]
    return rows, int(copies.sum())


def _column(table: Mapping[str, Value], name: str, path: Path) -> NDArray[np.float64]:
    if name not in table:
        raise ManifestError(f"{path} has no {name!r}; it has {', '.join(table) or 'nothing'}")
    values = table[name]
    if not isinstance(values, np.ndarray) or values.size != ROWS:
        got = len(values.ravel()) if isinstance(values, np.ndarray) else "no numbers"
        raise ManifestError(f"{path}: {name} must be {ROWS} numbers; got {got}")
    return values.ravel(order="F").astype(np.float64)


def _names(path: Path) -> list[str]:
    cells = read_mat(path).get("refnames_all")
    if not isinstance(cells, list) or len(cells) != ROWS or not all(isinstance(cell, str) for cell in cells):
        got = len(cells) if isinstance(cells, list) else "none"
        raise ManifestError(f"{path}: refnames_all must hold {ROWS} names; got {got}")
    return [str(cell) for cell in cells]
