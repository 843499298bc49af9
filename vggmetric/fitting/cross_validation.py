"""How strong the penalty should be, and what a head is worth on photos that it was not fitted to.

All choices about one photo are in one fold. The strength is the largest whose loss on held-out photos is within
one standard error of the best (Breiman et al. 1984; here of the difference, photo by photo, because photos
differ far more than strengths do). What is reported for a fold comes from weights that were fitted without it,
with the strength that the other folds chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pim.errors import DataError
from vggmetric.fitting.choice import Array, Choices, Ridge, Whole, fit, losses, scales

STRENGTHS = tuple(10.0 ** (e / 2) for e in range(2, -11, -1))  # 10 to 1e-5, each begun from the one before
FOLDS = 5
FEW = 20  # photos below which each is a fold of its own: what a head would lose for want of a fifth of them is much
FEWEST = 3


class Solver(Protocol):
    """`choice.fit`, or one that remembers what it solved."""

    def __call__(self, choices: Choices, ridge: Ridge, *, scale: Array | None, start: Array | None) -> Array:
        """The weights of least penalised loss, (P,)."""


@dataclass(frozen=True)
class Split:
    """Which choices are about the same photo, and which photos are held out together."""

    photo: Whole  # (N,) numbers from 0, each in use
    fold: Whole  # (G,) of every photo, numbers from 0
    votes: Array  # (G,) about every photo

    @classmethod
    def of(cls, cluster: Whole, votes: Array, seed: int, count: int = FOLDS) -> Split:
        """Divide choices into folds by their photos, (N,), any numbers, and votes, (N,); the seed decides how.

        With fewer than 20 photos each is a fold, else there are `count`.

        Raises:
            DataError: if there are fewer than 3 photos.
        """
        from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

        names, photo = np.unique(cluster, return_inverse=True)
        if len(names) < FEWEST:
            raise DataError(f"the ratings are about {len(names)} photos; cross-validation needs {FEWEST} or more")
        splitter = LeaveOneGroupOut() if len(names) < FEW else GroupKFold(count, shuffle=True, random_state=seed)
        fold = np.empty(len(names), dtype=np.int64)
        for number, (_, held_out) in enumerate(splitter.split(photo[:, None], groups=photo)):
            fold[photo[held_out]] = number
        return cls(photo.astype(np.int64), fold, np.bincount(photo, votes).astype(np.float64))

    @property
    def folds(self) -> int:
        """How many there are."""
        return int(self.fold.max()) + 1

    @property
    def fold_of_choice(self) -> Whole:
        """(N,)."""
        return self.fold[self.photo]

    def mean(self, loss: Array) -> Array:
        """Mean over votes of losses by photo, (..., G) -> (...)."""
        return np.asarray(loss @ self.votes / self.votes.sum())

    def error(self, loss: Array) -> Array:
        """Standard error of `mean`, for photos that stand for others of their kind."""
        away = (loss - self.mean(loss)[..., None]) * self.votes
        count = len(self.votes)
        return np.asarray(np.sqrt((away**2).sum(axis=-1) * count / (count - 1)) / self.votes.sum())

    def by_fold(self, loss: Array) -> Array:
        """Mean over votes in every fold: (G,) -> (F,)."""
        return np.asarray(np.bincount(self.fold, loss * self.votes) / np.bincount(self.fold, self.votes))

    def without(self, fold: int) -> Split:
        """The same, blind to one fold; only good for `mean` and `error` of losses of `others`."""
        kept = self.fold != fold
        return Split(self.photo, self.fold[kept], self.votes[kept])

    def others(self, loss: Array, fold: int) -> Array:
        """The losses outside one fold, (..., G')."""
        return loss[..., self.fold != fold]


@dataclass(frozen=True)
class Path:
    """Weights along the strengths of the penalty, by fold, and their loss on the photos that they did not see."""

    strengths: tuple[float, ...]  # (L,) falling
    loss: Array  # (L, G) of every photo under the weights without its fold, nats per vote
    weights: Array  # (L, F, P)
    split: Split

    def chosen(self) -> int:
        """The place of the strength that all photos choose."""
        return one_standard_error(self.loss, self.split)

    def chosen_without(self, fold: int) -> int:
        """The place of the strength that the other folds choose."""
        return one_standard_error(self.split.others(self.loss, fold), self.split.without(fold))

    def held_out(self) -> tuple[Array, Array]:
        """For every fold the weights that saw nothing of it, (F, P), and the loss of its photos under them, (G,)."""
        places = np.array([self.chosen_without(fold) for fold in range(self.split.folds)])
        loss = self.loss[places[self.split.fold], np.arange(self.loss.shape[1])]
        return self.weights[places, np.arange(len(places))], loss


def follow(
    choices: Choices,
    split: Split,
    *,
    strengths: Sequence[float] = STRENGTHS,
    centres: Array | None = None,
    solve: Solver = fit,
    advance: Callable[[], object] = lambda: None,
) -> Path:
    """Fit without each fold in turn, at every strength, from the largest to the smallest.

    The penalty draws the fits without each fold to `centres`, (F, P); None: zero. `advance` is called after every fit.
    """
    loss = np.empty((len(strengths), len(split.votes)))
    weights = np.empty((len(strengths), split.folds, choices.quantities.shape[1]))
    for fold in range(split.folds):
        inside = split.fold_of_choice == fold
        train, test = choices.rows(~inside), choices.rows(inside)
        scale, start = scales(train), None
        for place, strength in enumerate(strengths):
            ridge = Ridge(strength, None if centres is None else centres[fold])
            start = weights[place, fold] = solve(train, ridge, scale=scale, start=start)
            totals = np.bincount(
                split.photo[inside], test.votes * losses(test.log_odds(start), test.share), len(split.votes)
            )
            loss[place, split.fold == fold] = (totals / split.votes)[split.fold == fold]
            advance()
    return Path(tuple(strengths), loss, weights, split)


def one_standard_error(loss: Array, split: Split) -> int:
    """The first row, that of the strongest penalty, that is worse than the best by at most one standard error.

    Args:
        loss: (L, G) by falling strength.
        split: Of the photos.
    """
    worse = loss - loss[int(np.argmin(split.mean(loss)))]
    return int(np.argmax(split.mean(worse) <= split.error(worse)))


def clearly_better(loss: Array, baseline: Array, split: Split) -> bool:
    """Whether losses by photo, (G,), are lower than others by more than one standard error of the difference."""
    gain = baseline - loss
    return bool(split.mean(gain) > split.error(gain))
