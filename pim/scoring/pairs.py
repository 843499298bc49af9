"""Which images belong together: from two folders, from a table, or as typed."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pim.errors import InputError, UsageError

if TYPE_CHECKING:
    from pim.scoring.pictures import Picture

STDIN = "-"
SHOWN = 5  # names that an error lists
COLUMNS = ("reference", "distorted")
WRITTEN = ("metric", "value", "lower_is_better", "resized_from")  # columns of the output of pim score

# Also the kinds that the opener refuses: they must fail by name, not be missing from the table.
ENDINGS = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dds", ".dib", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k"),
        *(".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".jxl", ".pbm", ".pcx", ".pfm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".psd", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)


@dataclass(frozen=True)
class Pair:
    """A reference and a distorted image: what they are called in the output, and where they are."""

    reference: str
    distorted: str
    reference_path: str
    distorted_path: str
    extra: dict[str, str] = field(default_factory=dict)  # further columns of a table of pairs

    def both(self) -> tuple[Picture, Picture]:
        """Reference and distorted picture."""
        from pim.scoring.pictures import FilePicture, StandardInput

        paths = (self.reference_path, self.distorted_path)
        first, second = (StandardInput() if path == STDIN else FilePicture(path) for path in paths)
        return first, second


@dataclass(frozen=True)
class Pairs:
    """Pairs in the order in which they are scored."""

    items: tuple[Pair, ...]
    skipped: int = 0  # names left out because they had no partner, or several
    ignored: tuple[str, ...] = ()  # files in the folders that no image is called like
    notes: tuple[str, ...] = ()  # of the reader of a table


def from_files(reference: str, distorted: Sequence[str]) -> Pairs:
    """Pair one reference with each of the distorted images; raises UsageError if stdin is asked for more than once."""
    if [reference, *distorted].count(STDIN) > 1:
        raise UsageError("only one image can come from stdin (-)")
    return Pairs(tuple(Pair(reference, name, reference, name) for name in distorted))


def from_folders(reference: str, distorted: str, allow_unmatched: bool = False) -> Pairs:
    """Pair images of two folders by name without extension, in any Unicode normal form, sorted by that name.

    Sub-folders and hidden files are not looked at; `allow_unmatched` skips and counts names that are not once in both.

    Raises:
        InputError: if a folder cannot be read or has no images, or names do not match one to one.
    """
    first, ignored_first = _images(reference)
    second, ignored_second = _images(distorted)
    names = sorted(first.keys() | second.keys())
    matched = [name for name in names if len(first.get(name, ())) == len(second.get(name, ())) == 1]
    problems = _mismatches(first, second, reference, distorted)
    if problems and not allow_unmatched:
        raise InputError("; ".join([*problems, "--allow-unmatched skips them"]))
    if not matched:
        raise InputError(f"no name is in both {reference} and {distorted}")
    files = [(os.path.join(reference, first[name][0]), os.path.join(distorted, second[name][0])) for name in matched]
    pairs = tuple(Pair(a, b, a, b) for a, b in files)
    return Pairs(pairs, len(names) - len(matched), (*ignored_first, *ignored_second))


def from_table(path: Path) -> Pairs:
    """Read the pairs of a table with the columns reference and distorted, relative to its folder; others are kept.

    Raises:
        InputError: if it cannot be read, or a column or cell is missing, with its line.
    """
    from pim.datasets.cells import read_rows
    from pim.datasets.folder import Places

    table = read_rows(path)
    table.require(COLUMNS)
    if taken := [name for name in table.columns if name in WRITTEN]:
        raise InputError(f"{path} has a column {taken[0]!r}, which the output also has; rename it")
    places = Places([path.parent])
    others = [(at, name) for at, name in enumerate(table.headings) if table.columns[at] not in COLUMNS]
    items = []
    for row, (line, cells) in zip(table.rows, table.records(), strict=True):
        for column in COLUMNS:
            if not cells[column]:
                raise InputError(f"{path}, line {line}: the column {column} is empty")
        first, second = (cells[column] for column in COLUMNS)
        where, what = (str(places.find(name) or path.parent / name) for name in (first, second))
        items.append(Pair(first, second, where, what, {name: row.cells[at] for at, name in others}))
    if not items:
        raise InputError(f"{path} has a header but no pairs")
    return Pairs(tuple(items), notes=table.notes)


def image_files(paths: Sequence[str]) -> list[str]:
    """List files, and the images of folders by name, not of sub-folders; raises InputError if a folder has none."""
    found = []
    for path in paths:
        if os.path.isdir(path):
            names = sorted(name for same in _images(path)[0].values() for name in same)
            found += [os.path.join(path, name) for name in names]
        else:
            found.append(path)
    return found


def _images(folder: str) -> tuple[dict[str, list[str]], list[str]]:
    """File names by name without extension, and the files that are not called like images."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    images, ignored = defaultdict(list), []
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in ENDINGS:
            images[unicodedata.normalize("NFC", stem)].append(name)
        else:
            ignored.append(os.path.join(folder, name))
    if not images:
        raise InputError(f"{folder} holds no images; its sub-folders are not searched")
    return images, ignored


def _mismatches(first: dict[str, list[str]], second: dict[str, list[str]], reference: str, distorted: str) -> list[str]:
    problems = []
    for names, folder in ((second.keys() - first.keys(), reference), (first.keys() - second.keys(), distorted)):
        if names:
            problems.append(f"{folder} lacks {_some(names)}")
    for images, folder in ((first, reference), (second, distorted)):
        doubled = {name for name, files in images.items() if len(files) > 1}
        if doubled:
            problems.append(f"{folder} has more than one file called {_some(doubled)}")
    return problems


def _some(names: set[str]) -> str:
    """The first few of some names, and how many more there are."""
    shown = ", ".join(repr(name) for name in sorted(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
