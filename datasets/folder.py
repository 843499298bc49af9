"""Finding a data set on disk, and its files however their names are spelled."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pim.core.files import is_hidden
from pim.datasets.dataset import Finding, ManifestError, finding
from pim.errors import os_errors_as

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
    for path in _entries(folder, lambda entry: entry.is_file()):
        if kept and path.suffix.lower() not in kept:
            continue
        name = folded(path.stem if by_stem else path.name)
        if name in files:
            clashes.append(f"{files[name].name} and {path.name}")
        else:
            files[name] = path
    return Listing(folder, files, tuple(clashes))


def subfolders(folder: Path) -> list[Path]:
    """The folders inside a folder, by name; hidden ones are left out. One that does not exist counts as empty."""
    return _entries(folder, lambda entry: entry.is_dir())


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    with os_errors_as(ManifestError, f"cannot list {folder}"), suppress(FileNotFoundError), os.scandir(folder) as found:
        return [folder / name for name in sorted(e.name for e in found if not is_hidden(e.name) and wanted(e))]
    return []


def child(folder: Path, name: str) -> Path:
    """The entry of that name, whatever its case; the path as given if there is none."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    found = sorted(entry for entry in os.listdir(folder) if folded(entry) == folded(name))
    return folder / found[0] if found else exact


def find_root(path: Path, looks_right: Callable[[Path], bool], what: str) -> Path:
    """Find the root of a data set, the folder that looks right, at the given one or up to two levels away.

    Raises:
        ManifestError: saying what was found and what was expected, which `what` describes.
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


class Places:
    """Looks names up in one folder after the other and remembers what it found and missed."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._known: dict[str, Path | None] = {}
        self._first: dict[str, str] = {}  # name -> the first name of the same file
        self._files: dict[tuple[int, int], str] = {}  # of a file -> its first name
        self._listings: dict[Path, Listing] = {}
        self._folders: dict[Path, dict[str, Path]] = {}
        self._respelled: set[str] = set()

    def find(self, name: str) -> Path | None:
        """The file of that name, relative to one of the roots; None if there is none.

        Case, Unicode normal form and the direction of slashes do not matter where no file is spelled like that.
        """
        if name not in self._known:
            exact = (path for root in self.roots if name and _is_file(path := root / name))
            found = next(exact, None) or (self._respelling(name) if name else None)
            self._known[name] = found
            self._first[name] = name if found is None else self._files.setdefault(identity(found), name)
        return self._known[name]

    def one_name(self, name: str) -> str:
        """The same for all names of one file: that by which it was found first."""
        self.find(name)
        return self._first[name]

    def findings(self) -> tuple[Finding, ...]:
        """What could not be found, what was found under another spelling, and what has several names."""
        missing = {name or "(no name)" for name, path in self._known.items() if path is None}
        clashes = [found for inside in self._listings.values() for found in inside.findings()]
        doubled = [f"{name} is {first}" for name, first in self._first.items() if name != first]
        return (
            *finding("missing", "pictures are missing in " + " and ".join(map(str, self.roots)), missing),
            *(clashes if self._respelled else ()),
            *finding("note", "names are spelled otherwise than their files (case, accents, slashes)", self._respelled),
            *finding("note", "names are of one file and count as one", doubled),
        )

    def _respelling(self, name: str) -> Path | None:
        *folders, last = Path(name.replace("\\", "/")).parts or ("",)
        for root in self.roots:
            folder: Path | None = root
            for part in folders:
                folder = None if folder is None else self._inside(folder, part)
            if folder is None:
                continue
            if folder not in self._listings:
                self._listings[folder] = listing(folder)
            if path := self._listings[folder].files.get(folded(last)):
                self._respelled.add(name)
                return path
        return None

    def _inside(self, folder: Path, name: str) -> Path | None:
        """The folder of that name in a folder."""
        if name == ".." or os.path.isabs(name) or (folder / name).is_dir():
            return folder / name
        if folder not in self._folders:
            there = subfolders(folder) if folder.is_dir() else []
            self._folders[folder] = {folded(inner.name): inner for inner in there}
        return self._folders[folder].get(folded(name))


def identity(path: Path) -> tuple[int, int]:
    """What a file is, whatever it is called: links to it, and other spellings, are the same."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a character that no name has
        return False
