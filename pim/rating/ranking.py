"""Which folder of candidates raters prefer, over all references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pim.eval.bootstrap import TOO_FEW_CLUSTERS, draw_clusters, percentile_interval
from pim.rating.bradley_terry import fit
from pim.rating.choosing import wins_of
from pim.rating.export import wins as wins_in
from pim.rating.triplets import Triplet

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Preference:
    """How often candidates of one folder were chosen over those of another."""

    better: str
    worse: str
    share: float  # of the answers about the two, in [0, 1]; no difference is half an answer for each
    low: float | None  # 95 % interval over references; None with too few of them
    high: float | None
    answers: int
    ties: int  # of the answers: no difference
    references: int

    def __str__(self) -> str:
        """Say it in words."""
        span = "" if self.low is None or self.high is None else f" [{100 * self.low:.0f}, {100 * self.high:.0f}]"
        sure = self.low is not None and self.low > 0.5
        ties = f", {self.ties} of which saw no difference" if self.ties else ""
        of = f"{100 * self.share:.0f} %{span} of {self.answers} answers{ties}"
        said = f"{self.better} preferred to {self.worse} in {of}"
        if self.share == 0.5:
            said = f"{self.better} and {self.worse} preferred equally often in {self.answers} answers{ties}"
        return said if sure else f"{said}, which is not certain"


def ranking(triplets: Sequence[Triplet], counts: Counts) -> tuple[Preference, ...]:
    """Rank the folders of candidates, best first, each compared with the next.

    Args:
        triplets: The questions, n.
        counts: (n, 3), how often the first and the second candidate was chosen, and neither.

    Returns:
        One preference fewer than folders that were compared; none where names of candidates have no folder.
    """
    labels = [tuple(str(PurePosixPath(name).parent) for name in (t.a, t.b)) for t in triplets]
    asked = [i for i, (a, b) in enumerate(labels) if a != b and "." not in (a, b) and counts[i].any()]
    names = sorted({name for i in asked for name in labels[i]})
    if len(names) < 2:
        return ()
    first, second = (np.array([names.index(labels[i][side]) for i in asked], np.intp) for side in (0, 1))
    chosen, ties = wins_in(counts[asked]), counts[asked, 2]
    order = np.argsort(-fit(wins_of(first, second, chosen[:, 0], chosen[:, 1], len(names))).mean, kind="stable")
    groups = np.unique([triplets[i].reference for i in asked], return_inverse=True)[1]
    found = []
    for better, worse in zip(order[:-1], order[1:], strict=True):
        forth, back = (first == better) & (second == worse), (first == worse) & (second == better)
        hits = chosen[:, 0] * forth + chosen[:, 1] * back
        total = counts[asked].sum(axis=1) * (forth | back)
        if total.any():
            tied = int(ties[forth | back].sum())
            found.append(_preference(names[better], names[worse], hits, total, tied, groups))
    return tuple(found)


def _preference(
    better: str, worse: str, hits: NDArray[np.float64], total: Counts, ties: int, groups: NDArray[np.intp]
) -> Preference:
    by_reference = np.stack([np.bincount(groups, values) for values in (hits, total)])
    by_reference = by_reference[:, by_reference[1] > 0]
    references, low, high = by_reference.shape[1], None, None
    if references >= TOO_FEW_CLUSTERS:
        drawn = np.concatenate([block @ by_reference.T for block in draw_clusters(references)])
        low, high = percentile_interval(drawn[:, 0] / drawn[:, 1])
    return Preference(better, worse, float(hits.sum() / total.sum()), low, high, int(total.sum()), ties, references)
