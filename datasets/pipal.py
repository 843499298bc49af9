"""PIPAL: 250 small pictures, 116 distortions with many outputs of networks, Elo scores.

Source: Gu et al., PIPAL: a Large-Scale Image Quality Assessment Dataset for Perceptual Image
Restoration (arXiv 2007.12142).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pim.datasets.dataset import Dataset, ManifestError, Record
from pim.datasets.folder import find_root, listing, subfolders
from pim.datasets.numerals import number
from pim.datasets.opinions import Rating, opinion_set, text_lines

EXPECTED = {"train": 23200, "val": 1000}
ELO = (500.0, 2500.0)  # met are 916.7 to 1836.0
SIZE = (288, 288)
LAYOUT = "PIPAL, a folder with Train_Ref, Train_Label and folders of distorted pictures such as Train_Dist"

_NAME = re.compile(r"(a\d{4})_(\d\d)_(\d\d)\.bmp")


def read(path: Path) -> Dataset:
    """Read the labels of PIPAL, in a folder or up to two levels away, and compare them with the files.

    The split is the one that the folder holds; for both, name the folder of one.

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
    references = [listing(folder) for folder in _folders(root, "_ref")]
    inner = [folder for outer in subfolders(root) if outer not in labels for folder in (outer, *subfolders(outer))]
    distorted = [listing(folder, (".bmp",)) for folder in inner if not folder.name.lower().endswith("_ref")]
    return opinion_set(
        "pipal",
        root,
        sorted(_ratings(labels[0]), key=lambda rating: rating.record.key),
        {name: file for folder in references for name, file in folder.files.items()},
        {name: file for folder in distorted for name, file in folder.files.items()},
        score="Elo",
        limits=ELO,
        higher_is_better=True,
        expected={"": EXPECTED.get(split)},
        findings=[found for folder in (*references, *distorted) for found in folder.findings()],
        picture_size=SIZE,
    )


def _folders(folder: Path, ending: str) -> list[Path]:
    return [inner for inner in subfolders(folder) if inner.name.lower().endswith(ending)]


def _ratings(folder: Path) -> Iterator[Rating]:
    """What all files of labels say."""
    for path in listing(folder, (".txt",)).files.values():
        for at, line in enumerate(text_lines(path), start=1):
            written, _, score = line.partition(",")
            name, value = written.strip().lower(), number(score)
            match = _NAME.fullmatch(name)
            if value is None or match is None:
                raise ManifestError(f"{path}, line {at}: expected 'A0001_00_00.bmp,1450.1', got {line[:60]!r}")
            picture, kind, level = match.groups()
            record = Record(
                key=name.removesuffix(".bmp"),
                group=picture,
                value=value,
                subsets=(f"type {kind}",),
                distortion=f"type {kind}",
                level=int(level),
            )
            yield Rating(f"{picture}.bmp", name, record)
