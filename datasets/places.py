"""Finding the pictures that a table names, where case does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pim.datasets.dataset import Finding, finding
from pim.datasets.folder import Listing, listing


class Places:
    """Looks names up in one folder after the other and remembers what it found and missed."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._known: dict[str, Path | None] = {}
        self._listings: dict[Path, Listing] = {}
        self._respelled: set[str] = set()

    def find(self, name: str) -> Path | None:
        """The file of that name, relative to one of the roots; None if there is none."""
        if name not in self._known:
            exact = (path for root in self.roots if name and (path := root / name).is_file())
            self._known[name] = next(exact, None) or self._in_other_case(name)
        return self._known[name]

    def findings(self) -> tuple[Finding, ...]:
        """What could not be found, and what was found under another spelling."""
        missing = {name or "(no name)" for name, path in self._known.items() if path is None}
        clashes = [found for inside in self._listings.values() for found in inside.findings()]
        return (
            *finding("missing", "pictures are missing in " + " and ".join(map(str, self.roots)), missing),
            *(clashes if self._respelled else ()),
            *finding("note", "names are spelled in another case than their files", self._respelled),
        )

    def _in_other_case(self, name: str) -> Path | None:
        for root in self.roots:
            folder = (root / name).parent
            if folder not in self._listings:
                self._listings[folder] = listing(folder)
            path = self._listings[folder].files.get(Path(name).name.lower())
            if path is not None:
                self._respelled.add(name)
                return path
        return None
