"""Which images of folders belong together: by relative path, and by what encoders add to a name."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pim.core.files import is_hidden
from pim.datasets.folder import folded
from pim.errors import InputError
from pim.scoring.pairs import SHOWN, Pair, Pairs, more, some

COLUMNS = ("picture", "candidate")  # of the pairs, beside their files

# Also the kinds that the opener refuses: they must fail by name, not be missing from the table.
ENDINGS = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dds", ".dib", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k"),
        *(".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx", ".jxl", ".pbm", ".pcx", ".pfm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".psd", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)

Found = Mapping[str, list[str]]  # paths within a folder, by path without extension


@dataclass(frozen=True)
class _Matched:
    """What fits in one folder of distorted images."""

    names: dict[str, str]  # path within the folder, by name of the reference
    problems: list[str]
    notes: list[str]
    skipped: int


def from_folders(reference: str, candidates: Sequence[str], allow_unmatched: bool = False) -> Pairs:
    """Images of folders whose paths within the folder are equal without extension, in any Unicode normal form.

    A name that no reference has is taken for that of the only one it holds between its ends and marks such as `_`, `-`
    or `.`, in any case: encoders write `kodim01_q30.jpg` for `kodim01.png`.

    Args:
        reference: Folder of references; hidden files and folders are not looked at.
        candidates: Folders of distorted images, such as one for every codec.
        allow_unmatched: Skip and count names that are not exactly once in the references and a folder.

    Returns:
        Picture by picture, the candidates of each in their order. What was taken for what is in the notes.

    Raises:
        InputError: if a folder cannot be read or has no images, or names do not match one to one.
    """
    given = {os.path.realpath(folder) for folder in (reference, *candidates)}
    labels = _labels(candidates)
    first, ignored = _images(reference, given)
    found: dict[str, _Matched] = {}
    for folder in candidates:
        second, ignored_here = _images(folder, given)
        found[folder] = _match(first, second, reference, folder)
        ignored += ignored_here
    problems = list(dict.fromkeys(problem for matched in found.values() for problem in matched.problems))
    if problems and not allow_unmatched:
        raise InputError("; ".join([*problems, "--allow-unmatched skips them"]))
    pairs = tuple(
        Pair(*(2 * (os.path.join(reference, first[name][0]), os.path.join(folder, matched.names[name]))), extra)
        for name in sorted(first)
        for folder, matched in found.items()
        if name in matched.names
        for extra in [dict(zip(COLUMNS, (name, labels[folder]), strict=True))]
    )
    if not pairs:
        raise InputError(f"no name is in both {reference} and {' or '.join(candidates)}")
    notes = tuple(note for matched in found.values() for note in matched.notes)
    return Pairs(
        pairs, sum(matched.skipped for matched in found.values()), tuple(ignored), notes, COLUMNS, folders=True
    )


def image_files(paths: Sequence[str]) -> list[str]:
    """Files as they are, and the images in folders and below by path.

    Raises:
        InputError: if a folder cannot be read or has no images.
    """
    inside = [[path] if not os.path.isdir(path) else _paths(path) for path in paths]
    return [file for files in inside for file in files]


def _paths(folder: str) -> list[str]:
    return sorted(os.path.join(folder, path) for same in _images(folder, ())[0].values() for path in same)


def _labels(folders: Sequence[str]) -> dict[str, str]:
    """What to call folders: their last name, or the whole path where two share that."""
    short = [os.path.basename(os.path.normpath(folder)) for folder in folders]
    real = [os.path.realpath(folder) for folder in folders]
    if len(set(real)) < len(folders):
        twice = some(f for f, place in zip(folders, real, strict=True) if real.count(place) > 1)
        raise InputError(f"the same folder is given twice: {twice}")
    alone = {name for name in short if short.count(name) == 1 and name not in (".", "..")}
    return {folder: name if name in alone else folder for folder, name in zip(folders, short, strict=True)}


def _images(folder: str, others: Collection[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Images of a folder and those below by path without extension, and the files that are not called like images."""
    images, ignored = defaultdict(list), []
    for path in _files(folder, others):
        stem, ending = os.path.splitext(path)
        if ending.lower() in ENDINGS:
            images[unicodedata.normalize("NFC", stem).replace(os.sep, "/")].append(path)
        else:
            ignored.append(os.path.join(folder, path))
    if not images:
        raise InputError(f"{folder} holds no images")
    return images, ignored


def _files(folder: str, others: Collection[str]) -> Iterator[str]:
    """Paths within a folder, sorted; other folders that were given, hidden ones and circles of links are left out."""

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror or error}") from error

    seen = set(others)
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        inside = {name: os.path.realpath(os.path.join(place, name)) for name in sorted(folders)}
        folders[:] = [name for name, real in inside.items() if not is_hidden(name) and real not in seen]
        seen.update(inside[name] for name in folders)
        yield from (os.path.relpath(os.path.join(place, n), folder) for n in sorted(files) if not is_hidden(n))


def _match(first: Found, second: Found, reference: str, folder: str) -> _Matched:
    added, unsure = _added_to(second.keys() - first.keys(), first.keys() - second.keys())
    found = {name: list(second[name]) for name in first if name in second}
    for stem, name in added.items():
        found.setdefault(name, []).extend(second[stem])
    lost = second.keys() - first.keys() - added.keys() - unsure.keys()
    lacking = first.keys() - found.keys() - {name for fits in unsure.values() for name in fits}
    problems = [f"{place} lacks {some(names)}" for place, names in ((reference, lost), (folder, lacking)) if names]
    problems += [f"{folder} has {stem!r}, which may be any of {some(fits)}" for stem, fits in unsure.items()]
    for place, files in ((reference, first), (folder, found)):
        if doubled := [name for name, paths in files.items() if len(paths) > 1]:
            shown = some(path for name in doubled for path in files[name])
            problems.append(f"{place} has more than one file for {some(doubled)}: {shown}")
    good = {name: paths[0] for name, paths in found.items() if len(paths) == len(first[name]) == 1}
    told = [f"{second[stem][0]} for {name}" for stem, name in added.items() if name in good]
    notes = [f"{folder}: taken {', '.join(told[:SHOWN])}{more(told)}"] if told else []
    return _Matched(good, problems, notes, len(first) - len(good) + len(lost) + len(unsure))


def _added_to(names: Collection[str], references: Collection[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Names with something before or after that of a reference, whatever their case: the one that fits, or several."""
    known: dict[str, set[str]] = defaultdict(set)
    for name in references:
        known[folded(name)].add(name)
    fits = {
        name: sorted(set().union(*(known.get(folded(part), ()) for part in _parts(name)))) for name in sorted(names)
    }
    only = {name: found[0] for name, found in fits.items() if len(found) == 1}
    return only, {name: found for name, found in fits.items() if len(found) > 1}


def _parts(name: str) -> Iterator[str]:
    """What lies between marks in the last part of a path, with the folders before it."""
    folder, slash, last = name.rpartition("/")
    marks = [i for i, letter in enumerate(last) if not letter.isalnum()]
    for start in (0, *(i + 1 for i in marks)):
        yield from (folder + slash + last[start:end] for end in (*marks, len(last)) if end > start)
