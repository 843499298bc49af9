"""From what people said about the rows of rated data sets to choices between two picture pairs.

Forced choices and quadruples are choices already. Opinion scores are compared with each other inside one
reference only: how scores of different photos compare is not what people were asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr

from pim.errors import DataError, UsageError
from pim.eval.judgements import Judgement, Plan, PlannedPair
from vggmetric.fitting.choice import Array, Whole

CHOICES = ("opinion", "two_afc", "quadruple")  # kinds of data sets that say which of two pairs differs more
# Spread of opinions beyond the error of a mean, as a share of the spread of all scores: 0.25 on the scale of TID2013.
OPINION_SPREAD = 0.2


@dataclass(frozen=True)
class Preferences:
    """Choices between picture pairs, by their places in the list of all pairs."""

    first: Whole  # (N,) place of the first pair
    second: Whole  # (N,)
    share: Array  # (N,) of the votes that call the second pair less different
    votes: Array  # (N,)
    group: tuple[str, ...]  # (N,) rows of one group are not independent

    def __len__(self) -> int:
        return len(self.first)


def preferences(plan: Plan) -> Preferences:
    """The choices of one data set; its picture pairs are those of the plan.

    Raises:
        DataError: if its kind of judgement says nothing about which of two pairs differs more, or too little does.
    """
    kind, judgements = plan.about.kind, plan.judgements
    if kind not in CHOICES:
        fitted = "opinion scores, forced choices or quadruples"
        raise DataError(f"{plan.about.dataset} has judgements of the kind {kind}; a head is fitted to {fitted}")
    if kind == "opinion":
        references = [plan.pairs[j.pairs[0]].reference.name for j in judgements]
        found = from_opinions(judgements, references, bool(plan.about.higher_is_better))
    else:
        found = from_choices(judgements, kind == "quadruple")
    if len(found) == 0:
        raise DataError(f"{plan.about.dataset} has no two pictures of one reference that could be compared")
    return found


def from_choices(judgements: Sequence[Judgement], quadruples: bool) -> Preferences:
    """Take forced choices, or quadruples, whose judgement is about the larger difference instead of the smaller.

    Judgements without votes count as one vote.
    """
    places = np.array([j.pairs for j in judgements], dtype=np.int64).reshape(-1, 2)
    if quadruples:  # "q differs more" is "p differs less"
        places = places[:, ::-1]
    share = np.array([j.value for j in judgements], dtype=np.float64)
    votes = np.array([j.people or 1 for j in judgements], dtype=np.float64)
    return Preferences(places[:, 0].copy(), places[:, 1].copy(), share, votes, tuple(j.group for j in judgements))


def from_opinions(judgements: Sequence[Judgement], references: Sequence[str], higher_is_better: bool) -> Preferences:
    """Each two opinion scores of one reference as a choice of one vote.

    The share that prefers a over b is Phi((m_a - m_b) / sqrt(s_a^2 + s_b^2 + t^2)), with the standard errors s
    where they are known, and t a fifth of the standard deviation of all scores: no two people agree entirely,
    however exactly their mean is known. `references` names the reference picture of each judgement, (n,).
    """
    score = np.array([j.value for j in judgements], dtype=np.float64) * (1 if higher_is_better else -1)
    error = np.array([j.deviation or 0.0 for j in judgements], dtype=np.float64)
    spread = OPINION_SPREAD * float(score.std()) if len(score) else 0.0
    members: dict[str, list[int]] = defaultdict(list)
    for row, reference in enumerate(references):
        members[reference].append(row)
    two = [pair for rows in members.values() for pair in combinations(rows, 2)]
    b, a = np.array(two, dtype=np.int64).reshape(-1, 2).T
    scale = np.sqrt(error[a] ** 2 + error[b] ** 2 + spread**2)
    share = ndtr(np.divide(score[a] - score[b], scale, out=np.zeros(len(a)), where=scale > 0))
    place = np.array([j.pairs[0] for j in judgements], dtype=np.int64)
    return Preferences(place[b], place[a], share, np.ones(len(a)), tuple(judgements[row].group for row in a))


def joined(parts: Sequence[Preferences], sizes: Sequence[int], equal: bool = False) -> Preferences:
    """Join the preferences of several data sets, whose picture pairs follow each other; sizes say how many each has.

    Groups of the same name are taken for the same photo: at worst, parts that could stand alone stay together. `equal`
    lets every data set have the same number of votes in all, instead of those that were given.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    mean = float(np.mean([part.votes.sum() for part in parts]))
    moved = [
        replace(
            part,
            first=part.first + start,
            second=part.second + start,
            votes=part.votes * (mean / part.votes.sum() if equal else 1.0),
        )
        for part, start in zip(parts, starts, strict=True)
    ]
    columns = {n: np.concatenate([getattr(part, n) for part in moved]) for n in ("first", "second", "share", "votes")}
    return Preferences(**columns, group=tuple(name for part in moved for name in part.group))


@dataclass(frozen=True)
class Ratings:
    """What people said about the picture pairs of some data sets."""

    plans: tuple[Plan, ...]
    preferences: Preferences  # between the pairs of all plans, one after the other
    cluster: Whole  # (M,) of every picture pair; pairs of different clusters share no photo

    @classmethod
    def of(cls, plans: Sequence[Plan], references: Mapping[str, str] | None = None, equal: bool = False) -> Ratings:
        """Join data sets of different names; `equal` lets each have the same number of votes in all.

        `references` gives, by name of a reference picture, what equal pictures have in common, such as a hash.

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
