"""The page of `pim score --report`: collects values and places, and writes it at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pim.cli.records import Scored, Settings
from pim.core.files import write_text
from pim.eval.candidates import BYTES, RATE, Candidates
from pim.scoring.folders import COLUMNS

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.scoring.pairs import Pair, Pairs

ALONE = "distorted"  # the candidate where pairs are no folders


class Page:
    """Collects the values of pairs.

    Args:
        path: Of the page.
        chosen: What is scored; folders are pictures by candidates, anything else is one candidate.
        metrics: In the order of the tables.
        settings: How values are computed.
    """

    def __init__(self, path: Path, chosen: Pairs, metrics: Sequence[Metric], settings: Settings) -> None:
        self.path, self.metrics, self.settings, self.failed = path, metrics, settings, 0
        places = list(_places(chosen))
        self.title = _title(places, chosen.folders)
        self.pairs = dict(zip(places, chosen.items, strict=True))
        pictures, candidates = zip(*places, strict=True)
        self.found = Candidates(pictures, candidates, {metric.name: metric.lower_is_better for metric in metrics})
        self._coming = iter(places)

    def add(self, pair: Pair, scored: Scored) -> None:
        """Take the values of the next pair."""
        sizes = dict(zip((BYTES, RATE), scored.sizes(pair), strict=True))
        self.found.add(*next(self._coming), {**sizes, **scored.values})
        self.failed += bool(scored.errors)

    def write(self) -> None:
        """Write the page, whole or not at all."""
        from pim.eval.score_page import page

        opening = self.settings.opening
        write_text(self.path, page(self.title, self.found, self.metrics, self.pairs, opening, self.failed))


def _places(chosen: Pairs) -> Iterator[tuple[str, str]]:
    """Picture and candidate of every pair; a distorted image that comes again is numbered."""
    seen: Counter[str] = Counter()
    for pair in chosen.items:
        if chosen.folders:
            picture, candidate = (pair.extra[column] for column in COLUMNS)
            yield picture, candidate
            continue
        seen[pair.distorted] += 1
        times = seen[pair.distorted]
        yield (pair.distorted if times == 1 else f"{pair.distorted} ({times})"), ALONE


def _title(places: Sequence[tuple[str, str]], folders: bool) -> str:
    if len(places) == 1:
        return f"{places[0][0]} against its reference"
    if folders:
        *others, last = dict.fromkeys(candidate for _, candidate in places)
        return f"{', '.join(others)}{' and ' if others else ''}{last} against the references"
    return f"{len(places)} images against their references"
