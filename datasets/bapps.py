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

PROTOCOL_SIDE = 64  # the original evaluation resizes to this, bilinear
LARGEST_LABEL = 4096  # bytes; a label is one number
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".npy")
LAYOUT = "BAPPS, such as dataset/2afc/val/traditional with the folders {parts}"


@dataclass(frozen=True)
class _Half:
    """What a part of the data set has to be."""

    name: str
    kind: Kind
    parts: tuple[str, ...]  # folders of a category, the labels last
    pairs: tuple[tuple[str, str], ...]  # of parts
    people: int  # votes for each row
    expected: Mapping[str, int | None]


_VAL = {"traditional": 4720, "cnn": 4720, "superres": 10856, "deblur": 9440, "color": 4720, "frameinterp": 1888}
_TRIPLET, _CHOICE = ("ref", "p0", "p1", "judge"), (("ref", "p0"), ("ref", "p1"))
_HALVES = {
    "2afc/val": _Half("bapps-2afc", "two_afc", _TRIPLET, _CHOICE, 5, {"": sum(_VAL.values()), **_VAL}),
    "2afc/train": _Half(
        "bapps-2afc-train", "two_afc", _TRIPLET, _CHOICE, 2, dict.fromkeys(("traditional", "cnn", "mix"))
    ),
    "jnd/val": _Half(
        "bapps-jnd", "jnd", ("p0", "p1", "same"), (("p0", "p1"),), 3, dict.fromkeys(("traditional", "cnn"))
    ),
}


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
    root, categories, findings = _read(path, f"2afc/{split}")
    inside = "2afc/train" if "train" in (root.name, root.parent.name) else f"2afc/{split}"
    return _dataset(inside, root, categories, findings)


def read_jnd(path: Path) -> Dataset:
    """Read the judgements of whether two patches look the same.

    Args:
        path: The folder that holds `jnd`, or `jnd`, its split, or a single category.

    Raises:
        ManifestError: if there are none.
    """
    return _dataset("jnd/val", *_read(path, "jnd/val"))


def _dataset(inside: str, root: Path, categories: list[_Category], findings: tuple[Finding, ...]) -> Dataset:
    half = _HALVES[inside]
    records = [
        Record(
            key=f"{inside}/{category.name}/{stem}",
            group=f"{inside}/{category.name}/{stem}",  # sources are not published
            pairs=tuple((category.parts[a].files[stem], category.parts[b].files[stem]) for a, b in half.pairs),
            value=category.labels[stem],
            subsets=(category.name,),
            people=half.people,
        )
        for category in categories
        for stem in category.whole()
    ]
    found = Counter(subset for record in records for subset in ("", *record.subsets))
    return Dataset(
        name=half.name,
        kind=half.kind,
        root=root,
        rows=tuple(records),
        findings=(*findings, *_vote_findings(categories, half.people), *count_findings(half.expected, found)),
        expected=half.expected,
        found=found,
        protocol_side=PROTOCOL_SIDE,
    )


def holds(path: Path, inside: str) -> bool:
    """Whether a folder holds "2afc/val", "2afc/train" or "jnd/val"."""
    return any(_categories(folder, _HALVES[inside].parts) for folder in _roots(path, inside))


def _read(path: Path, inside: str) -> tuple[Path, list[_Category], tuple[Finding, ...]]:
    """The folder of the categories, the categories, and what is wrong with them."""
    parts = _HALVES[inside].parts
    for root in _roots(path, inside):
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


def _roots(path: Path, inside: str) -> list[Path]:
    """Where the categories may be, the likeliest first: at the folder, below it, or above it."""
    below = [path, path / Path(inside).name, path / inside, path / "dataset" / inside]
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
