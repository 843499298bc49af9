"""From ratings to a head: cross-validate, choose, fit to everything, and tell how it came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import torch

from pim.errors import InputError
from pim.eval.bootstrap import draw_clusters
from pim.eval.estimate import IntervalOptions
from pim.eval.figures import Collected, as_records, compare
from pim.scoring.fingerprint import versions
from vggmetric.fitting import agreement
from vggmetric.fitting.bench import Bench
from vggmetric.fitting.choice import Array, Ridge, fit
from vggmetric.fitting.conclusions import conclude
from vggmetric.fitting.cross_validation import Path, Solver
from vggmetric.fitting.forms import Form, FormName, choose, fit_forms
from vggmetric.fitting.source import VGGQuantities
from vggmetric.head import Head

FormWanted = Literal["layer", "channel", "auto"]
HEAD = "fitted"  # the form that was taken, in tables
RESAMPLES = 200
RESAMPLED = 1 << 21  # quantities of pairs by channel up to which the form by channel is refitted to drawn photos


@dataclass(frozen=True)
class FitSettings:
    """What kind of head, and what to find out about it."""

    form: FormWanted = "auto"  # of `forms`; auto: what held-out photos are better with, or else the prior
    intervals: IntervalOptions = IntervalOptions()
    resamples: int = RESAMPLES  # of photos, for standard errors of the layers' shares; by channel only if small
    known_as: tuple[str, ...] = ()  # further names of the data sets, under which they are no blind test


@dataclass(frozen=True)
class Fit:
    """A head with all that is known of it."""

    head: Head
    forms: Mapping[FormName, Form]
    taken: FormName
    lines: Mapping[str, Array]  # held-out distances of all picture pairs, (M,), in log-odds, by form
    measured: Collected  # their agreement
    shares: Mapping[str, float]  # of every layer in the distance of a mean pair
    share_errors: Mapping[str, float]  # standard errors over photos; empty if it was not refitted to drawn photos

    @property
    def line(self) -> str:
        """Which of the lines is that of the head."""
        return HEAD if HEAD in self.lines else self.taken


def fit_head(
    bench: Bench,
    source: VGGQuantities,
    settings: FitSettings,
    *,
    solve: Solver = fit,
    advance: Callable[[], object] = lambda: None,
) -> Fit:
    """Fit a head to ratings; `advance` is called after every fit of the cross-validation.

    Raises:
        InputError: if no weight above 0 is left.
    """
    freest: Literal["layer", "channel"] = "layer" if settings.form == "layer" else "channel"
    forms = fit_forms(bench.choices, bench.layout, bench.prior, bench.split, freest, solve=solve, advance=advance)
    if settings.form == "auto":
        taken, rows = choose(forms)
    else:
        taken, rows = forms[freest], forms[freest].path.held_out()[0]
    if not taken.weights.any():
        raise InputError("no layer agrees with these ratings: all weights are 0; is the direction of the scores right?")
    lines: dict[str, Array] = {name: bench.distances(forms[name].path.held_out()[0]) for name in reversed(forms)}
    held_out = bench.distances(rows)
    if not np.array_equal(held_out, lines[taken.name]):
        lines = {HEAD: held_out, **lines}
    measured = agreement.measure(bench.ratings, lines, settings.intervals)
    temperature = 1 / typical(bench, taken.weights)
    story = _story(bench, taken, held_out, settings.known_as)
    small = taken.name == "layer" or (taken.name == "channel" and bench.choices.quantities.size <= RESAMPLED)
    errors = _share_errors(bench, taken, settings) if settings.resamples > 1 and small else {}
    return Fit(
        head=_head(bench, source, taken, temperature, story),
        forms=forms,
        taken=taken.name,
        lines=lines,
        measured=measured,
        shares=shares(bench, taken.weights),
        share_errors=errors,
    )


def typical(bench: Bench, weights: Array) -> float:
    """The median distance of the picture pairs that are not equal, in log-odds."""
    distance = bench.choices.distances(weights)
    return float(np.median(distance[distance > 0]))


def shares(bench: Bench, weights: Array) -> dict[str, float]:
    """The part of every layer in the sum of all distances; 0 if all weights are."""
    parts = bench.layout.pooled((bench.choices.quantities.mean(axis=0, dtype=np.float64) * weights)[None])[0]
    return dict(zip(bench.layout.layers, (parts / (parts.sum() or 1.0)).tolist(), strict=True))


def _share_errors(bench: Bench, taken: Form, settings: FitSettings) -> dict[str, float]:
    """Standard errors of the layers' shares: photos are drawn again and again, and the form is refitted."""
    split, layout = bench.split, bench.layout
    choices = bench.choices if taken.basis is None else bench.choices.pooled(taken.basis)
    found = []
    for counts in np.concatenate(list(draw_clusters(len(split.votes), settings.resamples, settings.intervals.seed))):
        times = counts[split.photo]
        drawn = choices.rows(times > 0)
        ridge = Ridge(taken.strength, taken.centre)
        own = fit(replace(drawn, votes=drawn.votes * times[times > 0]), ridge, start=taken.own)
        found.append(list(shares(bench, replace(taken, own=own).weights).values()))
    return dict(zip(layout.layers, np.std(found, axis=0, ddof=1).tolist(), strict=True))


