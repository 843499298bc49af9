"""Data sets by name: one door to all readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pim.datasets import bapps, csiq, imagenet_c, kadid10k, live, pipal, table, tid2013
from pim.datasets.dataset import Dataset
from pim.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class ReadOptions:
    """What some readers have to be told; each belongs to the data sets named beside it."""

    images: Path | None = None  # table: where the paths in it start
    higher_is_better: bool | None = None  # table: direction of opinion scores
    clean: Path | None = None  # imagenet-c, tiny-imagenet-c: the clean pictures
    crop: bool = True  # imagenet-c: crop the clean pictures as the corrupted ones were
    split: Literal["train", "val"] = "val"  # bapps


DEFAULTS = ReadOptions()


@dataclass(frozen=True)
class _Reader:
    """How to read a data set, and which options it takes."""

    read: Callable[[Path, ReadOptions], tuple[Dataset, ...]]
    options: tuple[str, ...] = ()


def _read_bapps(path: Path, options: ReadOptions) -> tuple[Dataset, ...]:
    """Both halves, or the one that is there; an error about the forced choices if none is."""
    halves = bapps.holds(path, options.split)
    choices = (bapps.read_2afc(path, options.split),) if "2afc" in halves or not halves else ()
    same = (bapps.read_jnd(path),) if "jnd" in halves and options.split == "val" else ()
    return choices + same


_READERS = {
    "bapps": _Reader(_read_bapps, ("split",)),
    "tid2013": _Reader(lambda path, _: (tid2013.read(path),)),
    "imagenet-c": _Reader(
        lambda path, options: (imagenet_c.read(path, options.clean, options.crop),), ("clean", "crop")
    ),
    "tiny-imagenet-c": _Reader(
        lambda path, options: (imagenet_c.read(path, options.clean, variant="tiny-imagenet-c"),), ("clean",)
    ),
    "kadid10k": _Reader(lambda path, _: (kadid10k.read(path),)),
    "csiq": _Reader(lambda path, _: (csiq.read(path),)),
    "live": _Reader(lambda path, _: (live.read(path),)),
    "pipal": _Reader(lambda path, _: (pipal.read(path),)),
    "table": _Reader(
        lambda path, options: (table.read(path, options.images, options.higher_is_better),),
        ("images", "higher_is_better"),
    ),
}
NAMES = tuple(_READERS)


def read(name: str, path: Path, options: ReadOptions = DEFAULTS) -> tuple[Dataset, ...]:
    """Read the labels of a data set and compare them with its files; no picture is opened.

    Args:
        name: One of `NAMES`.
        path: Its folder, or the table itself for "table".
        options: What the reader has to be told.

    Returns:
        One data set; for BAPPS up to two, of different kinds. Ask `require_whole` before scoring.

    Raises:
        UsageError: if the name is unknown or an option does not belong to it.
        ManifestError: if it is not there, is another data set or cannot be understood.
    """
    if name not in _READERS:
        raise UsageError(f"unknown data set {name!r}; {did_you_mean(name, NAMES)}")
    reader = _READERS[name]
    for field in fields(options):
        if field.name not in reader.options and getattr(options, field.name) != getattr(DEFAULTS, field.name):
            owners = " and ".join(owner for owner, other in _READERS.items() if field.name in other.options)
            raise UsageError(f"{field.name.replace('_', ' ')} means nothing for {name}; it belongs to {owners}")
    return reader.read(path, options)
