"""Tables of text: CSV and TSV as people and spreadsheets write them, and the cells of an .xlsx file."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from pim.datasets.dataset import ManifestError
from pim.datasets.labels import text_lines
from pim.errors import did_you_mean

LARGEST_PART = 32 << 20  # bytes of one file inside an .xlsx
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_sheet(path: Path) -> pd.DataFrame:
    """A table with a heading: every cell a text, columns in lower case.

    Byte-order marks and any line ends are understood; cells are separated by tabs, semicolons or
    commas, whichever the heading has. A name that ends in .parquet is a Parquet file.

    Raises:
        ManifestError: if it cannot be read, is no table or names a column twice.
    """
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _separated(path)
    repeated = table.columns[table.columns.duplicated()].tolist()
    if repeated:
        raise ManifestError(f"{path} has two columns called {repeated[0]!r}")
    return table.apply(lambda column: column.str.strip())


def _separated(path: Path) -> pd.DataFrame:
    lines = text_lines(path)
    if not lines:
        raise ManifestError(f"{path} is empty")
    separator = next((mark for mark in "\t;" if mark in lines[0]), ",")
    text = io.StringIO("\n".join(lines))
    try:
        # Rows with too many cells are but a warning to pandas, which then drops the last ones.
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            table = pd.read_csv(text, sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise ManifestError(f"{path} is not a table: {error}") from error
    table.columns = [column.strip().lower() for column in _heading(lines[0], separator)]
    return table


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise ManifestError(f"{path} needs the package pyarrow; install it, or save the table as CSV") from error
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    table.columns = [str(column).strip().lower() for column in table.columns]
    # repr of a number is read as the same number again
    return table.apply(lambda column: pd.Series(["" if pd.isna(cell) else str(cell) for cell in column], dtype=str))


def _heading(line: str, separator: str) -> list[str]:
    """The names in a heading, as they stand; pandas would rename repeated ones."""
    return next(pd.read_csv(io.StringIO(line), sep=separator, dtype=str, header=None).itertuples(index=False))


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
