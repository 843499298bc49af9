"""PIPAL: 250 small pictures, 116 distortions with many outputs of networks, Elo scores.

Source: Gu et al., PIPAL: a Large-Scale Image Quality Assessment Dataset for Perceptual Image
Restoration (arXiv 2007.12142).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pim.datasets.dataset import Dataset, ManifestError, count_findings, finding
from pim.datasets.folder import find_root, listing, subfolders
from pim.datasets.labels import range_findings, text_lines
from pim.datasets.numerals import number
from pim.datasets.records import OpinionRecord

EXPECTED = {"train": 23200, "val": 1000}
ELO = (500.0, 2500.0)  # met are 916.7 to 1836.0
SIZE = (288, 288)
LAYOUT = "PIPAL, a folder with Train_Ref, Train_Label and folders of distorted pictures such as Train_Dist"

_NAME = re.compile(r"(a\d{4})_(\d\d)_(\d\d)\.bmp")


def read(path: Path) -> Dataset:
    """Read the labels of PIPAL and compare them with the files.

    The split is the one that the folder holds; for both, name the folder of one.

    Args:
        path: The folder of the data set, or one up to two levels away.

    Raises:
        ManifestError: if it is another data set, or a label cannot be understood.
    """
    root = find_root(path, lambda folder: bool(_folders(folder, "_label")), LAYOUT)
    labels = _folders(root, "_label")
    if len(labels) > 1:
        raise ManifestError(
            f"{root} holds several splits; name a folder with one of {labels[0].name}, {labels[1].name}"
        )
    split = labels[0].name.lower().split("_")[0]
    scores = list(_scores(labels[0]))
    references = [listing(folder) for folder in _folders(root, "_ref")]
    inner = [folder for outer in subfolders(root) if outer not in labels for folder in (outer, *subfolders(outer))]
    distorted = [listing(folder, (".bmp",)) for folder in inner if not folder.name.lower().endswith("_ref")]
    clean = {name: file for folder in references for name, file in folder.files.items()}
    files = {name: file for folder in distorted for name, file in folder.files.items()}
    records = [
        _record(name, score, clean[f"{name[:5]}.bmp"], files[name])
        for name, score in sorted(scores)
        if name in files and f"{name[:5]}.bmp" in clean
    ]
    names = Counter(name for name, _ in scores)
    expected = {"": EXPECTED.get(split)}
    found = {"": len(records)}
    return Dataset(
        name="pipal",
        kind="opinion",
        root=root,
        rows=tuple(records),
        higher_is_better=True,
        findings=(
            *(found for folder in (*references, *distorted) for found in folder.findings()),
            *finding("error", "pictures are scored more than once", [n for n, c in names.items() if c > 1]),
            *range_findings(dict(scores), *ELO, "Elo"),
            *finding("missing", "reference pictures are missing", {f"{n[:5]}.bmp" for n in names} - set(clean)),
            *finding("missing", "distorted pictures are missing", set(names) - set(files)),
            *finding("warning", "distorted pictures have no score", set(files) - set(names)),
            *count_findings(expected, found),
        ),
        expected=expected,
        found=found,
        picture_size=SIZE,
    )


def _folders(folder: Path, ending: str) -> list[Path]:
    return [inner for inner in subfolders(folder) if inner.name.lower().endswith(ending)]


def _scores(folder: Path) -> Iterator[tuple[str, float]]:
    """Names in lower case and scores, from all files of labels."""
    for path in listing(folder, (".txt",)).files.values():
        for at, line in enumerate(text_lines(path), start=1):
            name, _, score = line.partition(",")
            value = number(score)
            if value is None or _NAME.fullmatch(name.strip().lower()) is None:
                raise ManifestError(f"{path}, line {at}: expected 'A0001_00_00.bmp,1450.1', got {line[:60]!r}")
            yield name.strip().lower(), value


def _record(name: str, score: float, reference: Path, distorted: Path) -> OpinionRecord:
    picture, kind, level = name.removesuffix(".bmp").split("_")
    return OpinionRecord(
        key=name.removesuffix(".bmp"),
        group=picture,
        subsets=(f"type {kind}",),
        distortion=f"type {kind}",
        level=int(level),
        reference=reference,
        distorted=distorted,
        score=score,
    )
