"""BAPPS: patches judged in forced choices (2AFC) and by whether they look the same (JND).

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (arXiv
1801.03924). Deviation: the parts of a record are paired by name, not by their place in sorted lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pim.datasets.dataset import Dataset, Finding, Kind, ManifestError, Record, count_findings, finding
from pim.datasets.folder import Listing, listing, subfolders

Split = Literal["train", "val"]

VAL = {"traditional": 4720, "cnn": 4720, "superres": 10856, "deblur": 9440, "color": 4720, "frameinterp": 1888}
EXPECTED_2AFC: dict[Split, Mapping[str, int | None]] = {
    "val": {"": sum(VAL.values()), **VAL},
    "train": {"traditional": None, "cnn": None, "mix": None},
}
EXPECTED_JND: Mapping[str, int | None] = {"traditional": None, "cnn": None}
PEOPLE: dict[Split, int] = {"train": 2, "val": 5}  # votes for each triplet
PEOPLE_JND = 3
PROTOCOL_SIDE = 64  # the original evaluation resizes to this, bilinear
LARGEST_LABEL = 4096  # bytes; a label is one number
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".npy")

PARTS_2AFC = ("ref", "p0", "p1", "judge")
PARTS_JND = ("p0", "p1", "same")
LAYOUT = "BAPPS, such as dataset/2afc/val/traditional with the folders {parts}"


@dataclass(frozen=True)
class _Category:
    name: str
    parts: dict[str, Listing]  # files by their stem
    labels: dict[str, float]

    def whole(self) -> list[str]:
        """The stems that every part has, with a label that can be read."""
        return sorted(set(self.labels).intersection(*(part.files for part in self.parts.values())))


def read_2afc(path: Path, split: Split = "val") -> Dataset:
    """Read the forced choices.

    Args:
        path: The folder that holds `2afc`, or `2afc`, a split, or a single category.
        split: Which half, where the folder holds both.

    Raises:
        ManifestError: if there are none.
    """
    root, categories, findings = _read(path, "2afc", split, PARTS_2AFC)
    split = "train" if root.name == "train" or root.parent.name == "train" else split
    return _dataset(
        "bapps-2afc" if split == "val" else "bapps-2afc-train",
        "two_afc",
        f"2afc/{split}",
        root,
        categories,
        findings,
        (("ref", "p0"), ("ref", "p1")),
        PEOPLE[split],
        EXPECTED_2AFC[split],
    )


def read_jnd(path: Path) -> Dataset:
    """Read the judgements of whether two patches look the same.

    Args:
        path: The folder that holds `jnd`, or `jnd`, its split, or a single category.

    Raises:
        ManifestError: if there are none.
    """
    root, categories, findings = _read(path, "jnd", "val", PARTS_JND)
    pairs = (("p0", "p1"),)
    return _dataset("bapps-jnd", "jnd", "jnd/val", root, categories, findings, pairs, PEOPLE_JND, EXPECTED_JND)


def _dataset(
    name: str,
    kind: Kind,
    prefix: str,
    root: Path,
    categories: list[_Category],
    findings: tuple[Finding, ...],
    pairs: tuple[tuple[str, str], ...],
    people: int,
    expected: Mapping[str, int | None],
) -> Dataset:
    """One half: records of these pairs of parts, with keys that begin with the prefix."""
    records = [
        Record(
            key=f"{prefix}/{category.name}/{stem}",
            group=f"{prefix}/{category.name}/{stem}",  # sources are not published
            pairs=tuple((category.parts[a].files[stem], category.parts[b].files[stem]) for a, b in pairs),
            value=category.labels[stem],
            subsets=(category.name,),
            people=people,
        )
        for category in categories
        for stem in category.whole()
    ]
    found = Counter(subset for record in records for subset in ("", *record.subsets))
    return Dataset(
        name=name,
        kind=kind,
        root=root,
        rows=tuple(records),
        findings=(*findings, *_vote_findings(categories, people), *count_findings(expected, found)),
        expected=expected,
        found=found,
        protocol_side=PROTOCOL_SIDE,
    )


def holds(path: Path, split: Split = "val") -> tuple[str, ...]:
    """Which halves of BAPPS a folder holds: "2afc", "jnd", both or neither."""
    parts = {"2afc": PARTS_2AFC, "jnd": PARTS_JND}
    return tuple(half for half in parts if any(_categories(f, parts[half]) for f in _roots(path, half, split)))


def _read(
    path: Path, half: str, split: str, parts: tuple[str, ...]
) -> tuple[Path, list[_Category], tuple[Finding, ...]]:
    """The folder of the categories, the categories, and what is wrong with them."""
    for root in _roots(path, half, split):
        folders = _categories(root, parts)
        if folders:
            break
    else:
        there = (
            ", ".join(folder.name for folder in subfolders(path)[:6]) if path.is_dir() else "nothing, it is no folder"
        )
        raise ManifestError(f"{path} holds {there or 'no folders'}; expected {LAYOUT.format(parts=', '.join(parts))}")
    findings: list[Finding] = []
    categories = []
    for folder in folders:
        category, more = _category(folder, parts)
        categories.append(category)
        findings += more
    return root, categories, tuple(findings)


def _roots(path: Path, half: str, split: str) -> list[Path]:
    """Where the categories may be, the likeliest first: at the folder, below it, or above it."""
    below = [path, path / split, path / half / split, path / "dataset" / half / split]
    return [*below, *list(path.resolve().parents)[:2]]


def _categories(root: Path, parts: tuple[str, ...]) -> list[Path]:
    """The categories in a folder, or the folder itself if it is one."""
    if not root.is_dir():
        return []
    if _is_category(root, parts):
        return [root]
    return [folder for folder in subfolders(root) if _is_category(folder, parts)]


def _is_category(folder: Path, parts: tuple[str, ...]) -> bool:
    """Whether a folder has all parts but one at most; triplets and pairs are told apart by their labels."""
    there = {inner.name for inner in subfolders(folder)}
    foreign = {"judge", "ref"} if "same" in parts else {"same"}
    return len(there & set(parts)) >= len(parts) - 1 and not there & foreign


def _category(folder: Path, names: tuple[str, ...]) -> tuple[_Category, list[Finding]]:
    parts = {name: listing(folder / name, SUFFIXES, by_stem=True) for name in names}
    label = names[-1]
    labels: dict[str, float] = {}
    unusable: list[str] = []
    for stem, path in parts[label].files.items():
        value = read_label(path)
        if isinstance(value, float):
            labels[stem] = value
        else:
            unusable.append(f"{folder.name}/{label}/{path.name} ({value})")
    stems = set().union(*(part.files for part in parts.values()))
    findings = [found for part in parts.values() for found in part.findings()]
    findings += finding("error", f"files of {label} in {folder.name} cannot be used", unusable)
    if not stems:
        findings.append(Finding("error", f"the category {folder.name} is empty"))
    for name, part in parts.items():
        lacking = {f"{folder.name}/{name}/{stem}" for stem in stems - set(part.files)}
        findings += finding("missing", f"files are missing in {folder.name}/{name}", lacking)
    return _Category(folder.name, parts, labels), findings


def read_label(path: Path) -> float | str:
    """The share of votes in a .npy file, or what is wrong with it. Nothing in the file is ever executed."""
    try:
        if path.stat().st_size > LARGEST_LABEL:
            return f"has {path.stat().st_size} bytes, one number is expected"
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        return f"is no array of numbers: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if not isinstance(values, np.ndarray) or values.size != 1 or values.dtype.kind != "f":
        shape = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        return f"is {shape}, one floating-point number is expected"
    value = float(values.ravel()[0])
    return value if 0 <= value <= 1 else f"is {value:g}, a share from 0 to 1 is expected"


def _vote_findings(categories: list[_Category], people: int) -> tuple[Finding, ...]:
    odd = [
        f"{category.name}/{stem} ({value:g})"
        for category in categories
        for stem, value in category.labels.items()
        if abs(value * people - round(value * people)) > 1e-3
    ]
    return finding("warning", f"labels are no shares of {people} votes", odd)
