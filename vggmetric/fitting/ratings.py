"""Rated data sets, several at once, as one list of picture pairs with the choices between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pim.errors import UsageError
from pim.eval.judgements import Plan, PlannedPair
from vggmetric.fitting.preferences import Preferences, joined, preferences

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Ratings:
    """What people said about the picture pairs of some data sets."""

    plans: tuple[Plan, ...]
    preferences: Preferences  # between the pairs of all plans, one after the other
    cluster: Whole  # (M,) of every picture pair; pairs of different clusters share no photo

    @classmethod
    def of(cls, plans: Sequence[Plan], references: Mapping[str, str] | None = None, equal: bool = False) -> Ratings:
        """The ratings of some data sets.

        Args:
            plans: With different names.
            references: By name of a reference picture, something that equal pictures have in common, such as a hash.
            equal: Let every data set have the same number of votes in all.

        Raises:
            UsageError: if two data sets have the same name.
            DataError: if one of them says nothing about which of two pairs differs more.
        """
        names = [plan.about.dataset for plan in plans]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"two data sets are called {repeated[0]}; put the rows of both in one table")
        found = joined([preferences(plan) for plan in plans], [len(plan.pairs) for plan in plans], equal)
        return cls(tuple(plans), found, _clusters(plans, references or {}))

    @cached_property
    def pairs(self) -> tuple[PlannedPair, ...]:
        """All picture pairs, (M,)."""
        return tuple(chain.from_iterable(plan.pairs for plan in self.plans))

    @property
    def clusters(self) -> int:
        """How many photos, or whatever else stands alone, there are."""
        return int(self.cluster.max()) + 1

    def part(self, number: int) -> slice:
        """Where the picture pairs of a plan are in the list of all."""
        start = sum(len(plan.pairs) for plan in self.plans[:number])
        return slice(start, start + len(self.plans[number].pairs))


def _clusters(plans: Sequence[Plan], references: Mapping[str, str]) -> Whole:
    """A number for every picture pair; pairs of one group, of one reference, or of one choice have the same."""
    links: list[tuple[int, str]] = []
    start = 0
    for plan in plans:
        for judgement in plan.judgements:
            links += [(start + place, f"group {judgement.group}") for place in judgement.pairs]
        for place, pair in enumerate(plan.pairs):
            name = pair.reference.name
            links.append((start + place, f"picture {references.get(name, name)}"))
        start += len(plan.pairs)
    numbers = {name: start + i for i, name in enumerate(dict.fromkeys(name for _, name in links))}
    pair, tie = np.array([(place, numbers[name]) for place, name in links], dtype=np.int64).T
    size = start + len(numbers)
    graph = coo_array((np.ones(len(pair), dtype=bool), (pair, tie)), shape=(size, size))
    label = connected_components(graph, directed=False)[1][:start]
    return np.unique(label, return_inverse=True)[1].astype(np.int64)
