"""Tables as people, spreadsheets and programs write them: the one reader of CSV and TSV."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pim.datasets.numerals import Numbers, numbers
from pim.errors import InputError, lacking

SEPARATORS = "\t;,|"
LARGEST = 1 << 30  # bytes of text, however well it is compressed
_BLANK = " \t\u00a0\u200b\ufeff"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TEXT_MARK = re.compile(r"^'(?=[=+\-@])")  # what keeps spreadsheets from taking a cell for a formula
_INDEX = re.compile(r"(unnamed:_?\d+(_level_\d+)?(\.\d+)?)?")  # pandas names a column without a name like this


@dataclass(frozen=True)
class Row:
    """A row with where it begins."""

    line: int  # of the file, from 1
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """A table with a heading: every cell a text without blanks at its ends."""

    path: Path
    columns: tuple[str, ...]  # in lower case, blanks inside as _
    headings: tuple[str, ...]  # the same as they are written
    rows: tuple[Row, ...]
    separator: str
    notes: tuple[str, ...] = ()  # worth telling

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, names: Iterable[str]) -> None:
        """Check that these columns are there.

        Raises:
            InputError: if one is not.
        """
        for name in names:
            if name not in self.columns:
                raise InputError(f"{self.path} has no column {name!r}; {lacking(name, self.columns)}")

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        at = self.columns.index(name)
        return [row.cells[at] for row in self.rows]

    def numbers(self, name: str) -> Numbers:
        """The numbers of a column; of one that is not there none."""
        if name not in self.columns:
            return Numbers((None,) * len(self), frozenset())
        return numbers(self.column(name), self.separator)

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """The line of every row, and its cells by column."""
        return ((row.line, dict(zip(self.columns, row.cells, strict=True))) for row in self.rows)


def read_rows(path: Path) -> Rows:
    """Read a table with a heading.

    Understood are UTF-8, UTF-16, UTF-32 and Windows-1252, gzip, any line ends, cells in quotes that hold separators or
    line ends, and cells separated by tabs, semicolons, commas or bars. Columns without a heading, such as the index
    that pandas writes, are left out; short rows end in empty cells, as spreadsheets write them.

    Raises:
        InputError: if it cannot be read, is no table, has a row that is too long or names a column twice.
    """
    text, notes = decoded(path)
    separator, text, skipped = _separator(text)
    found = _records(path, text, separator, skipped)
    if not found:
        raise InputError(f"{path} is empty")
    heading, body = found[0], found[1:]
    names = [_name(cell) for cell in heading.cells]
    kept = [at for at, name in enumerate(names) if not _INDEX.fullmatch(name)]
    if repeated := sorted({names[at] for at in kept if names.count(names[at]) > 1}):
        raise InputError(f"{path} has two columns called {repeated[0]!r}")
    rows = [Row(row.line, _fitted(path, row, len(names))) for row in body]
    notes += _nameless(path, rows, [at for at in range(len(names)) if at not in kept])
    return Rows(
        path,
        tuple(names[at] for at in kept),
        tuple(heading.cells[at].strip(_BLANK) for at in kept),
        tuple(Row(row.line, tuple(row.cells[at] for at in kept)) for row in rows),
        separator,
        notes,
    )


def decoded(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and a note if its encoding had to be guessed.

    Raises:
        InputError: if it cannot be read or is no text.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if len(content) > LARGEST:
        raise InputError(f"{path} holds more than {LARGEST >> 30} GiB of text")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), _unmarked(content))
    try:
        text, notes = content.decode(encoding), ()
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(f"{path} is no text in {encoding}: {error.reason} at byte {error.start}") from error
        text = content.decode("cp1252", "replace")
        return _checked(path, text), (f"{path.name} is not UTF-8 and was read as Windows-1252 (Latin-1)",)
    return _checked(path, text), notes


def _unmarked(content: bytes) -> str:
    """UTF-16 without its mark has a zero in every second byte of plain letters."""
    even, odd = content[:400:2], content[1:400:2]
    if odd and odd.count(0) > len(odd) // 2 and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if odd and even.count(0) > len(even) // 2 and not odd.count(0) else "utf-8"


def _checked(path: Path, text: str) -> str:
    if "\0" in text or "\ufffd" in text[:4096]:
        raise InputError(f"{path} is not a text; save the table as CSV or TSV")
    if text.lstrip(_BLANK + "\r\n").startswith(("{", "[{")):
        raise InputError(f"{path} is JSON and no table; save the table as CSV or TSV")
    return text.removeprefix("\ufeff")


def _separator(text: str) -> tuple[str, str, int]:
    """What separates cells, the text without the line in which a spreadsheet says so, and the lines left out."""
    skipped = 0
    if stated := re.match(r"\s*\"?sep=([^\r\n])\"?\r?\n?", text, re.IGNORECASE):
        return stated[1], text[stated.end() :], 1
    for line in io.StringIO(text, newline=""):
        if line.strip(_BLANK + "\r\n"):
            cells = {mark: len(next(csv.reader([line], delimiter=mark, skipinitialspace=True))) for mark in SEPARATORS}
            return (max(SEPARATORS, key=lambda mark: cells[mark]) if max(cells.values()) > 1 else ","), text, skipped
    return ",", text, skipped


def _records(path: Path, text: str, separator: str, skipped: int) -> list[Row]:
    """Every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    found, line = [], skipped + 1
    try:
        for cells in reader:
            stripped = tuple(_TEXT_MARK.sub("", cell.strip(_BLANK)) for cell in cells)
            if any(stripped):
                found.append(Row(line, stripped))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: its quotes do not match; one inside a cell is written twice, and the cell in quotes"
        ) from error
    return found


def _name(cell: str) -> str:
    return "_".join(unicodedata.normalize("NFC", cell).lower().split())


def _fitted(path: Path, row: Row, width: int) -> tuple[str, ...]:
    if any(row.cells[width:]):
        raise InputError(
            f"{path}, line {row.line}: {len(row.cells)} cells, the heading has {width}; put cells that hold the "
            "separator in quotes"
        )
    return (*row.cells, *("",) * (width - len(row.cells)))[:width]


def _nameless(path: Path, rows: list[Row], columns: list[int]) -> tuple[str, ...]:
    """A note about columns without a heading that hold more than the numbers of the rows."""
    for at in columns:
        cells = [row.cells[at] for row in rows]
        if any(cells) and not all(cell.isdigit() or not cell for cell in cells):
            return (f"{path.name} has a column without a heading, which is not read",)
    return ()
