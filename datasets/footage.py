"""What there is to learn from among files and folders: videos, folders of pictures, and who is held out.

Nothing is passed over in silence: what is left out stands in the notes of a source beside it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pim.core.files import VIDEO_SUFFIXES, is_hidden
from pim.datasets.cells import read_rows
from pim.datasets.folder import child, folded, identity
from pim.errors import DataError, InputError, os_errors_as

FRAME_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
        *(".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
NAMED = 3
MANIFEST = "manifest.csv"
SPLITS = ("train", "valid", "")


@dataclass(frozen=True)
class Source:
    """One video file, one picture, or one folder of pictures."""

    path: Path
    name: str = ""
    held_out: bool = False
    draw: float | None = None  # in [0, 1): sources below `share` are held out; None: a manifest has decided
    share: float = 0.0  # of the sources to hold out
    splits: Mapping[str, bool] = field(default_factory=dict)  # pictures of a folder that a manifest holds out or not
    notes: tuple[str, ...] = ()  # what was left out beside it
    split: str = ""  # train or valid, where a manifest says so of the whole source


def find_sources(paths: Iterable[str | Path], held_out_share: float = 0.1, seed: int = 0) -> list[Source]:
    """The videos and folders of pictures among files and folders, searched to their ends, sorted by name.

    A `manifest.csv` with the columns `file` and `split` (train or valid) decides which entries of its folder are held
    out; of all others a share is, chosen by a hash of their names, so that adding a video does not move the others.
    A file or folder that is named twice, or by a link, is one source.

    Raises:
        DataError: if a path does not exist or holds neither videos nor pictures.
        InputError: if a manifest cannot be understood.
    """
    found: dict[tuple[int, int], Source] = {}
    names: set[str] = set()
    for place in (place for given in map(Path, paths) for place in _expand(given)):
        name = place.path.name if place.path.name not in names else str(place.path)
        key = identity(place.path)
        if key in found:
            same = found[key]
            note = f"{place.path} is {same.path} and counts once"
            found[key] = replace(same, notes=(*same.notes, *place.notes, note))
            continue
        names.add(name)
        draw = None if place.split or place.splits else _draw(name, seed)
        held_out = place.split == "valid" if draw is None else draw < held_out_share
        found[key] = replace(place, name=name, held_out=held_out, draw=draw, share=held_out_share)
    return settled(sorted(found.values(), key=lambda source: source.name))


def settled(sources: Sequence[Source]) -> list[Source]:
    """The same sources, so that some are held out and some are not, as far as a manifest leaves that open."""
    drawn = sorted((s for s in sources if s.draw is not None and s.share > 0), key=lambda s: s.draw or 0.0)
    held = sum(s.held_out for s in sources)
    if drawn and held == len(sources):
        changed = {drawn[-1].name: False}
    elif drawn and not held and len(sources) > 1:
        changed = {drawn[0].name: True}
    else:
        changed = {}
    return [replace(s, held_out=changed.get(s.name, s.held_out)) for s in sources]


def is_video(path: Path) -> bool:
    """Whether a source is a video: any file that is not called like a picture."""
    return not path.is_dir() and path.suffix.lower() not in FRAME_SUFFIXES


def pictures_in(path: Path) -> list[Path]:
    """The pictures of a folder in natural order of their names, or the one at a path."""
    if not path.is_dir():
        return [path]
    return sorted((p for p in _visible(path) if p.suffix.lower() in FRAME_SUFFIXES and p.is_file()), key=_natural)


def breaks(pictures: Sequence[Path]) -> list[bool]:
    """Whether each picture does not follow the one before: numbers are missing, or it is called otherwise."""
    numbers = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.stem) for path in pictures]
    steps = [
        int(b[2]) - int(a[2]) if a and b and (a[1], a[3]) == (b[1], b[3]) else None
        for a, b in zip(numbers, numbers[1:], strict=False)
    ]
    usual = Counter(step for step in steps if step).most_common(1)
    return [False, *(step is None or step != usual[0][0] for step in steps)] if usual else [False] * len(pictures)


def _expand(path: Path) -> list[Source]:
    if path.is_file():
        return [Source(path)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; expected a video, a folder of videos or a folder of frames")
    found, notes = _inside(path, ())
    if not found:
        raise DataError(
            f"{path} holds neither videos (such as .mp4, .mkv, .mov) nor pictures{''.join(f'; {n}' for n in notes)}"
        )
    return [replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]]


def _inside(folder: Path, above: tuple[tuple[int, int], ...]) -> tuple[list[Source], list[str]]:
    """The sources in a folder and the folders in it, and what to say of the rest."""
    here = _visible(folder)
    videos = [p for p in here if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES]
    pictures = pictures_in(folder)
    found, notes = [Source(p) for p in videos], []
    if pictures and not videos:
        found.append(Source(folder))
    elif pictures:
        notes.append(_some("pictures beside videos are left out; a folder of their own makes them a source", pictures))
    known = {*videos, *pictures, child(folder, MANIFEST)}
    if others := [p for p in here if p.is_file() and p not in known]:
        notes.append(_some("files are neither videos nor pictures and left out", others))
    trail = (*above, identity(folder))
    for inner in (p for p in here if p.is_dir() and identity(p) not in trail):
        below, told = _inside(inner, trail)
        found += below
        notes += told if below or told else [f"{inner} holds neither videos nor pictures"]
    return _decided(folder, found, pictures), notes


def _decided(folder: Path, found: list[Source], pictures: Sequence[Path]) -> list[Source]:
    """The sources with what the manifest of a folder says of them and has not been said further down."""
    clips = any(place.path == folder for place in found)
    splits = read_splits(folder, [*(p.path for p in found if p.path != folder), *(pictures if clips else ())])
    inner = {picture.name: splits[picture] == "valid" for picture in pictures if clips and splits.get(picture)}
    return [
        replace(place, splits=inner)
        if place.path == folder
        else replace(place, split=place.split or splits.get(place.path, ""))
        for place in found
    ]


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder but those that are hidden or belong to the system, by name."""
    with os_errors_as(DataError, f"cannot list {folder}"):
        entries = sorted(folder.iterdir())
    return [p for p in entries if not is_hidden(p.name) and p.exists()]


