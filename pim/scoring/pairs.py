"""Which images belong together: from a table, or as typed; those of folders see `pim.scoring.folders`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pim.errors import InputError, UsageError

if TYPE_CHECKING:
    from pim.scoring.pictures import Picture

STDIN = "-"
SHOWN = 5  # names that an error lists
COLUMNS = ("reference", "distorted")
WRITTEN = ("metric", "value", "lower_is_better", "resized_from", "error")  # columns of the output of pim score


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
    notes: tuple[str, ...] = ()  # of what read them
    columns: tuple[str, ...] | None = None  # further ones, of a table or of folders; None: files as typed
    folders: bool = False  # whether these are pictures and candidates, as `pim.scoring.folders` names them


def from_files(reference: str, distorted: Sequence[str]) -> Pairs:
    """Pair one reference with each of the distorted images; raises UsageError if stdin is asked for more than once."""
    if [reference, *distorted].count(STDIN) > 1:
        raise UsageError("only one image can come from stdin (-)")
    return Pairs(tuple(Pair(reference, name, reference, name) for name in distorted))


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
            if cells[column] in ("", STDIN):
                raise InputError(f"{path}, line {line}: the column {column} is empty")
        first, second = (cells[column] for column in COLUMNS)
        where, what = (str(places.find(name) or path.parent / name) for name in (first, second))
        items.append(Pair(first, second, where, what, {name: row.cells[at] for at, name in others}))
    if not items:
        raise InputError(f"{path} has a header but no pairs")
    return Pairs(tuple(items), notes=table.notes, columns=tuple(name for _, name in others))


def some(names: Iterable[str]) -> str:
    """Name the first few, and say how many more there are."""
    names = sorted(set(names))
    return ", ".join(map(repr, names[:SHOWN])) + more(names)


def more(names: Sequence[str]) -> str:
    """Say how many there are beyond the first few."""
    return f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
