"""The forms of a head, from the stiffest to the freest, each fitted with every fold left out and on everything.

uniform   one scale for all layers of the network: the unfitted baseline, made comparable
layer     a weight for every layer
channel   a weight for every channel, drawn to that of its layer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vggmetric.fitting.choice import Choices, Ridge, fit, mean_loss
from vggmetric.fitting.cross_validation import STRENGTHS, Path, Solver, Split, clearly_better, follow
from vggmetric.fitting.layout import Layout

Array = NDArray[np.float64]

FormName = Literal["uniform", "layer", "channel"]
UNIFORM, LAYER, CHANNEL = "uniform", "layer", "channel"


@dataclass(frozen=True)
class Form:
    """One form of a head, cross-validated and fitted."""

    name: FormName
    path: Path  # weights by channel
    chosen: int  # place of the strength that all folds choose
    weights: Array  # (P,) fitted to everything, in log-odds per quantity
    loss: float  # of these on what they were fitted to, nats per vote

    @property
    def strength(self) -> float:
        """Of the penalty, as chosen."""
        return self.path.strengths[self.chosen]


def fits_needed(form: Literal["layer", "channel"], folds: int) -> int:
    """How many fits `fit_forms` makes."""
    free = 1 if form == LAYER else 2
    return folds + 1 + free * (folds * len(STRENGTHS) + 1)


def fit_forms(
    choices: Choices,
    layout: Layout,
    split: Split,
    freest: Literal["layer", "channel"],
    *,
    solve: Solver = fit,
    advance: Callable[[], object] = lambda: None,
) -> dict[FormName, Form]:
    """Fit all forms up to the freest one that is wanted.

    Args:
        choices: By channel, P quantities.
        layout: Of these.
        split: Of the choices.
        freest: The last form.
        solve: The solver.
        advance: Called after every fit.
    """
    uniform = layout.uniform()[:, None]
    by_layer = np.equal.outer(np.repeat(np.arange(len(layout.layers)), layout.channels), range(len(layout.layers)))
    pooled = choices.with_quantities(layout.pooled(choices.quantities))
    scale_only = pooled.with_quantities(np.asarray(choices.quantities @ uniform, dtype=np.float64))
    found: dict[FormName, Form] = {}
    path = follow(scale_only, split, strengths=(0.0,), solve=fit, advance=advance)
    found["uniform"] = _form("uniform", scale_only, path, uniform, None, fit, advance)
    path = follow(pooled, split, solve=fit, advance=advance)
    found["layer"] = _form("layer", pooled, path, by_layer.astype(np.float64), None, fit, advance)
    if freest == CHANNEL:
        path = follow(choices, split, centres=found["layer"].path.held_out()[0], solve=solve, advance=advance)
        found["channel"] = _form("channel", choices, path, None, found["layer"].weights, solve, advance)
    return found


def _form(
    name: FormName,
    choices: Choices,
    path: Path,
    spread: Array | None,
    centre: Array | None,
    solve: Solver,
    advance: Callable[[], object],
) -> Form:
    """Choose the strength, fit to everything, and write the weights of a form (Q,) as weights of channels (P,)."""
    chosen = path.chosen()
    weights = solve(choices, Ridge(path.strengths[chosen], centre), scale=None, start=path.weights[chosen].mean(axis=0))
    advance()
    loss = mean_loss(choices, weights)
    if spread is None:
        return Form(name, path, chosen, weights, loss)
    by_channel = replace(path, weights=path.weights @ spread.T)
    return Form(name, by_channel, chosen, spread @ weights, loss)


@dataclass(frozen=True)
class Chosen:
    """The form that is worth its weights, and what it is worth on folds that had no part in that decision."""

    form: Form
    held_out: Array  # (F, P)


def choose(forms: Mapping[FormName, Form]) -> Chosen:
    """The channel form if it beats the layer form by more than one standard error of their difference.

    Args:
        forms: With the form layer, and channel unless it is not wanted.
    """
    layer, channel = forms["layer"], forms.get("channel")
    rows = layer.path.held_out()[0]
    if channel is None:
        return Chosen(layer, rows)
    split = layer.path.split
    losses = [form.path.loss[form.chosen] for form in (channel, layer)]
    freer = channel.path.held_out()[0]
    for fold in range(split.folds):
        outside = [split.others(loss, fold) for loss in losses]
        if clearly_better(outside[0], outside[1], split.without(fold)):
            rows[fold] = freer[fold]
    return Chosen(channel if clearly_better(losses[0], losses[1], split) else layer, rows)
