"""All that fitting needs, together: choices with their quantities, and which photos are held out when."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pim.errors import UsageError
from pim.eval.judgements import Plan
from pim.eval.run import Advance
from vggmetric.fitting.choice import Array, Choices
from vggmetric.fitting.cross_validation import FOLDS, Split
from vggmetric.fitting.layout import Layout
from vggmetric.fitting.preferences import Ratings
from vggmetric.fitting.quantities import Collecting, collect, keys, stamp
from vggmetric.fitting.source import VGGQuantities
from vggmetric.head import Head

UNIFORM = "uniform"  # all layers of the network alike, the pixels without weight
LARGEST = 1 << 27  # elements of quantities up to which they are computed with in float64


@dataclass(frozen=True)
class Bench:
    """Ratings of picture pairs with the quantities of a backbone."""

    ratings: Ratings
    layout: Layout
    choices: Choices
    split: Split
    scales: dict[str, float]  # of the taps, with norm "none"
    prior: Array  # (P,) weights of the head to start from
    content: str  # a hash of all pictures and judgements
    prior_name: str = UNIFORM

    def distances(self, held_out: Array) -> Array:
        """The distance of every picture pair, (M,), under the weights that saw nothing of its fold, (F, P)."""
        by_fold = np.stack([self.choices.distances(weights) for weights in held_out])
        return np.asarray(by_fold[self.fold_of_pair, np.arange(by_fold.shape[1])])

    @property
    def fold_of_pair(self) -> NDArray[np.int64]:
        """(M,); a pair that is in no choice, and so in no fit, counts to the first."""
        fold = np.zeros(self.ratings.clusters, dtype=np.int64)
        fold[self.ratings.cluster[self.choices.first]] = self.split.fold_of_choice
        return fold[self.ratings.cluster]

    def without(self, layers: Sequence[str]) -> Bench:
        """The same without some layers.

        Raises:
            UsageError: if no layer but the pixels is left.
        """
        left = self.layout.without(layers)
        if not left.uniform().any():
            raise UsageError(f"without {', '.join(layers)} no layer of the network is left to fit")
        kept = ~self.layout.mask(tuple(layers))
        quantities = np.ascontiguousarray(self.choices.quantities[:, kept])
        prior = self.prior[kept]
        prior = prior if prior.any() else left.uniform()
        return replace(self, layout=left, choices=replace(self.choices, quantities=quantities), prior=prior)


def gather(
    plans: Sequence[Plan],
    source: VGGQuantities,
    how: Collecting,
    prior: tuple[str, Head] | None,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    equal: bool = False,
    advance: Advance,
) -> Bench:
    """Read every file once, compute what is not known yet, and put all together.

    The prior is the name and the weights of the head to start from; None: all layers alike. The seed is that of the
    division into folds. `equal` lets every data set have the same number of votes. `advance` is called as pairs get
    done.

    Raises:
        DataError: if a picture cannot be used, or there is too little to fit to.
    """
    stamped = cache(stamp)  # every file is read once
    names = [keys(plan.pairs, stamped) for plan in plans]
    references = {pair.reference.name: stamped(pair.reference) for plan in plans for pair in plan.pairs}
    ratings = Ratings.of(plans, references, equal)
    flat = [name for part in names for name in part]
    chosen = ratings.preferences
    split = Split.of(ratings.cluster[chosen.first], chosen.votes, seed, folds)
    numbers, scales = source.split(collect(source, ratings.pairs, flat, how, advance))
    exact = numbers.astype(np.float64) if numbers.size <= LARGEST else numbers
    choices = Choices(exact, chosen.first, chosen.second, chosen.share, chosen.votes)
    name, begin = (
        (UNIFORM, source.layout.uniform()) if prior is None else (prior[0], _by_channel(prior[1], source.layout))
    )
    return Bench(ratings, source.layout, choices, split, scales, begin, _content(flat, choices), name)


def _by_channel(head: Head, layout: Layout) -> Array:
    """Weights of a head for every channel of the layout, (P,)."""
    found = np.zeros(layout.size)
    for layer, weights in head.weights.items():
        found[layout.columns(layer)] = weights.numpy()
    return found


def _content(names: Sequence[str], choices: Choices) -> str:
    total = hashlib.sha256("\n".join(names).encode())
    for column in (choices.first, choices.second, choices.share, choices.votes):
        total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()
