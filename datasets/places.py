"""Finding the pictures that a table names, however their names are spelled, and telling which are one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pim.datasets.dataset import Finding, finding
from pim.datasets.folder import Listing, folded, listing, subfolders


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
            *finding("note", "names are spelled in another case than their files", self._respelled),
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
