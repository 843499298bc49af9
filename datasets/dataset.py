"""A data set as found on disk: its records, what is wrong with it, and what is merely odd."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pim.datasets.records import AnyRecord, Kind
from pim.errors import DataError

EXAMPLES = 20  # named in an error; the rest is counted

Level = Literal["error", "missing", "warning", "note"]


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
    """A finding about these cases, or nothing if there are none.

    Args:
        level: As in `Finding`.
        text: What they have in common, a plain sentence about several.
        examples: All cases; the first ones are kept, in sorted order.
    """
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
    rows: Collection[AnyRecord]
    higher_is_better: bool | None = None  # of scores; None where there are none
    findings: tuple[Finding, ...] = ()
    # Published number of rows by subset, None where only its name is known; "" is all.
    expected: Mapping[str, int | None] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)  # the number here, by the same names
    protocol_side: int | None = None  # the original evaluation resizes the shorter side to this
    picture_size: tuple[int, int] | None = None  # width and height that every picture should have

    def records(self) -> Iterator[AnyRecord]:
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

    def with_findings(self, *more: Finding) -> Dataset:
        """The same data set with further findings."""
        return replace(self, findings=(*self.findings, *more))

    def require_whole(self, allow_missing: bool = False) -> None:
        """That the data set can be scored.

        Args:
            allow_missing: Be content with the records whose pictures and labels are all there.

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
