"""Fits of heads to all rated sets but one, with a strength that only the sets of the fit have a say in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pim.eval.correlation import spearman_draws
from pim.eval.estimate import Clusters, Statistic, row_mean
from pim.eval.judgements import Plan
from pim.eval.two_afc import row_scores
from vggmetric.fitting.choice import Choices, Ridge, fit, mean_loss, scales
from vggmetric.fitting.layout import Layout
from vggmetric.fitting.preferences import Preferences, joined
from vggmetric.head import Head, locate

Array = NDArray[np.float64]

STRENGTHS = {  # falling
    "layer": tuple(10.0 ** (e / 2) for e in range(4, -7, -1)),
    "channel": (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1),
}
UNTOUCHED = float("inf")  # the strength that leaves the head as it was
FEWEST = 4  # rows of a type of distortion


@dataclass(frozen=True)
class Rated:
    """A rated set: its rows, what the network says of its pairs, and what people prefer."""

    name: str
    plan: Plan
    quantities: Array  # (M, P)
    preferences: Preferences
    clusters: Clusters

    def pooled(self, distance: Array) -> Statistic:
        """Agreement over all rows of distances (M,): SRCC, or the share of answers."""
        rows = self.plan.judgements
        value = np.array([row.value for row in rows], dtype=np.float64)
        places = np.array([row.pairs for row in rows])
        member = self.clusters.member
        if self.plan.about.kind == "opinion":
            sign = -1.0 if self.plan.about.higher_is_better else 1.0
            return lambda counts: sign * spearman_draws(distance[places[:, 0]], value, counts[:, member])
        votes = np.array([row.people or 1 for row in rows], dtype=np.float64)
        return row_mean(row_scores(distance[places[:, 0]], distance[places[:, 1]], value), member, votes)

    def within_types(self, distance: Array) -> float | None:
        """Mean over types of distortion of SRCC within the type; None where rows have none."""
        types = np.array([row.distortion or "" for row in self.plan.judgements])
        masks = [types == name for name in dict.fromkeys(types) if name and (types == name).sum() >= FEWEST]
        if not masks:
            return None
        score = np.array([row.value for row in self.plan.judgements], dtype=np.float64)
        own = distance[[row.pairs[0] for row in self.plan.judgements]]
        found = [spearman_draws(own[m], score[m], np.ones((1, int(m.sum()))))[0] for m in masks]
        return float(np.nanmean(found)) * (-1.0 if self.plan.about.higher_is_better else 1.0)


@dataclass
class Left:
    """The rated sets, each of which is left out in turn."""

    layout: Layout
    fitted: tuple[str, ...]  # sets that may be fitted to; the others only test
    data: Mapping[str, Rated]
    _paths: dict[tuple[object, ...], dict[float, Array]] = field(default_factory=dict)

    def without(self, name: str) -> tuple[str, ...]:
        """The sets that a head is fitted to when this one is left out."""
        return tuple(other for other in self.fitted if other != name)

    def choices(self, names: Sequence[str], quantities: Callable[[str], Array]) -> Choices:
        """What people prefer in some sets, all sets with the same number of votes."""
        values = [quantities(name) for name in names]
        both = joined([self.data[name].preferences for name in names], [len(v) for v in values], equal=True)
        return Choices(np.concatenate(values), both.first, both.second, both.share, both.votes)

    def path(self, names: tuple[str, ...], form: str, prior: Array) -> dict[float, Array]:
        """Weights of channels fitted to some sets, by strength, drawn to the prior in its best scale."""
        key = (names, form, prior.tobytes())
        if key not in self._paths:
            choices = self.choices(names, lambda name: self.data[name].quantities)
            known = prior * fit(choices.pooled(prior[:, None]), Ridge(0.0))[0]
            basis = self.layout.by_layer(known) if form == "layer" else None
            centre = known if basis is None else (self.layout.pooled(known[None])[0] > 0).astype(np.float64)
            own = choices if basis is None else choices.pooled(basis)
            scale, start, found = scales(own), centre, {UNTOUCHED: known}
            for strength in STRENGTHS[form]:
                start = fit(own, Ridge(strength, centre), scale=scale, start=start)
                found[strength] = start if basis is None else basis @ start
            self._paths[key] = found
        return self._paths[key]

    def loss(self, name: str, weights: Array) -> float:
        """Nats per vote of a set, in the best scale of the distance for it."""
        choices = self.choices([name], lambda n: (self.data[n].quantities @ weights)[:, None])
        return mean_loss(choices, fit(choices, Ridge(0.0)))

    def strength(self, names: tuple[str, ...], form: str, prior: Array) -> float:
        """The strength that does best on each of some sets when fitted to the others of them."""
        totals: dict[float, float] = {}
        for tested in names:
            rest = tuple(name for name in names if name != tested)
            for strength, weights in self.path(rest, form, prior).items():
                totals[strength] = totals.get(strength, 0.0) + self.loss(tested, weights)
        return min(totals, key=totals.__getitem__)


def heads(left: Left) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, float]]]:
    """Distances of every head on every set that it was not fitted to, (M,); and the strengths that were chosen."""
    lpips = np.zeros(left.layout.size)
    for layer, weights in Head.read(locate("lpips-vgg")).weights.items():
        lpips[left.layout.columns(layer)] = weights.numpy()
    priors = {"lpips-vgg": lpips, "uniform": left.layout.uniform()}
    lines = {name: {key: d.quantities @ prior for key, d in left.data.items()} for name, prior in priors.items()}
    strengths: dict[str, dict[str, float]] = {}
    for form in STRENGTHS:
        for name, prior in priors.items():
            line = f"fitted by {form} from {name}"
            lines[line], strengths[line] = {}, {}
            for key, data in left.data.items():
                names = left.without(key)
                chosen = left.strength(names, form, prior)
                strengths[line][key] = chosen
                lines[line][key] = data.quantities @ left.path(names, form, prior)[chosen]
    return lines, strengths


def mixed(
    left: Left, lines: Mapping[str, Mapping[str, Array]], first: str, second: str
) -> tuple[dict[str, dict[str, Array]], dict[str, float]]:
    """Two metrics added with the weights that the other sets choose; and the share of the first in a typical sum."""
    if len(lines.get(first, {})) < len(left.data):
        return {}, {}
    found, shares = {}, {}
    for key in left.data:
        names = left.without(key)
        choices = left.choices(names, lambda name: np.stack([lines[first][name], lines[second][name]], axis=1))
        weights = fit(choices, Ridge(1e-6))
        typical = weights * np.median(choices.quantities, axis=0)
        shares[key] = float(typical[0] / typical.sum())
        found[key] = weights[0] * lines[first][key] + weights[1] * lines[second][key]
    return {f"{first}+{second}": found}, shares