def _head(bench: Bench, source: VGGQuantities, form: Form, scale: float, story: Mapping[str, Any]) -> Head:
    """The head whose typical distance is 1; its temperature gives the odds back."""
    weights = {}
    for layer in bench.layout.layers:
        values = torch.from_numpy(form.weights[bench.layout.columns(layer)] * scale)
        weights[layer] = values[:1] if bool((values == values[0]).all()) else values
    scales = {tap: value for tap, value in bench.scales.items() if tap in weights}
    return Head(source.backbone, weights, source.norm, source.pool, scales=scales, temperature=scale, story=story)


def _story(bench: Bench, form: Form, held_out: Array, known_as: tuple[str, ...]) -> dict[str, Any]:
    """What the header of the head tells: data, counts, agreement on photos that were held out, versions."""
    split = bench.split
    return {
        "trained_on": list(dict.fromkeys([*(plan.about.dataset for plan in bench.ratings.plans), *known_as])),
        "rows": {plan.about.dataset: len(plan.judgements) for plan in bench.ratings.plans},
        "content_sha256": bench.content,
        "preferences": len(bench.choices),
        "votes": float(bench.choices.votes.sum()),
        "photos": len(split.votes),
        "folds": split.folds,
        "form": form.name,
        "strength": form.strength,
        "prior": bench.prior_name,
        "held_out": {
            "nll": float(split.mean(form.path.held_out()[1])),
            "two_afc": agreement.share(bench.ratings, held_out),
            "srcc": agreement.srcc(bench.ratings, held_out),
        },
        "created": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
    }


def document(fitted: Fit, bench: Bench) -> dict[str, Any]:
    """Everything but the weights as plain values: paths, folds, agreement, comparisons, shares."""
    comparisons = compare(fitted.measured.measured, list(fitted.lines), agreement.headlines(bench.ratings))
    return {
        "story": dict(fitted.head.story),
        "conclusion": " ".join(conclude(fitted.measured, fitted.line, bench.prior_name)),
        "taken": fitted.taken,
        "paths": {name: _path(form.path, bench, form) for name, form in fitted.forms.items()},
        "agreement": as_records([m.figure for m in fitted.measured.measured]),
        "comparisons": as_records(comparisons),
        "shares": dict(fitted.shares),
        "share_errors": dict(fitted.share_errors),
    }


def _path(path: Path, bench: Bench, form: Form) -> dict[str, Any]:
    rows = []
    for place, strength in enumerate(path.strengths):
        distance = bench.distances(path.weights[place])
        rows.append(
            {
                "strength": strength,
                "nll": float(path.split.mean(path.loss[place])),
                "nll_error": float(path.split.error(path.loss[place])),
                "two_afc": agreement.share(bench.ratings, distance),
                "srcc": agreement.srcc(bench.ratings, distance),
                "positive": float((path.weights[place] > 0).sum(axis=1).mean()),
                "chosen": place == form.chosen,
            }
        )
    by_fold = path.split.by_fold(path.held_out()[1]).tolist()
    return {"by_strength": rows, "held_out_nll_by_fold": by_fold, "fitted_nll": form.loss}
