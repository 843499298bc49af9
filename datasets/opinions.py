"""What the readers of opinion scores share: lines of their tables, and files joined with scores."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pim.datasets.cells import decoded
from pim.datasets.dataset import Dataset, Finding, ManifestError, Record, count_findings, finding
from pim.errors import InputError


@dataclass(frozen=True)
class Rating:
    """A row of a table of scores, before its pictures are looked up."""

    reference: str  # as files are called where pictures are listed
    distorted: str
    record: Record  # without pairs


def opinion_set(
    name: str,
    root: Path,
    ratings: Sequence[Rating],
    references: Mapping[str, Path],
    distorted: Mapping[str, Path],
    *,
    score: str,
    limits: tuple[float, float],
    higher_is_better: bool,
    expected: Mapping[str, int | None],
    findings: Iterable[Finding],
    picture_size: tuple[int, int] | None = None,
) -> Dataset:
    """Join a table with files by their names, in the order of the table, and compare both with what was published.

    Every distorted file should have a score; `score` is what scores are called, such as "MOS", `limits` the lowest and
    the highest that there can be, `findings` what was found out before. The others are as in `Dataset`.
    """
    records = [
        replace(rating.record, pairs=((references[rating.reference], distorted[rating.distorted]),))
        for rating in ratings
        if rating.reference in references and rating.distorted in distorted
    ]
    counts = Counter(subset for record in records for subset in ("", *record.subsets))
    found = {subset: counts[subset] for subset in expected}
    names = Counter(rating.distorted for rating in ratings)
    scores = {rating.record.key: rating.record.value for rating in ratings}
    return Dataset(
        name=name,
        kind="opinion",
        root=root,
        rows=tuple(records),
        higher_is_better=higher_is_better,
        findings=(
            *findings,
            *finding("error", "pictures are listed more than once", [n for n, count in names.items() if count > 1]),
            *range_findings(scores, *limits, score),
            *finding("missing", "reference pictures are missing", {r.reference for r in ratings} - set(references)),
            *finding("missing", "distorted pictures are missing", set(names) - set(distorted)),
            *finding("warning", "distorted pictures have no score", set(distorted) - set(names)),
            *count_findings(expected, found),
        ),
        expected=expected,
        found=found,
        picture_size=picture_size,
    )


def text_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without line ends; blanks at their ends are kept out too.

    Raises:
        ManifestError: if it cannot be read or is no text.
    """
    try:
        text, _ = decoded(path)
    except InputError as error:
        raise ManifestError(str(error)) from error
    return [line.strip() for line in io.StringIO(text) if line.strip()]


def range_findings(values: Mapping[str, float | None], low: float, high: float, what: str) -> tuple[Finding, ...]:
    """An error for values, by the name of their row, that are not numbers or lie outside their range."""
    wrong = [f"{name} ({v:g})" for name, v in values.items() if v is not None and not low <= v <= high]
    return finding("error", f"values of {what} are not in {low:g} to {high:g}", wrong)
