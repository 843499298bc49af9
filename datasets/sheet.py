"""Tables as data frames of text: CSV, TSV and Parquet, and the cells of an .xlsx file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from pim.datasets.cells import read_rows
from pim.datasets.dataset import ManifestError
from pim.datasets.numerals import Numbers, numbers
from pim.errors import InputError, did_you_mean

LARGEST_PART = 32 << 20  # bytes of one file inside an .xlsx
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_sheet(path: Path) -> pd.DataFrame:
    """A table with a heading, as `pim.datasets.cells.read_rows` reads it: every cell a text, columns in lower case.

    The index holds the line at which each row begins; `attrs` holds the separator and the notes of the reader. A name
    that ends in .parquet is a Parquet file.

    Raises:
        ManifestError: if it cannot be read, is no table or names a column twice.
    """
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    try:
        found = read_rows(path)
    except InputError as error:
        raise ManifestError(str(error)) from error
    lines = pd.Index([row.line for row in found.rows], dtype=int)
    table = pd.DataFrame([row.cells for row in found.rows], lines, list(found.columns), dtype=str)
    table.attrs = {"separator": found.separator, "notes": found.notes}
    return table


def numbers_of(table: pd.DataFrame, column: str) -> Numbers:
    """The numbers of a column of `read_sheet`; of one that is not there none."""
    if column not in table.columns:
        return Numbers((None,) * len(table), frozenset())
    return numbers(table[column].tolist(), table.attrs["separator"])


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise ManifestError(f"{path} needs the package pyarrow; install it, or save the table as CSV") from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    table.columns = ["_".join(str(column).lower().split()) for column in table.columns]
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise ManifestError(f"{path} has two columns called {repeated[0]!r}")
    table.index = pd.RangeIndex(2, len(table) + 2)  # as if it had a line for the heading
    # repr of a number is read as the same number again
    texts = table.apply(
        lambda column: pd.Series(
            ["" if pd.isna(cell) else str(cell).strip() for cell in column], table.index, dtype=str
        )
    )
    texts.attrs = {"separator": ",", "notes": ()}
    return texts


def columns_of(table: pd.DataFrame, names: Iterable[str], path: Path) -> pd.DataFrame:
    """These columns of a table, in this order.

    Raises:
        ManifestError: if one is not there.
    """
    wanted = list(names)
    for name in wanted:
        if name not in table.columns:
            raise ManifestError(f"{path} has no column {name!r}; {did_you_mean(name, map(str, table.columns))}")
    return table[wanted]


def read_xlsx(path: Path, sheet: str) -> list[list[str]]:
    """The cells of one sheet of an .xlsx file as text, row by row; empty cells are "".

    Raises:
        ManifestError: if it cannot be read or has no such sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            names = [node.get("name", "") for node in _part(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")]
            if sheet not in names:
                raise ManifestError(f"{path} has no sheet {sheet!r}; it has {', '.join(names)}")
            has_texts = "xl/sharedStrings.xml" in book.namelist()
            shared = _part(book, "xl/sharedStrings.xml").findall(f"{_MAIN}si") if has_texts else []
            texts = ["".join(piece.text or "" for piece in node.iter(f"{_MAIN}t")) for node in shared]
            content = _part(book, f"xl/worksheets/sheet{names.index(sheet) + 1}.xml")
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
