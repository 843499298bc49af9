"""Which sources are to be held out, as somebody wrote it down in a `manifest.csv` beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pim.datasets.cells import read_rows
from pim.datasets.folder import folded
from pim.errors import InputError

MANIFEST = "manifest.csv"
SPLITS = ("train", "valid", "")


def read_splits(folder: Path, there: Sequence[Path]) -> dict[Path, str]:
    """The splits (train, valid, or "" for none) that the manifest of a folder gives to files below it.

    A name is a path from the folder, with or without its ending, or a folder whose files it stands for. Case, Unicode
    normal form and the direction of slashes do not matter.

    Args:
        folder: It may have a `manifest.csv` with the columns file and split.
        there: The files that can be named.

    Raises:
        InputError: if the manifest says something that is not understood, or of something that is not there.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    table = read_rows(path)
    table.require(("file", "split"))
    names = {file: _spellings(file, folder) for file in there}
    splits: dict[Path, str] = {}
    for line, row in table.records():
        split, where = row["split"].casefold(), f"{path}, line {line}"
        if split not in SPLITS:
            raise InputError(f"{where}: column split must be train or valid; got {row['split']!r}")
        matches = _matches(row["file"], names)
        if not matches:
            raise InputError(f"{where}: {row['file']!r} is no video or picture in {folder}")
        for match in matches:
            if splits.setdefault(match, split) != split:
                raise InputError(f"{where}: {row['file']!r} is both {splits[match] or 'without split'} and {split}")
    return splits


def _spellings(path: Path, folder: Path) -> tuple[str, ...]:
    """What a file may be called: its path from the folder first, then without its ending, and the folders above it."""
    name = PurePosixPath(folded(path.relative_to(folder).as_posix()))
    return (str(name), str(name.with_suffix("")), *(str(above) for above in name.parents if str(above) != "."))


def _matches(name: str, there: Mapping[Path, tuple[str, ...]]) -> list[Path]:
    wanted = str(PurePosixPath(folded(name.replace("\\", "/"))))
    exact = [path for path, names in there.items() if names[0] == wanted]
    return exact or [path for path, names in there.items() if wanted in names]
