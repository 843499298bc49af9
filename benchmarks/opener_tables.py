"""Open a file of every kind that the tests make, and write into docs/images-and-formats.md what becomes of it.

    python benchmarks/opener_tables.py

The test of the opener fails while the document says something else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pim.errors import InputError
from pim.images.opener import open_image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from opening.kinds import Kind, kinds  # noqa: E402

DOCUMENT = ROOT / "docs" / "images-and-formats.md"
BEGIN, END = "<!-- opener_tables.py: begin -->\n", "<!-- opener_tables.py: end -->"


def table() -> str:
    """Markdown: for every format, which kinds of its files are opened and which are refused."""
    rows: dict[str, dict[bool, dict[str, list[str]]]] = {}
    for kind in kinds():
        base, _, variant = kind.name.partition(", ")
        of_format = rows.setdefault(kind.format, {True: {}, False: {}})
        of_format[_is_opened(kind)].setdefault(base, []).append(variant)
    lines = ["| format | opened | refused, by name |", "| --- | --- | --- |"]
    for name, both in rows.items():
        lines.append(f"| {name} | {_listed(both[True])} | {_listed(both[False])} |")
    return "\n".join(lines) + "\n"


def written(document: str) -> str:
    """The document with the table of today."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def _is_opened(kind: Kind) -> bool:
    try:
        open_image(kind.stream())
    except InputError:
        return False
    return True


def _listed(kinds_of_format: dict[str, list[str]]) -> str:
    """Variants of one kind together."""
    parts = []
    for base, variants in kinds_of_format.items():
        told = "; ".join(variant for variant in variants if variant)
        parts.append(f"{base} ({told})" if told else base)
    return ", ".join(parts) or "-"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
