"""The files that any codec made of pictures, as a curve: what they weigh, and how far they are from the originals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntc.rd import Picture, as_picture
from pim.core.files import is_hidden, sha256_of
from pim.errors import InputError, UsageError
from pim.images.opener import open_image

LOSSLESS = (".png", ".ppm", ".tif", ".tiff", ".bmp")  # what decoders write beside a file that nothing else opens


@dataclass(frozen=True)
class Coded:
    """What a codec made of one picture at one setting."""

    stream: Path  # whose bytes count
    decoded: Path  # the picture; the stream itself, or what a decoder made of it


@dataclass(frozen=True)
class PictureFiles:
    """The files of one picture at every setting; codes as `ntc.rd.PillowCoder` does, with what is there."""

    name: str
    files: Mapping[str, Coded]  # by setting

    @property
    def settings(self) -> Sequence[str]:
        """In their natural order."""
        return tuple(self.files)

    @property
    def identity(self) -> dict[str, Any]:
        """What all the files hold."""
        return {
            setting: [sha256_of(path) for path in (coded.stream, coded.decoded)]
            for setting, coded in self.files.items()
        }

    def code(self, picture: Picture, setting: str) -> tuple[bytes, Picture]:
        """Read the file of this setting, and the picture in it.

        Raises:
            InputError: if it cannot be opened.
        """
        coded = self.files[setting]
        try:
            opened = open_image(coded.decoded)
        except InputError as error:
            hint = "; a pattern that ends in .* finds a decoded .png beside it" if coded.stream == coded.decoded else ""
            raise InputError(f"{error}{hint}") from error
        return coded.stream.read_bytes(), as_picture(opened.pixels)


@dataclass(frozen=True)
class CodedFiles:
    """The files of many pictures at several settings, by setting and then by the name of the picture."""

    name: str
    files: Mapping[str, Mapping[str, Coded]]

    @property
    def settings(self) -> Sequence[str]:
        """In their natural order."""
        return tuple(self.files)

    def of_picture(self, file: str) -> PictureFiles:
        """Take those of one original.

        Raises:
            InputError: if a setting has none of it.
        """
        stem = Path(file).stem
        missing = [setting for setting, there in self.files.items() if stem not in there]
        if missing:
            raise InputError(f"{file}: {self.name} has no file of it at the setting {', '.join(missing)}")
        return PictureFiles(self.name, {setting: there[stem] for setting, there in self.files.items()})


def find(text: str) -> CodedFiles:
    """Find the files that `NAME=PATTERN` names.

    Args:
        text: The pattern is a path with {setting} and {name} in it, such as "vvc/{name}_q{setting}.*", or a folder:
            then its sub-folders are the settings, and files are called like their pictures. Where two files have one
            name, the lossless one (.png, .ppm, .tif, .bmp) is the decoded picture and the other one is weighed.

    Raises:
        UsageError: if the pattern is none, nothing fits it, or three files have one name.
    """
    name, _, pattern = text.rpartition("=")
    if not name:
        raise UsageError(
            f"--files {text}: give NAME=FOLDER or NAME=PATTERN, such as avif=coded/ or vvc={{setting}}/{{name}}.*"
        )
    if "{setting}" not in pattern and "{name}" not in pattern:
        pattern = str(Path(pattern) / "{setting}" / "{name}.*")
    for mark in ("{setting}", "{name}"):
        if pattern.count(mark) != 1:
            raise UsageError(f"--files {text}: the pattern needs {mark} exactly once")
    groups: dict[str, dict[str, list[Path]]] = {}
    shape = _shape(pattern)
    wild = Path(re.sub(r"\{(setting|name)\}", "*", pattern.replace("[", "[[]")))
    for path in sorted(Path(wild.anchor).glob(str(wild.relative_to(wild.anchor)))):
        if (found := shape.fullmatch(path.as_posix())) and path.is_file() and not is_hidden(path.name):
            groups.setdefault(found["setting"], {}).setdefault(found["name"], []).append(path)
    if not groups:
        raise UsageError(f"--files {text}: no file fits {pattern}")
    settings = sorted(groups, key=_natural)
    return CodedFiles(name, {s: {n: _coded(paths) for n, paths in groups[s].items()} for s in settings})


def _shape(pattern: str) -> re.Pattern[str]:
    """Shape of paths of the pattern; names may hold dots where the ending is given, and _ rather than settings."""
    text = re.escape(Path(pattern).as_posix())
    for mark, length in (("setting", "+?"), ("name", "+")):
        text = text.replace(rf"\{{{mark}\}}", rf"(?P<{mark}>[^/]{length})")
    return re.compile(text.replace(r"\.\*", r"\.[^./]+").replace(r"\*", "[^/]*"))


def _natural(text: str) -> list[tuple[float, str]]:
    """Numbers count as numbers: q9 before q10."""
    return [
        (float(part), "") if part.replace(".", "", 1).isdecimal() else (0.0, part)
        for part in re.split(r"(\d+(?:\.\d+)?)", text)
    ]


def _coded(paths: Sequence[Path]) -> Coded:
    if len(paths) == 1:
        return Coded(paths[0], paths[0])
    decoded = [path for path in paths if path.suffix.lower() in LOSSLESS]
    if len(paths) != 2 or len(decoded) != 1:
        raise UsageError(
            f"{', '.join(map(str, paths))} have one name; expected one file, or a decoded picture "
            f"({', '.join(LOSSLESS)}) and the file that it was decoded from"
        )
    (stream,) = set(paths) - set(decoded)
    return Coded(stream, decoded[0])
