"""Tables in files of any kind: CSV, TSV and Parquet, and the cells of an .xlsx file."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from pim.datasets.cells import Row, Rows, read_rows
from pim.datasets.dataset import ManifestError
from pim.errors import InputError

LARGEST_PART = 32 << 20  # bytes of one file inside an .xlsx
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_PARTS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


def read_sheet(path: Path, columns: Iterable[str] = ()) -> Rows:
    """Read a table with a heading, as `pim.datasets.cells.read_rows` does; a name in .parquet is a Parquet file.

    Args:
        path: The table.
        columns: Those that must be there.

    Raises:
        ManifestError: if it cannot be read, is no table, names a column twice or lacks one.
    """
    try:
        found = _parquet(path) if path.suffix.lower() == ".parquet" else read_rows(path)
        found.require(columns)
    except InputError as error:
        raise ManifestError(str(error)) from error
    return found


def _parquet(path: Path) -> Rows:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        if any(table.index.names):
            table = table.reset_index()
    except ImportError as error:
        raise ManifestError(f"{path} needs the package pyarrow; install it, or save the table as CSV") from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    headings = tuple(map(str, table.columns))
    table.columns = ["_".join(heading.lower().split()) for heading in headings]
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise ManifestError(f"{path} has two columns called {repeated[0]!r}")
    texts = [list(map(_text, table[name])) for name in table.columns]
    rows = tuple(Row(line, cells) for line, cells in enumerate(zip(*texts, strict=True), start=2))  # 1: the heading
    return Rows(path, tuple(table.columns), headings, rows, ",")


def _text(cell: object) -> str:
    """A cell of a Parquet file; a number is read as the same number again."""
    import pandas as pd

    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    return "" if pd.api.types.is_scalar(cell) and pd.isna(cell) else str(cell).strip()


def read_xlsx(path: Path, sheet: str) -> list[list[str]]:
    """The cells of one sheet of an .xlsx file as text, row by row; empty cells are "".

    Raises:
        ManifestError: if it cannot be read or has no such sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            parts = {node.get("Id"): node.get("Target", "") for node in _part(book, "xl/_rels/workbook.xml.rels")}
            sheets = _part(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")
            places = {node.get("name", ""): parts.get(node.get(f"{_PARTS}id"), "") for node in sheets}
            if sheet not in places:
                raise ManifestError(f"{path} has no sheet {sheet!r}; it has {', '.join(places)}")
            has_texts = "xl/sharedStrings.xml" in book.namelist()
            shared = _part(book, "xl/sharedStrings.xml").findall(f"{_MAIN}si") if has_texts else []
            texts = ["".join(piece.text or "" for piece in node.iter(f"{_MAIN}t")) for node in shared]
            content = _part(book, posixpath.join("/xl", places[sheet])[1:])
            return [_cells(row, texts) for row in content.iter(f"{_MAIN}row")]
    except (OSError, KeyError, IndexError, ValueError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise ManifestError(f"{path} cannot be read as .xlsx: {error}; save the sheet as CSV") from error


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    info = book.getinfo(name)
    if info.file_size > LARGEST_PART:
        raise ValueError(f"{name} is larger than {LARGEST_PART >> 20} MiB")
    content = book.read(info)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError(f"{name} declares entities, which no spreadsheet does")
    return ElementTree.fromstring(content)


def _cells(row: ElementTree.Element, texts: list[str]) -> list[str]:
    cells: dict[int, str] = {}
    for at, node in enumerate(row.iter(f"{_MAIN}c")):
        letters = re.match("[A-Z]{1,3}", node.get("r", ""))
        column = _column(letters[0]) if letters else at
        value = node.findtext(f"{_MAIN}v") or ""
        inline = "".join(piece.text or "" for piece in node.iter(f"{_MAIN}t"))
        cells[column] = texts[int(value)] if node.get("t") == "s" else inline or value
    return [cells.get(column, "") for column in range(max(cells, default=-1) + 1)]


def _column(letters: str) -> int:
    """A as 0, B as 1, AA as 26."""
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - ord("A") + 1
    return place - 1
