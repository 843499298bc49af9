"""Answers as the plain table of forced choices that `pim eval table` and `pim fit` read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim._version import VERSION
from pim.errors import UsageError, did_you_mean
from pim.rating.store import Answered, Content, folded
from pim.rating.triplets import Triplet

FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula


@dataclass(frozen=True, slots=True)
class Choice:
    """What raters said of one triplet."""

    triplet: Triplet
    prefer_b: float  # share that found b closer to the reference, in [0, 1]; no difference is half a vote for each
    n: int  # raters


def excluded_names(content: Content, names: Sequence[str]) -> tuple[str, ...]:
    """The raters that are called so, case aside, as they are spelled in the study.

    Raises:
        UsageError: if there is no such rater.
    """
    known = {folded(name): name for name in content.raters}
    for name in names:
        if folded(name) not in known:
            raise UsageError(f"there is no rater {name!r}; {did_you_mean(name, content.raters)}")
    return tuple(dict.fromkeys(known[folded(name)] for name in names))


def without(content: Content, excluded: Sequence[str]) -> tuple[Answered, ...]:
    """The answers of all raters but those of these names."""
    return tuple(answer for answer in content.answers if answer.rater not in excluded)


def votes(content: Content, answers: Iterable[Answered]) -> NDArray[np.int64]:
    """How many raters chose a, chose b, saw no difference: (T, 3). Repeats and catch trials are not votes."""
    counts = np.zeros((len(content.triplets), 3), dtype=np.int64)
    for answer in answers:
        if answer.kind == "main" and answer.triplet is not None:
            counts[answer.triplet, column(answer)] += 1
    return counts


def column(answer: Answered) -> int:
    """Where `votes` counts an answer."""
    return 2 if answer.second is None else int(answer.second)


def wins(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often a and b were chosen, (T, 2), where no difference, the last column of (T, 3), is half a win for each.

    Wins and half of the ties are what Davidson's model with ties needs to know for its scores.

    Source: Davidson, On extending the Bradley-Terry model to accommodate ties in paired comparison experiments (JASA
    1970).
    """
    return np.asarray(counts[:, :2] + counts[:, 2:] / 2)


def choices(content: Content, answers: Iterable[Answered]) -> list[Choice]:
    """The triplets that somebody judged, in the order in which they were given."""
    counts = votes(content, answers)
    asked, chose_b = counts.sum(axis=1).tolist(), wins(counts)[:, 1].tolist()
    rows = zip(content.triplets, chose_b, asked, strict=True)
    return [Choice(triplet, b / n, n) for triplet, b, n in rows if n]


def summary(content: Content, exported: Sequence[Choice], excluded: Sequence[str]) -> dict[str, Any]:
    """Where a table comes from, for the record beside it."""
    return {
        "answers": sum(choice.n for choice in exported),
        "judged": len(exported),
        "triplets": len(content.triplets),
        "raters": len(content.raters) - len(excluded),
        "excluded": list(excluded),
        "settings": dict(content.settings),
        "pim": VERSION,
    }


def names_from(paths: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """What each picture is called in a table that lies in a folder: a path relative to it, with / between parts.

    One that a spreadsheet would take for a formula begins with ./ instead.
    """
    found = {}
    for name, path in paths.items():
        try:
            relative = Path(os.path.relpath(path, folder.resolve())).as_posix()
        except ValueError:  # another drive
            relative = path.as_posix()
        found[name] = f"./{relative}" if relative.startswith(FORMULA) else relative
    return found
