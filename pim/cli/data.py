"""`pim data`: where data sets come from, fetching them, and whether one is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pim.cli import common
from pim.cli.common import Row, one_line, progress, table
from pim.cli.progress import downloading
from pim.errors import DataError, UsageError

if TYPE_CHECKING:
    from pim.datasets.dataset import Dataset, Finding
    from pim.datasets.sources import RemoteFile, Source

_WHERE_EXAMPLES = """\b
Examples:
  pim data where
  pim data where tid2013
"""
_GET_EXAMPLES = """\b
Examples:
  pim data get bapps data/bapps
  pim data get bapps data/bapps --part jnd
"""
_CHECK_EXAMPLES = """\b
Examples:
  pim data check tid2013 data/tid2013
  pim data check table ratings.csv --images pictures --higher-is-better
"""
ROWS = {
    "opinion": "opinions",
    "two_afc": "forced choices",
    "quadruple": "choices between pairs",
    "jnd": "judgements of whether two pictures look the same",
    "severity": "corrupted pictures",
}
_SLACK = 2  # a file may be so many times as large as stated

app = typer.Typer(help="Find, fetch and check data sets.")


def _complete_name(incomplete: str) -> list[str]:
    from pim.datasets.sources import SOURCES

    return [name for name in SOURCES if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=_complete_name, help="A name from `pim data where`.")
]


@app.command("where", epilog=_WHERE_EXAMPLES)
def where(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", autocompletion=_complete_name, help="Without: all of them.")
    ] = None,
    form: common.Format = None,
    target: common.Output = None,
) -> None:
    """Tell where a data set comes from, on which terms, and how it has to look."""
    from pim.datasets.sources import SOURCES, source

    found = [source(name)] if name else list(SOURCES.values())
    document = {"sources": [asdict(item) for item in found]}
    rows = list(map(_source_row, found))
    brief = [{"name": row["name"], "parts to get": row["parts"] or "by hand", "title": row["title"]} for row in rows]
    common.show(form, target, document, table(rows, "csv"), _source_story(found[0]) if name else table(brief, "text"))


@app.command("get", epilog=_GET_EXAMPLES)
def get(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="Where to put it.")],
    parts: Annotated[
        list[str] | None, typer.Option("--part", metavar="PART", help="Fetch this part only. May be repeated.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the file must have; for a single part.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep-archive", help="Keep the archive after unpacking it.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Fetch a data set that is openly downloadable, and unpack it.

    The terms are shown first. A download that was cut off continues with the same command. What
    cannot be fetched is shown with its page and the layout it has to have.
    """
    from pim.datasets.sources import source

    found = source(name)
    if not found.files:
        print(_source_story(found), end="")
        raise DataError(
            f"{name} cannot be fetched by a command; get it from its page, then: pim data check {name} PATH"
        )
    chosen = found.parts(tuple(parts or ()))
    if sha256 is not None and len(chosen) != 1:
        raise UsageError(f"--sha256 is for one file; choose one with --part {' or '.join(f.part for f in found.files)}")
    common.note(f"{found.title}. Terms: {found.terms}. See {found.page}")
    with common.stoppable(f"what came is kept in {folder}"):
        for file in chosen:
            _get(file, folder, sha256, keep, quiet)
    common.note(f"done; look at it with: pim data check {name} {folder}", quiet)


