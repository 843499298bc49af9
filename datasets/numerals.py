"""Numbers as tables write them: which mark is the decimal one is a property of a column, never of a cell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TRIPLE = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")  # 1,260: a thousand and more, or one and a bit
_GROUPED = {",": re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?"), ".": re.compile(r"[-+]?\d{1,3}(\.\d{3})+(,\d*)?")}
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'](?=\d{3}(?!\d))")
_OTHER = {",": ".", ".": ","}


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column."""

    values: tuple[float | None, ...]  # None: no number, or one that can be read in two ways
    ambiguous: frozenset[int]  # places of those


def number(text: str) -> float | None:
    """A number with a decimal point or a decimal comma; None if it is none. NaN and infinity count as numbers.

    >>> number("3,25"), number(" 7 "), number("i01.bmp")
    (3.25, 7.0, None)
    """
    return _plain(_tidy(text).replace(",", "."))


def whole(text: str) -> int | None:
    """A whole number, also as 5.0; None if it is none."""
    value = number(text)
    return int(value) if value is not None and math.isfinite(value) and value == int(value) else None


def numbers(cells: Sequence[str], separator: str = ",") -> Numbers:
    """The numbers of a column of a table.

    Where the cells themselves do not tell whether `1,260` is a thousand and more or one and a bit, those are not read,
    unless all cells of the column have three digits after the mark and the separator of cells tells which it is.

    Args:
        cells: Of the column.
        separator: Of the cells of the table; where it is a comma, a decimal mark is a point.

    >>> numbers(["1,260", "960"]).ambiguous, numbers(["1.260,5", "960"]).values
    (frozenset({0}), (1260.5, 960.0))
    """
    texts = [_tidy(cell) for cell in cells]
    told = {mark for text in texts for mark in ",." if mark in text and _is_decimal(mark, text)}
    marked = [text for text in texts if "," in text or "." in text]
    fixed = len(marked) == sum(bool(text) for text in texts) and all(map(_TRIPLE.fullmatch, marked))
    values: list[float | None] = []
    ambiguous = set()
    for at, text in enumerate(texts):
        mark = _decimal_mark(text, told, separator, fixed)
        if mark is None:
            ambiguous.add(at)
            values.append(None)
        else:
            other = _OTHER[mark]
            grouped = other in text and _GROUPED[other].fullmatch(text)
            values.append(_plain((text.replace(other, "") if grouped else text).replace(mark, ".")))
    return Numbers(tuple(values), frozenset(ambiguous))


def _decimal_mark(text: str, told: set[str], separator: str, fixed: bool) -> str | None:
    """The decimal mark of a cell; None if nothing tells it."""
    own = {mark for mark in ",." if mark in text and _is_decimal(mark, text)}
    if own:
        return own.pop()
    if not _TRIPLE.fullmatch(text):
        return "."
    if len(told) == 1:
        return next(iter(told))
    point = "." in text
    if not told and separator in ";\t|":
        return "." if point and separator != ";" else "," if fixed and not point else "." if fixed and point else None
    return "." if point and not told else None


def _is_decimal(mark: str, text: str) -> bool:
    """Whether a cell says that this is its decimal mark: it cannot separate thousands, or the other one does."""
    other = _OTHER[mark]
    if other in text:
        return bool(_GROUPED[other].fullmatch(text)) and text.rfind(mark) > text.rfind(other)
    return text.count(mark) == 1 and not _TRIPLE.fullmatch(text)


def _tidy(text: str) -> str:
    return _SPACED.sub("", text.strip().replace("\u2212", "-"))


def _plain(text: str) -> float | None:
    try:
        # Python would read 1_000 as a number.
        return None if "_" in text else float(text)
    except ValueError:
        return None
