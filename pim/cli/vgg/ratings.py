"""Rated data sets as `pim fit` and `pim ablate` take them: tables, and folders of known data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli.evaluation import Selection, looked_at
from pim.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pim.datasets.dataset import Dataset
    from pim.eval.judgements import Plan

FOLDERS = ("bapps", "tid2013", "kadid10k", "csiq", "live", "pipal")

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="RATINGS...",
        show_default=False,
        help="Tables of opinions, forced choices or quadruples, folders of known data sets, or NAME=FOLDER.",
    ),
]
Images = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", show_default=False, help="Where paths of tables start.")
]
Direction = Annotated[
    bool | None,
    typer.Option("--higher-is-better/--lower-is-better", show_default=False, help="What the scores of tables mean."),
]
Subsets = Annotated[
    list[str] | None,
    typer.Option("--subset", metavar="NAME", show_default=False, help="Only rows of this subset. May be repeated."),
]
Distortions = Annotated[
    list[str] | None,
    typer.Option("--distortion", metavar="NAME", show_default=False, help="Only this type. May be repeated."),
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Fit to what is there where files are missing.")]
Half = Annotated[Literal["train", "val"], typer.Option("--split", help="Of bapps: which part to fit to.")]


@dataclass(frozen=True)
class Asked:
    """Which ratings, and which rows of them."""

    paths: Sequence[str]
    images: Path | None
    higher_is_better: bool | None
    split: Literal["train", "val"]
    selection: Selection
    allow_missing: bool
    quiet: bool


def plans(asked: Asked) -> list[Plan]:
    """The picture pairs and judgements of all data sets, their files looked at.

    Raises:
        UsageError: if a path or name is none of a data set.
        ManifestError: if a data set is damaged.
    """
    from pim.eval.plan import Treatment, plan_of

    found = []
    for text in asked.paths:
        dataset = looked_at(_read(text, asked), asked.allow_missing, asked.quiet)
        treatment = Treatment(shorter_side=dataset.protocol_side)
        found.append(plan_of(dataset, treatment, asked.selection.keep()))
    return found


def _read(text: str, asked: Asked) -> Dataset:
    from pim.datasets.reading import ReadOptions, read

    name, equals, rest = text.partition("=")
    if equals and not Path(text).exists():
        if name not in FOLDERS:
            raise UsageError(f"unknown data set {name!r}; {did_you_mean(name, FOLDERS)}")
        return _choices(name, Path(rest).expanduser(), asked)
    path = Path(text).expanduser()
    if path.is_dir():
        return _recognised(path, asked)
    return read("table", path, ReadOptions(images=asked.images, higher_is_better=asked.higher_is_better))[0]


def _recognised(path: Path, asked: Asked) -> Dataset:
    """The data set that a folder holds, whichever it is."""
    from pim.datasets.dataset import ManifestError

    found = []
    for name in FOLDERS:
        try:
            found.append(_choices(name, path, asked))
        except ManifestError:
            continue
    if len(found) != 1:
        what = f"several: {' and '.join(d.name for d in found)}" if found else f"none of {', '.join(FOLDERS)}"
        raise UsageError(f"{path} holds {what}; {FOLDERS[1]}={path}, for example, says which it is")
    return found[0]


def _choices(name: str, path: Path, asked: Asked) -> Dataset:
    """The part of a data set that says which of two pictures differs more."""
    from pim.datasets.reading import ReadOptions, read

    options = ReadOptions(split=asked.split) if name == "bapps" else ReadOptions()
    found = [dataset for dataset in read(name, path, options) if dataset.kind in ("opinion", "two_afc")]
    if not found:
        raise DataError(f"{path} holds no opinions and no forced choices to fit to")
    return found[0]