@app.command("check", epilog=_CHECK_EXAMPLES)
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `pim data where`, or table.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the data set, or the table.")],
    clean: common.Clean = None,
    crop: Annotated[
        bool, typer.Option("--crop/--no-crop", help="imagenet-c: crop the clean pictures as the corrupted ones were.")
    ] = True,
    images: common.Images = None,
    higher_is_better: common.Direction = None,
    train: Annotated[bool, typer.Option("--train", help="bapps: the training split.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every picture to its end; slow.")] = False,
    form: common.Format = None,
    target: common.Output = None,
    quiet: common.Quiet = False,
) -> None:
    """Compare a data set with what it should be: labels, files, sizes of pictures.

    Ends with exit code 1 if it cannot be scored as it is.
    """
    from pim.datasets.dataset import Finding
    from pim.datasets.pictures import check_pictures
    from pim.eval.rated import RatedSet, datasets

    asked = RatedSet(
        name,
        path,
        images=images,
        higher_is_better=higher_is_better,
        clean=clean,
        prepared=not crop,
        split="train" if train else "val",
    )
    checked = []
    for dataset in datasets(asked):
        with progress(f"check {dataset.name}", len(dataset), unit="rows", quiet=quiet) as advance:
            checked.append(check_pictures(dataset, decode, progress=advance))
    rows = [_finding_row(dataset, found) for dataset in checked for found in dataset.findings]
    rows = rows or [_finding_row(checked[0], Finding("note", "nothing to say", 0))]
    document = {"datasets": [_dataset_record(dataset) for dataset in checked]}
    common.show(form, target, document, table(rows, "csv"), "".join(map(_dataset_story, checked)))
    if any(dataset.problems or not len(dataset) for dataset in checked):
        raise typer.Exit(1)


def _get(file: RemoteFile, folder: Path, sha256: str | None, keep: bool, quiet: bool) -> None:
    """Fetch one file, unpack it, and remove the archive."""
    from functools import partial

    from pim.core.database import alone
    from pim.datasets.fetch import Download, fetch, forget
    from pim.datasets.unpack import check_beginning, unpack

    archive = folder / file.name
    download = Download(
        file.url,
        archive,
        sha256,
        least=file.size // _SLACK,
        most=file.size * _SLACK or 1 << 40,
        check=partial(check_beginning, file.name),
    )
    with alone(folder / f".{file.name}.get.lock", f"another process is getting {archive}; wait for it"):
        with downloading(file.name, file.size, quiet) as moved:
            _, digest = fetch(download, moved)
        common.note(f"{file.name} has SHA-256 {digest}", quiet)
        with progress(f"unpack {file.name}", None, unit="files", quiet=quiet) as advance:
            try:
                count = unpack(archive, folder, progress=advance)
            except DataError as error:
                forget(archive)
                raise DataError(f"{error}; it is removed, the same command fetches it again") from error
        if not keep:
            archive.unlink()
    common.note(f"unpacked {count} files into {folder}", quiet)


def _source_row(source: Source) -> Row:
    got = ", ".join(file.part for file in source.files)
    return {"name": source.name, "title": source.title, "size": source.size, "parts": got or None, "page": source.page}


def _source_story(source: Source) -> str:
    lines = [source.title, f"  page: {source.page}", f"  terms: {source.terms}", f"  size: {source.size}", "  layout:"]
    lines += [f"    {line}" for line in source.layout]
    for file in source.files:
        lines.append(f"  part {file.part}: {file.url}" + ("" if file.usual else " (only when named with --part)"))
    if not source.files:
        lines.append("  to be fetched by hand")
    return "\n".join(lines) + "\n"


def _dataset_story(dataset: Dataset) -> str:
    direction = {True: ", higher is better", False: ", lower is better", None: ""}[dataset.higher_is_better]
    lines = [f"{dataset.name} in {dataset.root}: {len(dataset)} {ROWS[dataset.kind]}{direction}"]
    for subset, count in dataset.expected.items():
        if subset:
            of = "" if count is None else f" of {count}"
            lines.append(f"  {subset}: {dataset.found.get(subset, 0)}{of}")
    lines += [f"  {finding.level}: {finding.sentence()}" for finding in dataset.findings]
    lines.append("  cannot be scored as it is" if dataset.problems or not len(dataset) else "  ready to be scored")
    return "".join(f"{one_line(line)}\n" for line in lines)


def _dataset_record(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "root": str(dataset.root),
        "rows": len(dataset),
        "higher_is_better": dataset.higher_is_better,
        "found": dict(dataset.found),
        "expected": dict(dataset.expected),
        "findings": [_finding_row(dataset, found) for found in dataset.findings],
        "ready": not dataset.problems and len(dataset) > 0,
    }


def _finding_row(dataset: Dataset, found: Finding) -> Row:
    about: Row = {"dataset": dataset.name, "level": found.level, "count": found.count, "text": found.text}
    return {**about, "examples": "; ".join(found.examples) or None}