def _some(what: str, paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{paths[0].parent}: {what}: {', '.join(p.name for p in paths[:NAMED])}{more}"


def _draw(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key under which frame 10 comes after frame 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def read_splits(folder: Path, there: Sequence[Path]) -> dict[Path, str]:
    """The splits (train, valid, or "" for none) that the manifest of a folder gives to files below it.

    A name is a path from the folder, with or without its ending, or a folder whose files it stands for. Case, Unicode
    normal form and the direction of slashes do not matter.

    Args:
        folder: It may have a `manifest.csv` with the columns file and split.
        there: The files that can be named.

    Raises:
        InputError: if the manifest says something that is not understood, or of something that is not there.
    """
    path = child(folder, MANIFEST)
    if not path.is_file():
        return {}
    table = read_rows(path)
    table.require(("file", "split"))
    names = {file: _spellings(file, folder) for file in there}
    splits: dict[Path, str] = {}
    for line, row in table.records():
        split, where = row["split"].casefold(), f"{path}, line {line}"
        if split not in SPLITS:
            raise InputError(f"{where}: column split must be train or valid; got {row['split']!r}")
        matches = _matches(row["file"], names)
        if not matches:
            raise InputError(f"{where}: {row['file']!r} is no video or picture in {folder}")
        for match in matches:
            if splits.setdefault(match, split) != split:
                raise InputError(f"{where}: {row['file']!r} is both {splits[match] or 'without split'} and {split}")
    return splits


def _spellings(path: Path, folder: Path) -> tuple[str, ...]:
    """What a file may be called: its path from the folder first, then without its ending, and the folders above it."""
    name = PurePosixPath(folded(path.relative_to(folder).as_posix()))
    return (str(name), str(name.with_suffix("")), *(str(above) for above in name.parents if str(above) != "."))


def _matches(name: str, there: Mapping[Path, tuple[str, ...]]) -> list[Path]:
    wanted = str(PurePosixPath(folded(name.replace("\\", "/"))))
    exact = [path for path, names in there.items() if names[0] == wanted]
    return exact or [path for path, names in there.items() if wanted in names]
