"""What raters are asked about: triplets of a reference and two candidates, from a table or from folders."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pim.datasets.dataset import EXAMPLES, Finding, ManifestError, finding
from pim.datasets.folder import Listing, Places, identity, listing
from pim.datasets.sheet import read_sheet
from pim.errors import UsageError

PICTURES = ("reference", "a", "b")
GROUPS = ("group", "content")  # columns that name what belongs together
OTHERS = ("prefer_b", "n")  # columns of a rated table, which is rated again


@dataclass(frozen=True, slots=True, order=True)
class Triplet:
    """One question: which of two candidates is closer to the reference? By names in `TripletSet.paths`."""

    reference: str
    a: str
    b: str
    group: str  # triplets of one group are not independent: the reference, as a rule


@dataclass(frozen=True)
class TripletSet:
    """All questions of a study, in a stable order, and where their pictures are."""

    triplets: tuple[Triplet, ...]
    paths: Mapping[str, Path]  # of every name
    notes: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """The names of the references, in sorted order."""
        return tuple(sorted({triplet.reference for triplet in self.triplets}))


def read(sources: Sequence[Path], images: Path | None = None) -> TripletSet:
    """Read triplets from one table, or from a folder of references and two or more folders of candidates.

    Paths in a table start at `images`; those not found there are looked for beside the table.

    Raises:
        UsageError: if it is neither.
        ManifestError: if something is missing, doubled, or cannot be written to a table later.
    """
    if len(sources) == 1:
        return from_table(sources[0], images)
    if len(sources) == 2:
        raise UsageError("name one table, or a folder of references and at least two folders of candidates")
    if images is not None:
        raise UsageError("--images is for a table; folders say themselves where their pictures are")
    return from_folders(sources[0], sources[1:])


def from_table(path: Path, images: Path | None = None) -> TripletSet:
    """Triplets from a CSV or TSV with the columns reference, a, b [, group].

    Raises:
        ManifestError: if it cannot be read, or a picture is missing or a question doubled.
    """
    if path.is_dir():
        raise ManifestError(f"{path} is a folder; name a table, or folders of references and of candidates")
    table = read_sheet(path, PICTURES)
    group_of = next((name for name in GROUPS if name in table.columns), "reference")
    rows = zip(*(table.column(name) for name in (*PICTURES, group_of)), strict=True)
    places = Places([folder for folder in (images, path.parent) if folder is not None])
    one = places.one_name
    triplets = [Triplet(one(reference), one(a), one(b), group or one(reference)) for reference, a, b, group in rows]
    found = {name: place for name in _names(triplets) if (place := places.find(name))}
    _require(str(path), triplets, found, places.findings())
    unused = [name for name in table.columns if name not in (*PICTURES, *GROUPS, *OTHERS)]
    notes = (f"columns that are not used: {', '.join(unused)}",) if unused else ()
    return TripletSet(
        tuple(triplets),
        {name: place.resolve() for name, place in found.items()},
        (*table.notes, *notes, *(f.sentence(3) for f in places.findings() if f.level == "note")),
    )


def from_folders(references: Path, candidates: Sequence[Path]) -> TripletSet:
    """All pairs of the candidates that are called like a reference, endings and case aside.

    Names are the last part of a folder's path and the file name, such as `jpeg/cat.png`.

    Raises:
        ManifestError: if a folder has no pictures, lacks one, or has one too many.
    """
    folders = [references, *candidates]
    labels = [folder.resolve().name for folder in folders]
    if len(set(labels)) < len(labels):
        raise UsageError(f"folders must differ in the last part of their paths; got {', '.join(labels)}")
    here = [_listed(folder) for folder in folders]
    stems = [set(found.files) for found in here]
    lacking = [
        f"{folder} lacks {stem}"
        for folder, inside in zip(folders, stems, strict=True)
        for stem in set.union(*stems) - inside
    ]
    paths: dict[str, Path] = {}
    triplets = []
    for stem in sorted(stems[0] if not lacking else ()):
        files = [found.files[stem] for found in here]
        names = [f"{label}/{file.name}" for label, file in zip(labels, files, strict=True)]
        paths.update((name, file.resolve()) for name, file in zip(names, files, strict=True))
        triplets += [Triplet(names[0], a, b, names[0]) for a, b in itertools.combinations(names[1:], 2)]
    clashes = [problem for found in here for problem in found.findings()]
    _require(str(references), triplets, paths, [*clashes, *finding("missing", "folders do not match", lacking)])
    return TripletSet(tuple(triplets), paths)


def _listed(folder: Path) -> Listing:
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder; several sources are folders of pictures")
    found = listing(folder, by_stem=True)
    if not found.files:
        raise ManifestError(f"{folder} holds no files; its sub-folders are not searched")
    return found


def _names(triplets: Iterable[Triplet]) -> list[str]:
    return sorted({name for triplet in triplets for name in (triplet.reference, triplet.a, triplet.b)})


def _require(source: str, triplets: Sequence[Triplet], paths: Mapping[str, Path], found: Collection[Finding]) -> None:
    """Stop unless every question can be asked, and its answer written to a table."""
    problems = [*(f for f in found if f.level in ("error", "missing")), *_questions(triplets, paths)]
    if problems:
        raise ManifestError(f"{source} cannot be rated: {'; '.join(f.sentence(EXAMPLES) for f in problems)}")
    if not triplets:
        raise ManifestError(f"{source} has no triplets")


def _questions(triplets: Sequence[Triplet], paths: Mapping[str, Path]) -> tuple[Finding, ...]:
    files: dict[str, Any] = {name: identity(path) for name, path in paths.items()}
    met: set[tuple[Any, frozenset[Any]]] = set()
    doubled, pointless = [], []
    for triplet in triplets:
        question, *candidates = (files.get(name, name) for name in (triplet.reference, triplet.a, triplet.b))
        question = (question, frozenset(candidates))
        told = f"{triplet.reference}: {triplet.a} or {triplet.b}"
        if len(question[1]) == 1:
            pointless.append(told)
        elif question in met:
            doubled.append(told)
        met.add(question)
    unwritable = [ascii(name) for name in _names(triplets) if not _writable(name)]
    return (
        *finding("error", "a candidate is compared with itself", pointless),
        *finding("error", "questions are there more than once", doubled),
        *finding(
            "error", "names cannot stand in a table: line breaks, spaces at an end, no UTF-8; rename them", unwritable
        ),
    )


def _writable(name: str) -> bool:
    """Whether a table of text gives the name back as it is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.strip() == name and name.splitlines() == [name]
