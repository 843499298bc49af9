"""Finding a data set on disk, and its files whatever the case of their names."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pim.datasets.dataset import Finding, ManifestError, finding

UP, DOWN = 2, 2  # folders between the given one and the root, at most


def folded(name: str) -> str:
    """A name as it is compared: case and Unicode normal form aside.

    >>> folded("CAFE\u0301.png") == folded("caf\u00e9.PNG")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@dataclass(frozen=True)
class Listing:
    """The files of a folder by their folded names."""

    folder: Path
    files: dict[str, Path]
    clashes: tuple[str, ...]  # files whose names differ in case only, or would be mistaken for each other

    def findings(self) -> tuple[Finding, ...]:
        """An error if names clash."""
        return finding("error", f"names in {self.folder.name} differ in case only", self.clashes)


def listing(folder: Path, suffixes: Iterable[str] = (), by_stem: bool = False) -> Listing:
    """The files of one folder; hidden ones are left out.

    Args:
        folder: One that does not exist counts as empty.
        suffixes: Endings to keep, in lower case with their dot; none keeps all.
        by_stem: Leave the ending out of the names.
    """
    kept = tuple(suffixes)
    files: dict[str, Path] = {}
    clashes: list[str] = []
    for path in _sorted_files(folder):
        if kept and path.suffix.lower() not in kept:
            continue
        name = folded(path.stem if by_stem else path.name)
        if name in files:
            clashes.append(f"{files[name].name} and {path.name}")
        else:
            files[name] = path
    return Listing(folder, files, tuple(clashes))


def _sorted_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ManifestError(f"cannot list {folder}: {error.strerror or error}") from error
    return [folder / name for name in names]


def subfolders(folder: Path) -> list[Path]:
    """The folders inside a folder, by name; hidden ones are left out."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as error:
        raise ManifestError(f"cannot list {folder}: {error.strerror or error}") from error
    return [folder / name for name in names]


def child(folder: Path, name: str) -> Path:
    """The entry of that name, whatever its case; the path as given if there is none."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    found = sorted(entry for entry in os.listdir(folder) if folded(entry) == folded(name))
    return folder / found[0] if found else exact


def find_root(path: Path, looks_right: Callable[[Path], bool], what: str) -> Path:
    """The root of a data set, at the given folder or up to two levels away.

    Args:
        path: Where the user says the data set is.
        looks_right: Whether a folder is the root.
        what: The data set and what its root holds, for the message.

    Raises:
        ManifestError: saying what was found and what was expected.
    """
    if not path.is_dir():
        raise ManifestError(f"{path} is not a folder; expected {what}")
    if looks_right(path):
        return path
    below = [folder for folder in _below(path, DOWN) if looks_right(folder)]
    if len(below) > 1:
        raise ManifestError(f"{path} holds more than one: {below[0]} and {below[1]}; name one of them")
    above = [folder for folder in list(path.resolve().parents)[:UP] if looks_right(folder)]
    if not below and not above:
        raise ManifestError(f"{path} holds {_contents(path)}; expected {what}")
    return (below or above)[0]


def _below(folder: Path, levels: int) -> Iterator[Path]:
    layer = [folder]
    for _ in range(levels):
        layer = [inner for outer in layer for inner in subfolders(outer)]
        yield from layer


def _contents(folder: Path) -> str:
    names = sorted(os.listdir(folder))
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more entries" if len(names) > 6 else "")
