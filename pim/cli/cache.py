"""`pim cache`: what was kept so that it need not be made again, and clearing it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.common import Row, table
from pim.errors import PimError, check_known, os_errors_as

EXAMPLES = """\b
Examples:
  pim cache
  pim cache --clear crops
"""


def cache(
    clear: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Delete this entry, or all. Repeatable.")
    ] = None,
    form: common.Format = None,
    target: common.Output = None,
) -> None:
    """Show what was kept so that it need not be made again, and clear it.

    Crops of videos, distances for a fit, points of curves, and networks that were fetched. Nothing in it is the only
    copy. PIM_CACHE names another folder.
    """
    from pim.core.weights import cache_folder

    folder = cache_folder()
    if clear:
        _clear(folder, clear)
    rows = [_row(entry) for entry in _entries(folder)]
    document = {"folder": str(folder), "entries": rows}
    common.show(form, target, document, table(rows, "csv"), table(rows, "text"))
    common.note(f"{sum(float(str(row['MB'])) for row in rows):.1f} MB in {folder}")


def _entries(folder: Path) -> list[Path]:
    """What lies in the cache; locks are not shown, since processes may hold them."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.suffix != ".lock")


def _row(entry: Path) -> Row:
    files = [path for path in (entry.rglob("*") if entry.is_dir() else [entry]) if path.is_file()]
    return {"name": entry.name, "files": len(files), "MB": round(sum(path.stat().st_size for path in files) / 1e6, 1)}


def _clear(folder: Path, names: list[str]) -> None:
    there = {entry.name: entry for entry in _entries(folder)}
    check_known(f"{folder} holds no", names, [*there, "all"])
    for name, entry in there.items():
        if name in names or "all" in names:
            with os_errors_as(PimError, f"cannot delete {entry}"):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
