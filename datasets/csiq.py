"""CSIQ: 30 pictures, 6 distortions, 4 or 5 levels, mean differential opinions.

Source: Larson, Chandler, Most apparent distortion (Journal of Electronic Imaging 19, 2010).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pim.datasets.dataset import Dataset, ManifestError, count_findings, finding
from pim.datasets.folder import child, find_root, listing, subfolders
from pim.datasets.labels import range_findings, text_lines
from pim.datasets.numerals import number, whole
from pim.datasets.records import OpinionRecord, standard_error
from pim.datasets.sheet import read_xlsx

TYPES = {  # folder: what it is
    "awgn": "additive Gaussian noise",
    "blur": "Gaussian blur",
    "contrast": "contrast decrease",
    "fnoise": "pink noise",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
}
EXPECTED = {"": 866, **dict.fromkeys(TYPES, 150), "contrast": 116}
DMOS = (0.0, 1.0)
PEOPLE = 5000 / 866  # ratings of each picture on average; the table has their standard deviation
SIZE = (512, 512)
TABLES = ("csiq.dmos.xlsx", "csiq.beta.txt", "csiq.dmos.csv")  # in lower case
SHEET = "all_by_image"
LAYOUT = "CSIQ, a folder with src_imgs, dst_imgs and csiq.DMOS.xlsx or csiq.beta.txt"


@dataclass(frozen=True)
class _Row:
    picture: str  # in lower case; 1600 is a name
    kind: str  # a key of TYPES
    level: int
    deviation: float | None
    dmos: float

    @property
    def stem(self) -> str:
        return f"{self.picture}.{self.kind}.{self.level}"


def read(path: Path) -> Dataset:
    """Read the table of CSIQ and compare it with the files.

    Args:
        path: The folder of the data set, or one up to two levels away.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(path, lambda folder: _table(folder) is not None and child(folder, "src_imgs").is_dir(), LAYOUT)
    rows = _rows(_table(root) or root)
    references = listing(child(root, "src_imgs"), (".png",), by_stem=True)
    folders = [listing(f, (".png",), by_stem=True) for f in subfolders(child(root, "dst_imgs"))]
    distorted = {stem: file for folder in folders for stem, file in folder.files.items()}
    here = [row for row in rows if row.picture in references.files and row.stem in distorted]
    records = [_record(row, references.files[row.picture], distorted[row.stem]) for row in here]
    found = Counter(name for record in records for name in ("", *record.subsets))
    stems = Counter(row.stem for row in rows)
    return Dataset(
        name="csiq",
        kind="opinion",
        root=root,
        rows=tuple(sorted(records, key=lambda record: record.key)),
        higher_is_better=False,
        findings=(
            *(found for folder in (references, *folders) for found in folder.findings()),
            *finding("error", "pictures are listed more than once", [s for s, c in stems.items() if c > 1]),
            *range_findings({row.stem: row.dmos for row in rows}, *DMOS, "DMOS"),
            *finding("missing", "reference pictures are missing", {r.picture for r in rows} - set(references.files)),
            *finding("missing", "distorted pictures are missing", set(stems) - set(distorted)),
            *finding("warning", "distorted pictures have no score", set(distorted) - set(stems)),
            *count_findings(EXPECTED, found),
        ),
        expected=EXPECTED,
        found=found,
        picture_size=SIZE,
    )


def _record(row: _Row, reference: Path, distorted: Path) -> OpinionRecord:
    return OpinionRecord(
        key=row.stem,
        group=row.picture,
        subsets=(row.kind,),
        distortion=TYPES[row.kind],
        level=row.level,
        reference=reference,
        distorted=distorted,
        score=row.dmos,
        score_error=standard_error(row.deviation, PEOPLE),
    )


def _table(folder: Path) -> Path | None:
    return next((path for name in TABLES if (path := child(folder, name)).is_file()), None)


def _rows(path: Path) -> list[_Row]:
    """The rows of the spreadsheet or of an export: picture, number of type, type, level, deviation, DMOS."""
    if path.suffix.lower() == ".xlsx":
        lines = [[cell for cell in cells if cell] for cells in read_xlsx(path, SHEET)]
    else:
        lines = [_split(line) for line in text_lines(path)]
    rows = []
    for at, cells in enumerate(lines, start=1):
        row = _row(cells)
        if row is not None:
            rows.append(row)
        elif rows and cells:
            raise ManifestError(f"{path}, line {at}: expected '1600 1 noise 1 0.05 0.06', got {' '.join(cells)[:60]!r}")
    if not rows:
        raise ManifestError(f"{path} has no rows of picture, number of type, type, level, deviation and DMOS")
    return rows


def _split(line: str) -> list[str]:
    separator = next((mark for mark in "\t;," if mark in line), None)
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _row(cells: list[str]) -> _Row | None:
    """One row; None for headings and the like. "jpeg 2000" may stand in two cells."""
    if len(cells) < 6:
        return None
    picture, *kind, level, deviation, dmos = cells[0], *cells[2:-3], *cells[-3:]
    name = "".join(kind).lower().replace(" ", "")
    name = "awgn" if name == "noise" else name
    number_of_level, value = whole(level), number(dmos)
    if name not in TYPES or number_of_level is None or value is None:
        return None
    return _Row(picture.lower().removesuffix(".0"), name, number_of_level, number(deviation), value)
