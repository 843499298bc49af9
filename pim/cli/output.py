"""Records as text, CSV and JSON: on stdout, or in a file that is written whole."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pim.errors import UsageError

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]


@contextmanager
def destination(path: Path | None) -> Iterator[TextIO]:
    """Where data goes: stdout, or a file that appears only if the block ends without an error.

    Raises:
        UsageError: if something is there that is no text, such as a picture.
        PimError: if the file cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    if path.is_file() and _is_binary(path):
        raise UsageError(f"{path} is there and no text; name another file to write to")
    from pim.core.files import written_whole

    with written_whole(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        yield text
        text.flush()
        text.detach()


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"\0" in stream.read(4096)
    except OSError:
        return False


def short(value: float) -> str:
    """A number for people: 6 significant digits.

    >>> short(0.12345678)
    '0.123457'
    """
    return f"{value:.6g}"


def one_line(name: str) -> str:
    r"""A file name that cannot break a line or a column: control characters become escapes.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in name)


def guarded(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula: a leading = + - @ gets a quote before it.

    >>> guarded("=1+1.png"), guarded("-1.5")
    ("'=1+1.png", '-1.5')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def csv_line(cells: Iterable[Cell]) -> str:
    """One line of CSV with its end: numbers in full, true and false in words, nothing for None."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_csv_cell(cell) for cell in cells])
    return buffer.getvalue()


def finite(value: Any) -> Any:
    """The same value for JSON, which knows no infinity and no NaN: they become null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def json_text(document: Mapping[str, Any]) -> str:
    """A JSON object with its end of line; ASCII, so that names in any encoding survive any terminal."""
    return json.dumps(finite(document), indent=2, allow_nan=False) + "\n"


def table(rows: Sequence[Row], form: str) -> str:
    """Rows of equal keys as aligned text with a heading, or as CSV.

    Args:
        rows: At least one.
        form: text or csv.
    """
    columns = list(rows[0])
    if form == "csv":
        return csv_line(columns) + "".join(csv_line(row[column] for column in columns) for row in rows)
    lines = [columns, *([_text_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _csv_cell(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if cell is None:
        return ""
    return guarded(cell) if isinstance(cell, str) else repr(cell)


def _text_cell(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if cell is None:
        return "-"
    return short(cell) if isinstance(cell, float) else one_line(str(cell))
