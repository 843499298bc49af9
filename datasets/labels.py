"""Labels as text: numbers in any spelling, text files in any encoding mark and line end, ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pim.datasets.dataset import Finding, ManifestError, finding


def number(text: str) -> float | None:
    """A number with a decimal point or a decimal comma; None if it is none. NaN and infinity count as numbers.

    >>> number("3,25"), number(" 7 "), number("i01.bmp")
    (3.25, 7.0, None)
    """
    try:
        # Python would read 1_000 as a number.
        return None if "_" in text else float(text.strip().replace(",", "."))
    except ValueError:
        return None


def whole(text: str) -> int | None:
    """A whole number, also as 5.0; None if it is none."""
    value = number(text)
    return int(value) if value is not None and math.isfinite(value) and value == int(value) else None


def text_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without byte-order mark and line ends.

    Raises:
        ManifestError: if it cannot be read or is no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not a text in UTF-8: {error.reason} at byte {error.start}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def range_findings(values: Mapping[str, float], low: float, high: float, what: str) -> tuple[Finding, ...]:
    """An error for values that are not numbers or lie outside their range.

    Args:
        values: By the name of their row.
        low: Smallest possible value.
        high: Largest possible value.
        what: What the values are, such as "MOS".
    """
    wrong = [f"{name} ({value:g})" for name, value in values.items() if not low <= value <= high]
    return finding("error", f"values of {what} are not in {low:g} to {high:g}", wrong)
