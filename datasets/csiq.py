"""CSIQ: 30 pictures, 6 distortions, 4 or 5 levels, mean differential opinions.

Source: Larson, Chandler, Most apparent distortion (Journal of Electronic Imaging 19, 2010).
"""

from __future__ import annotations

from pathlib import Path

from pim.datasets.dataset import Dataset, ManifestError, Record, standard_error
from pim.datasets.folder import child, find_root, listing, subfolders
from pim.datasets.numerals import number, whole
from pim.datasets.opinions import Rating, opinion_set, text_lines
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


def read(path: Path) -> Dataset:
    """Read the table of CSIQ, in a folder or up to two levels away, and compare it with the files.

    Raises:
        ManifestError: if it is another data set, or its table cannot be understood.
    """
    root = find_root(path, lambda folder: _table(folder) is not None and child(folder, "src_imgs").is_dir(), LAYOUT)
    references = listing(child(root, "src_imgs"), (".png",), by_stem=True)
    folders = [listing(folder, (".png",), by_stem=True) for folder in subfolders(child(root, "dst_imgs"))]
    return opinion_set(
        "csiq",
        root,
        sorted(_ratings(_table(root) or root), key=lambda rating: rating.record.key),
        references.files,
        {stem: file for folder in folders for stem, file in folder.files.items()},
        score="DMOS",
        limits=DMOS,
        higher_is_better=False,
        expected=EXPECTED,
        findings=[found for folder in (references, *folders) for found in folder.findings()],
        picture_size=SIZE,
    )


def _table(folder: Path) -> Path | None:
    return next((path for name in TABLES if (path := child(folder, name)).is_file()), None)


def _ratings(path: Path) -> list[Rating]:
    """The rows of the spreadsheet or of an export: picture, number of type, type, level, deviation, DMOS."""
    if path.suffix.lower() == ".xlsx":
        lines = [[cell for cell in cells if cell] for cells in read_xlsx(path, SHEET)]
    else:
        lines = [_split(line) for line in text_lines(path)]
    rows = []
    for at, cells in enumerate(lines, start=1):
        row = _rating(cells)
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


def _rating(cells: list[str]) -> Rating | None:
    """One row; None for headings and the like. "jpeg 2000" may stand in two cells."""
    if len(cells) < 6:
        return None
    *kind, level, deviation, dmos = cells[2:]
    picture = cells[0].lower().removesuffix(".0")  # 1600 is a name
    name = "".join(kind).lower().replace(" ", "")
    name = "awgn" if name == "noise" else name
    number_of_level, value = whole(level), number(dmos)
    if name not in TYPES or number_of_level is None or value is None:
        return None
    stem = f"{picture}.{name}.{number_of_level}"
    record = Record(
        key=stem,
        group=picture,
        value=value,
        subsets=(name,),
        distortion=TYPES[name],
        level=number_of_level,
        deviation=standard_error(number(deviation), PEOPLE),
    )
    return Rating(picture, stem, record)
