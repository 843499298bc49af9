"""The forms of a head, from the stiffest to the freest, each fitted with every fold left out and on everything.

prior     one scale for a head that is known already, such as the one that ships, or all layers alike
layer     a factor for every layer of the prior, drawn to that one scale
channel   a weight for every channel, drawn to that of the layer form
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vggmetric.fitting.choice import Array, Choices, Ridge, fit, mean_loss
from vggmetric.fitting.cross_validation import STRENGTHS, Path, Solver, Split, clearly_better, follow
from vggmetric.fitting.layout import Layout

FormName = Literal["prior", "layer", "channel"]
PRIOR, LAYER, CHANNEL = "prior", "layer", "channel"


@dataclass(frozen=True)
class Form:
    """One form of a head, cross-validated and fitted."""

    name: FormName
    path: Path  # weights by channel
    chosen: int  # place of the strength that all folds choose
    basis: Array | None  # (P, Q) weights of channels for each quantity of the form; None: the channels themselves
    centre: Array | None  # (Q,) what the penalty draws to; None: zero
    own: Array  # (Q,) fitted to everything, in log-odds per quantity
    loss: float  # of these on what they were fitted to, nats per vote

    @property
    def weights(self) -> Array:
        """Of the channels, (P,), in log-odds."""
        return self.own if self.basis is None else self.basis @ self.own

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
    prior: Array,
    split: Split,
    freest: Literal["layer", "channel"],
    *,
    solve: Solver = fit,
    advance: Callable[[], object] = lambda: None,
) -> dict[FormName, Form]:
    """Fit all forms up to the freest one that is wanted; `advance` is called after every fit.

    Choices are by channel, P quantities, as the layout says; weights of the prior, (P,), are 0 or more, some above.
    """
    found: dict[FormName, Form] = {}
    scale_only = choices.pooled(prior[:, None])
    path = follow(scale_only, split, strengths=(0.0,), solve=fit, advance=advance)
    found["prior"] = _form("prior", scale_only, path, prior[:, None], None, fit, advance)
    basis = layout.by_layer(prior)
    known = layout.pooled(prior[None])[0] > 0  # a layer without weight in the prior is drawn to none
    pooled = choices.pooled(basis)
    centres = path.held_out()[0] * known
    path = follow(pooled, split, centres=centres, solve=fit, advance=advance)
    found["layer"] = _form("layer", pooled, path, basis, found["prior"].own * known, fit, advance)
    if freest == CHANNEL:
        path = follow(choices, split, centres=found["layer"].path.held_out()[0], solve=solve, advance=advance)
        found["channel"] = _form("channel", choices, path, None, found["layer"].weights, solve, advance)
    return found


def _form(
    name: FormName,
    choices: Choices,
    path: Path,
    basis: Array | None,
    centre: Array | None,
    solve: Solver,
    advance: Callable[[], object],
) -> Form:
    """Choose the strength, fit to everything, and write the weights of the path as weights of channels."""
    chosen = path.chosen()
    own = solve(choices, Ridge(path.strengths[chosen], centre), scale=None, start=path.weights[chosen].mean(axis=0))
    advance()
    by_channel = path if basis is None else replace(path, weights=path.weights @ basis.T)
    return Form(name, by_channel, chosen, basis, centre, own, mean_loss(choices, own))


def choose(forms: Mapping[FormName, Form]) -> tuple[Form, Array]:
    """Take a freer form where it beats the stiffer one by more than one standard error of their difference.

    Args:
        forms: In the order in which they are tried, the prior first.

    Returns:
        The form that is worth its weights; and weights (F, P) of folds that had no part in that decision.
    """
    every = list(forms.values())
    split, losses = every[0].path.split, [form.path.loss[form.chosen] for form in every]
    held_out = [form.path.held_out()[0] for form in every]
    rows = held_out[0].copy()
    for fold in range(split.folds):
        outside = [split.others(loss, fold) for loss in losses]
        rows[fold] = held_out[_worth(outside, split.without(fold))][fold]
    return every[_worth(losses, split)], rows


def _worth(losses: Sequence[Array], split: Split) -> int:
    """The place of the form that is worth its freedom, from losses by photo."""
    best = 0
    for place in range(1, len(losses)):
        if clearly_better(losses[place], losses[best], split):
            best = place
    return best
