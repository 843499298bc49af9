"""A distance that pairs must not exceed, such as for screenshots in a build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pim.cli.common import note, one_line, short
from pim.errors import UsageError

if TYPE_CHECKING:
    from pim.cli.records import Scored
    from pim.core.metric import Metric
    from pim.scoring.pairs import Pair


class Limit:
    """Names the pairs whose distance is above a limit.

    Args:
        above: The limit, at least 0.
        metrics: One distance: of a similarity such as PSNR, what is above would be what is good.

    Raises:
        UsageError: if there is another number of metrics, it is a similarity, or the limit is below 0.
    """

    def __init__(self, above: float, metrics: Sequence[Metric]) -> None:
        self._above, self._total = above, 0
        self._found: list[str] = []
        if not above >= 0:
            raise UsageError(f"--fail-above must be a distance of at least 0; got {above:g}")
        if len(metrics) > 1:
            names = ", ".join(metric.name for metric in metrics)
            raise UsageError(f"--fail-above is a distance of one metric; got {names}. Run pim score for each")
        if not metrics[0].lower_is_better:
            raise UsageError(f"--fail-above is for distances, and {metrics[0].name} is higher where pictures are alike")

    def add(self, pair: Pair, scored: Scored) -> None:
        """Look at the value of a pair; one without a value has failed anyway."""
        self._total += 1
        for name, value in scored.values.items():
            if value > self._above:
                self._found.append(f"{one_line(pair.distorted)}: {name} {short(value)} is above {short(self._above)}")

    def finish(self) -> bool:
        """Name what is above the limit, and say whether there is anything."""
        for line in self._found:
            note(line)
        if self._found:
            note(f"{len(self._found)} of {self._total} pairs differ by more than {short(self._above)}")
        return bool(self._found)
