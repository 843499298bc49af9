"""ImageNet-C and pictures corrupted like it: how far is a corrupted picture from the clean one?

Nobody rated these pictures. The clean ones do not come with the data set: name the validation
pictures of ILSVRC 2012. The published pictures all went through JPEG, so even an unchanged picture
would be at a distance; `jpeg_floor` is the picture to compare with.

Source: Hendrycks, Dietterich, Benchmarking Neural Network Robustness (arXiv 1903.12261).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pim.datasets.corruptions import GROUPS, PUBLISHED, SEVERITIES, Recipe, names
from pim.datasets.dataset import Dataset, Finding, ManifestError, Record, finding
from pim.datasets.folder import find_root, listing, subfolders
from pim.datasets.rendered import CorruptionStep, RenderedPicture
from pim.errors import UsageError, check_known

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
JPEG_QUALITY = 85  # of the published pictures
PER_CELL = {"imagenet-c": 50000, "tiny-imagenet-c": 10000}  # published pictures of one corruption and severity
Variant = Literal["imagenet-c", "tiny-imagenet-c"]
LAYOUT = "ImageNet-C, folders such as fog/3 or weather/fog/3 with pictures, flat or by class"


@dataclass(frozen=True)
class _Cell:
    """One corruption at one severity. File names are relative to its folder, sorted by stem."""

    corruption: str
    severity: int
    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class _Made(Collection[Record]):
    """Records made as they are asked for: there may be millions."""

    make: Callable[[], Iterator[Record]]
    count: int

    def __iter__(self) -> Iterator[Record]:
        return self.make()

    def __len__(self) -> int:
        return self.count

    def __contains__(self, record: object) -> bool:
        return any(record == mine for mine in self)


def read(path: Path, clean: Path | None, crop: bool = True, variant: Variant = "imagenet-c") -> Dataset:
    """Read the published folders and find the clean twin of every corrupted picture.

    Args:
        path: The folder with groups or corruptions, one corruption, or a folder up to two levels away.
        clean: The clean pictures, flat or by class.
        crop: Prepare clean pictures as those of ImageNet-C were (shorter side 256, centre 224). Switch
            it off for pictures that already are as large as the corrupted ones; those of Tiny-ImageNet-C are.
        variant: Which of the two benchmarks.

    Raises:
        UsageError: if no clean pictures are named.
        ManifestError: if the folder has no corruptions, or there are no clean pictures.
    """
    root = find_root(path, lambda folder: bool(_corruption_folders(folder)), LAYOUT)
    if clean is None:
        raise UsageError(f"{root} has corrupted pictures only; name the clean ones, ILSVRC2012 val, with --clean")
    folders = _corruption_folders(root)
    cells, findings = _cells(folders)
    twins, about_clean = _clean(clean)
    stems = Counter(_stem(file) for cell in cells for file in cell.files)
    lonely = set(stems) - set(twins)
    cropped = crop and variant == "imagenet-c"

    def make() -> Iterator[Record]:
        for cell in cells:
            for file in cell.files:
                if (stem := _stem(file)) in twins:
                    picture = RenderedPicture(twins[stem], crop=cropped)
                    yield _record(cell.corruption, cell.severity, stem, picture, cell.folder / file)

    found = {f"{cell.corruption} {cell.severity}": len(cell.files) for cell in cells}
    return Dataset(
        name=variant,
        kind="severity",
        root=root,
        rows=_Made(make, sum(count for stem, count in stems.items() if stem in twins)),
        findings=(
            *findings,
            *about_clean,
            *finding("missing", "corrupted pictures have no clean twin", lonely),
            *_cell_findings(cells, PER_CELL[variant]),
            Finding("note", f"corrupted pictures went through JPEG of quality {JPEG_QUALITY}, clean ones did not"),
        ),
        expected=dict.fromkeys(found, PER_CELL[variant]),
        found=found,
    )


def generated(
    clean: Path,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    recipe: Recipe = PUBLISHED,
    crop: bool = False,
) -> Dataset:
    """Clean pictures and their corruptions, which are made when a picture is opened.

    Args:
        clean: Pictures of any size from 32 pixels, flat or by class.
        corruptions: Which; none for all that the recipe has.
        severities: Which of 1 to 5.
        seed: Start of the random numbers.
        recipe: Which constants, and where the frost pictures are.
        crop: Prepare the pictures as those of ImageNet-C first.

    Raises:
        UsageError: if there is no such corruption or severity.
        ManifestError: if there are no pictures.
    """
    known = names(recipe)
    check_known("unknown corruption", corruptions, known)
    if wrong := sorted(set(severities) - set(SEVERITIES)):
        raise UsageError(f"severity must be 1 to 5; got {wrong[0]}")
    pictures, findings = _clean(clean)
    chosen = [(name, s) for name in known if name in corruptions or not corruptions for s in sorted(set(severities))]

    def make() -> Iterator[Record]:
        for stem, path in pictures.items():
            picture = RenderedPicture(path, crop=crop)
            for name, severity in chosen:
                step = CorruptionStep(name, severity, seed, recipe)
                yield _record(name, severity, stem, picture, replace(picture, corruption=step))

    return Dataset(
        name=f"{recipe.table}-generated",
        kind="severity",
        root=clean,
        rows=_Made(make, len(pictures) * len(chosen)),
        findings=findings,
    )


def jpeg_floor(clean: Path | RenderedPicture) -> RenderedPicture:
    """A clean picture after the JPEG that all published pictures went through."""
    picture = clean if isinstance(clean, RenderedPicture) else RenderedPicture(clean)
    return replace(picture, jpeg_quality=JPEG_QUALITY)


def _record(
    corruption: str, severity: int, stem: str, clean: RenderedPicture, distorted: Path | RenderedPicture
) -> Record:
    return Record(
        key=f"{corruption}/{severity}/{stem}",
        group=stem,
        pairs=((clean if clean.crop else clean.path, distorted),),
        subsets=(GROUPS[corruption],),
        distortion=corruption,
        level=severity,
    )


def _stem(file: str) -> str:
    """The name of a picture without folder and ending."""
    return file.rpartition("/")[2].rpartition(".")[0]


def _corruption_folders(root: Path) -> list[Path]:
    """The folders of single corruptions in a root, in their groups or not; the root itself may be one."""
    if root.name in GROUPS:
        return [root]
    inner = subfolders(root)
    nested = [folder for group in inner if group.name in set(GROUPS.values()) for folder in subfolders(group)]
    return [folder for folder in (*inner, *nested) if folder.name in GROUPS]


def _cells(folders: list[Path]) -> tuple[tuple[_Cell, ...], tuple[Finding, ...]]:
    cells = []
    findings: list[Finding] = []
    for folder in sorted(folders, key=lambda folder: list(GROUPS).index(folder.name)):
        for severity in SEVERITIES:
            inside = folder / str(severity)
            files, clashes = _pictures(inside)
            if not files:
                findings.append(Finding("error", f"{folder.name} has no pictures of severity {severity}"))
                continue
            findings += finding("error", f"pictures are there twice in {folder.name}/{severity}", clashes)
            # Names repeat in all cells; one copy of each serves them all.
            cells.append(_Cell(folder.name, severity, inside, tuple(map(sys.intern, files.values()))))
    repeated = [name for name, count in Counter((c.corruption, c.severity) for c in cells).items() if count > 1]
    findings += finding("error", "corruptions are there twice", [f"{name} {level}" for name, level in repeated])
    return tuple(cells), tuple(findings)


def _pictures(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Pictures, flat or one folder for each class.

    Returns:
        Names relative to the folder, by stem in sorted order, and pairs of names with one stem.
    """
    found: dict[str, str] = {}
    clashes: list[str] = []
    for inside in (folder, *subfolders(folder)) if folder.is_dir() else ():
        here = listing(inside, SUFFIXES, by_stem=True)
        clashes += here.clashes
        for path in here.files.values():
            name = path.name if inside == folder else f"{inside.name}/{path.name}"
            if path.stem in found:
                clashes.append(f"{found[path.stem]} and {name}")
            found[path.stem] = name
    return dict(sorted(found.items())), clashes


def _clean(folder: Path) -> tuple[dict[str, Path], tuple[Finding, ...]]:
    pictures, clashes = _pictures(folder)
    if not pictures:
        raise ManifestError(f"{folder} holds no pictures; expected clean pictures, flat or in folders by class")
    found = {stem: folder / name for stem, name in pictures.items()}
    return found, finding("error", "clean pictures have the same name", clashes)


def _cell_findings(cells: tuple[_Cell, ...], published: int) -> tuple[Finding, ...]:
    """Cells that hold other pictures than most, and sizes other than published."""
    sizes = Counter(len(cell.files) for cell in cells)
    usual = max(sizes, key=lambda size: (sizes[size], size), default=0)
    odd = [f"{cell.corruption} {cell.severity} ({len(cell.files)})" for cell in cells if len(cell.files) != usual]
    findings = finding("warning", f"cells have not {usual} pictures as the others", odd)
    if usual != published:
        findings += (Finding("warning", f"cells hold {usual} pictures; published are {published}"),)
    return findings
