"""Which triplet a rater is asked next: the one judged least, or the one whose answer would tell most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pim.rating.bradley_terry import fit, information

Counts = NDArray[np.float64]
Mask = NDArray[np.bool_]

Rule = Literal["all", "active"]


@dataclass(frozen=True)
class Tally:
    """What has been said of each of T triplets so far."""

    first: Counts  # (T,), how many found the first candidate closer; no difference is half a vote for each
    second: Counts  # (T,)
    pending: Counts  # (T,), how many are looking at it right now

    @classmethod
    def empty(cls, triplets: int) -> Tally:
        """Nothing said."""
        return cls(*(np.zeros(triplets) for _ in range(3)))


class LeastJudged:
    """Triplets with the fewest answers first, among them at random: all get equally many."""

    def pick(self, open_: Mask, tally: Tally, rng: np.random.Generator) -> int:
        """Pick one of the triplets that are open to a rater: (T,) with at least one True."""
        asked = tally.first + tally.second + tally.pending
        return _any_of(open_ & (asked == asked[open_].min()), rng)


@dataclass
class _Group:
    """The triplets of one reference."""

    triplets: NDArray[np.intp]  # (n,)
    first: NDArray[np.intp]  # (n,), numbers of candidates
    second: NDArray[np.intp]
    candidates: int
    seen: bytes = b""  # the counts that `gain` belongs to
    gain: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


class MostInformative:
    """The triplet whose answer is expected to tell most about the Bradley-Terry scores of its reference.

    Pairs that nobody doubts any more, and pairs that were asked often, tell little. What somebody else is
    looking at is asked only if nothing else is left.
    """

    def __init__(self, triplets: Sequence[tuple[str, str, str]]) -> None:
        """Sort triplets (reference, first, second) by reference."""
        self._groups = _groups(triplets)
        self._gain = np.zeros(len(triplets))

    def pick(self, open_: Mask, tally: Tally, rng: np.random.Generator) -> int:
        """See `LeastJudged.pick`."""
        for group in self._groups:
            first, second = tally.first[group.triplets], tally.second[group.triplets]
            counts = first.tobytes() + second.tobytes()
            if counts != group.seen:
                wins = wins_of(group.first, group.second, first, second, group.candidates)
                self._gain[group.triplets] = information(fit(wins), group.first, group.second)
                group.seen = counts
        free = open_ & (tally.pending == 0)
        among = free if free.any() else open_
        return _any_of(among & (self._gain >= self._gain[among].max() - 1e-12), rng)


def chooser(rule: Rule, triplets: Sequence[tuple[str, str, str]]) -> LeastJudged | MostInformative:
    """The rule of that name for triplets (reference, first, second)."""
    return MostInformative(triplets) if rule == "active" else LeastJudged()


def wins_of(
    first: NDArray[np.intp], second: NDArray[np.intp], for_first: Counts, for_second: Counts, candidates: int
) -> NDArray[np.float64]:
    """Count who was chosen over whom, (candidates, candidates), from answers about n pairs.

    `first` and `second` are numbers of candidates, (n,); `for_first` and `for_second` how often each was chosen, (n,).
    """
    wins = np.zeros((candidates, candidates))
    np.add.at(wins, (first, second), for_first)
    np.add.at(wins, (second, first), for_second)
    return wins


def _groups(triplets: Sequence[tuple[str, str, str]]) -> list[_Group]:
    places: dict[str, list[int]] = {}
    for place, (reference, _, _) in enumerate(triplets):
        places.setdefault(reference, []).append(place)
    made = []
    for inside in places.values():
        names = sorted({name for place in inside for name in triplets[place][1:]})
        number = {name: i for i, name in enumerate(names)}
        pairs = np.array([[number[name] for name in triplets[place][1:]] for place in inside], dtype=np.intp)
        made.append(_Group(np.array(inside, dtype=np.intp), pairs[:, 0], pairs[:, 1], len(names)))
    return made


def _any_of(mask: Mask, rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(mask)))
