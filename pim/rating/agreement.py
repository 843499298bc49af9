"""How well raters agree with themselves, with each other, and with what cannot be mistaken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, bootstrap

from pim.errors import InputError

Counts = NDArray[np.int64]

LEVEL = 0.95
DRAWS = 2000
SEED = 20240229
FEWEST_GROUPS = 5  # below: no interval


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share, in [0, 1]; None of nothing."""
        return self.hits / self.n if self.n else None

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Wilson's interval of the share; None of nothing."""
        if not self.n:
            return None
        found = binomtest(self.hits, self.n).proportion_ci(level, method="wilson")
        return float(found.low), float(found.high)


def at_most(share: Share, expected: float) -> float:
    """Probability of so few hits or fewer if each had this probability; 1 of nothing."""
    return float(binom.cdf(share.hits, share.n, expected)) if share.n else 1.0


def at_least(share: Share, expected: float) -> float:
    """Probability of so many hits or more if each had this probability; 1 of nothing."""
    return float(binom.sf(share.hits - 1, share.n, expected)) if share.n else 1.0


def two_sided(share: Share) -> float:
    """Two-sided p value of a fair coin; 1 of nothing."""
    return float(binomtest(share.hits, share.n).pvalue) if share.n else 1.0


def krippendorff_alpha(votes: Counts) -> float | None:
    """Agreement between raters beyond chance, for nominal answers of which any may be missing.

    Votes say how many raters gave each of C answers to each of U questions, (U, C); questions with fewer than two
    answers do not count. At most 1, which is complete agreement; 0 is what chance gives; None if it is undefined: no
    question was answered twice, or all answers are the same.

    Raises:
        InputError: if `votes` is not a table of counts.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), nominal difference.
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or not (votes >= 0).all():
        raise InputError(f"votes must be a table (questions, answers) of counts; got shape {votes.shape}")
    values = votes[votes.sum(axis=1) >= 2].astype(np.float64)
    sizes, totals = values.sum(axis=1), values.sum(axis=0)
    n = totals.sum()
    expected = n**2 - (totals**2).sum()
    if expected == 0:
        return None
    observed = ((sizes**2 - (values**2).sum(axis=1)) / (sizes - 1)).sum()
    return float(1 - (n - 1) * observed / expected)


def alpha_interval(votes: Counts, groups: Sequence[str]) -> tuple[float, float] | None:
    """Percentile bootstrap interval of Krippendorff's alpha of votes (U, C).

    Groups (U,), what questions that are not independent have in common, are drawn with all their questions. None with
    fewer than five groups, or where alpha is undefined.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FEWEST_GROUPS or krippendorff_alpha(votes) is None:
        return None
    inside = [votes[member == number] for number in range(len(names))]

    def of_drawn(drawn: NDArray[np.int64]) -> float:
        alpha = krippendorff_alpha(np.concatenate([inside[number] for number in drawn]))
        return np.nan if alpha is None else alpha

    found = bootstrap(
        (np.arange(len(names)),), of_drawn, n_resamples=DRAWS, method="percentile", vectorized=False, rng=SEED
    )
    values = found.bootstrap_distribution
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def person_agreement(votes: Counts) -> float | None:
    """How often two raters give the same answer to the same question; None if nobody shares one.

    Args:
        votes: (U, C) of each of C answers; each question with at least two answers counts once.
    """
    values = votes[votes.sum(axis=1) >= 2]
    if not len(values):
        return None
    n = values.sum(axis=1)
    return float(np.mean((values * (values - 1)).sum(axis=1) / (n * (n - 1))))
