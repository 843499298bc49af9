"""Labels in text files of any encoding and line end, and the ranges that they must lie in."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from pim.datasets.cells import decoded
from pim.datasets.dataset import Finding, ManifestError, finding
from pim.errors import InputError


def text_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without line ends; blanks at their ends are kept out too.

    Raises:
        ManifestError: if it cannot be read or is no text.
    """
    try:
        text, _ = decoded(path)
    except InputError as error:
        raise ManifestError(str(error)) from error
    return [line.strip() for line in io.StringIO(text) if line.strip()]


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
