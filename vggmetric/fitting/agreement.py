"""Agreement of distances with the choices and the scores that people gave, with intervals over photos.

NLL    negative log-likelihood per vote of the choice model, nats; lower is better, log 2 = 0.693 is guessing
2AFC   share of the votes that agree with the smaller distance; higher is better
SRCC   rank correlation with the scores of each set of opinions; higher is better
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pim.eval.correlation import spearman_draws
from pim.eval.estimate import Clusters, IntervalOptions, Statistic, estimate, row_mean
from pim.eval.figures import AGREED, Collected
from pim.eval.tables import LOSS
from pim.eval.two_afc import row_scores
from vggmetric.fitting.choice import Array, losses
from vggmetric.fitting.preferences import Ratings

SECTION, CHOICES = "fit", "choices"
CHOSEN, RANKED = AGREED, "SRCC"


def measure(ratings: Ratings, lines: Mapping[str, Array], options: IntervalOptions, loss: bool = True) -> Collected:
    """Measure how far several distances agree with people; every line sees the same draws of its interval.

    Lines are distances of all picture pairs, (M,), in log-odds, by what tables call them. Their likelihood, `loss`,
    counts where the scale of the distances means something.
    """
    preferences, found = ratings.preferences, Collected()
    member = ratings.cluster[preferences.first]
    clusters = Clusters(tuple(map(str, range(ratings.clusters))), member, options)
    used = np.unique(member)
    votes = preferences.votes

    def add(part: str, statistic: str, line: str, value: Statistic, rows: int) -> None:
        found.add(SECTION, part, statistic, line, estimate(value, clusters, used), rows, len(used))

    for line, distance in lines.items():
        first, second = distance[preferences.first], distance[preferences.second]
        if loss:
            add(CHOICES, LOSS, line, row_mean(losses(first - second, preferences.share), member, votes), len(member))
        add(CHOICES, CHOSEN, line, row_mean(row_scores(first, second, preferences.share), member, votes), len(member))
        for number, plan in enumerate(ratings.plans):
            if plan.about.kind == "opinion":
                ranked, of_row = _ranks(ratings, number, distance)
                met = np.unique(of_row)
                result = estimate(ranked, replace(clusters, member=of_row), met)
                found.add(SECTION, plan.about.dataset, RANKED, line, result, len(of_row), len(met))
    return found


def headlines(ratings: Ratings, loss: bool = True) -> list[tuple[str, str, str]]:
    """The statistics of `measure`, as (section, part, statistic)."""
    ranked = [(SECTION, plan.about.dataset, RANKED) for plan in ratings.plans if plan.about.kind == "opinion"]
    return [*([(SECTION, CHOICES, LOSS)] if loss else []), (SECTION, CHOICES, CHOSEN), *ranked]


def srcc(ratings: Ratings, distance: Array) -> dict[str, float]:
    """Rank correlation with the scores of each set of opinions, by its name."""
    return {
        plan.about.dataset: float(_ranks(ratings, number, distance)[0](np.ones((1, ratings.clusters)))[0])
        for number, plan in enumerate(ratings.plans)
        if plan.about.kind == "opinion"
    }


def share(ratings: Ratings, distance: Array) -> float:
    """Share of the votes that agree with the smaller distance."""
    chosen = ratings.preferences
    agreed = row_scores(distance[chosen.first], distance[chosen.second], chosen.share)
    return float(np.average(agreed, weights=chosen.votes))


def _ranks(ratings: Ratings, number: int, distance: Array) -> tuple[Statistic, NDArray[np.int64]]:
    """Rank correlation with the scores of one plan, under any weighting of the clusters; and its rows' clusters."""
    plan, start = ratings.plans[number], ratings.part(number).start
    place = np.array([start + judgement.pairs[0] for judgement in plan.judgements])
    score = np.array([judgement.value for judgement in plan.judgements], dtype=np.float64)
    sign = -1.0 if plan.about.higher_is_better else 1.0
    member = ratings.cluster[place]
    return lambda counts: sign * spearman_draws(distance[place], score, counts[:, member]), member
