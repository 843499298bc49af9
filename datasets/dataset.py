"""A data set as found on disk: its records, what is wrong with it, and what is merely odd.

A picture is a path, or a `RenderedPicture` where it has to be made from a file first. Keys of records are made of
names inside the data set, so they survive a move to another folder.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pim.errors import DataError

if TYPE_CHECKING:
    from pim.datasets.rendered import RenderedPicture

    Picture = Path | RenderedPicture
    PicturePair = tuple[Picture, Picture]

EXAMPLES = 20  # named in an error; the rest is counted

Kind = Literal["opinion", "two_afc", "quadruple", "jnd", "severity"]
Level = Literal["error", "missing", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row: pairs of pictures, and what people said of them.

    By the kind of the data set, the pairs and the value are

    - opinion: (reference, distorted); the score, and `Dataset.higher_is_better` says what a high one means;
    - two_afc: (reference, first), (reference, second); the share that found the second closer, in [0, 1];
    - quadruple: (p0, p1), (q0, q1); the share that said q differs more, in [0, 1];
    - jnd: (reference, distorted); the share that saw no difference, in [0, 1];
    - severity: (clean, corrupted); none, nobody was asked. `distortion` and `level` are always set.
    """

    key: str  # unique within the data set
    group: str  # rows of one group are not independent: the reference picture, as a rule; the key if it is not known
    pairs: tuple[PicturePair, ...] = ()
    value: float | None = None
    subsets: tuple[str, ...] = ()  # the parts of the data set that the row belongs to
    distortion: str | None = None
    level: int | None = None  # 1 is mildest
    deviation: float | None = None  # standard error of the value
    people: int | None = None


def standard_error(spread: float | None, people: float | None) -> float | None:
    """Turn the standard deviation of opinions into that of their mean; None where one of the two is not known."""
    return spread / math.sqrt(people) if spread is not None and people else None


class ManifestError(DataError):
    """A data set that must not be scored as it is; found before anything was scored."""

    exit_code = 2


@dataclass(frozen=True)
class Finding:
    """One thing to say about a data set.

    Levels: an `error` forbids scoring, `missing` does unless it is allowed, a `warning` limits what a
    number means, a `note` is a known and harmless quirk.
    """

    level: Level
    text: str  # a plain sentence without its full stop
    count: int = 1
    examples: tuple[str, ...] = ()

    def sentence(self, examples: int = EXAMPLES) -> str:
        """The text with the number of cases and the first of them, on one line."""
        if not self.examples:
            return self.text
        named = ", ".join(self.examples[:examples])
        rest = self.count - min(examples, len(self.examples))
        return f"{self.text} ({self.count}): {named}" + (f" and {rest} more" if rest > 0 else "")


def finding(level: Level, text: str, examples: Collection[str]) -> tuple[Finding, ...]:
    """Make a finding about these cases, whose first are kept in sorted order; nothing if there are none."""
    if not examples:
        return ()
    return (Finding(level, text, len(examples), tuple(sorted(examples)[:EXAMPLES])),)


@dataclass(frozen=True)
class Dataset:
    """Records of one kind and all that was found out about them.

    `rows` is a tuple, or for sets of millions a collection that makes its records as they are asked for.
    """

    name: str
    kind: Kind
    root: Path
    rows: Collection[Record]
    higher_is_better: bool | None = None  # of scores; None where there are none
    findings: tuple[Finding, ...] = ()
    # Published number of rows by subset, None where only its name is known; "" is all.
    expected: Mapping[str, int | None] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)  # the number here, by the same names
    protocol_side: int | None = None  # the original evaluation resizes the shorter side to this
    picture_size: tuple[int, int] | None = None  # width and height that every picture should have

    def records(self) -> Iterator[Record]:
        """The records in their order, which depends on names only."""
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What forbids scoring: errors, and what is missing."""
        return tuple(f for f in self.findings if f.level in ("error", "missing"))

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings and harmless quirks, a sentence each."""
        return tuple(f.sentence(3) for f in self.findings if f.level in ("warning", "note"))

    @property
    def partial(self) -> tuple[str, ...]:
        """The subsets whose number of rows is not the published one; "" is the whole set."""
        return tuple(name for name, _, _ in _miscounts(self.expected, self.found))

    def require_whole(self, allow_missing: bool = False) -> None:
        """Check that the data set can be scored, or those of its records whose pictures and labels are all there.

        Raises:
            ManifestError: naming every problem, each with its count and first examples.
        """
        barring = [f for f in self.problems if not (allow_missing and f.level == "missing")]
        if barring:
            told = "; ".join(f.sentence() for f in barring)
            hint = "" if any(f.level == "error" for f in barring) else ". --allow-missing scores the rest"
            raise ManifestError(f"{self.name} in {self.root} cannot be scored: {told}{hint}")
        if len(self) == 0:
            raise ManifestError(f"{self.name} in {self.root} has no records to score")


def count_findings(expected: Mapping[str, int | None], found: Mapping[str, int]) -> tuple[Finding, ...]:
    """A warning for every subset whose number of rows is not the published one."""
    return tuple(
        Finding(
            "warning", f"{name or 'the whole set'} has {rows} rows; published are {'some' if count is None else count}"
        )
        for name, rows, count in _miscounts(expected, found)
    )


def _miscounts(expected: Mapping[str, int | None], found: Mapping[str, int]) -> Iterator[tuple[str, int, int | None]]:
    for name, count in expected.items():
        rows = found.get(name, 0)
        if rows != count if count is not None else rows == 0:
            yield name, rows, count
