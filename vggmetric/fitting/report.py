"""A fit as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from pim.eval.bootstrap import LEVEL
from pim.eval.figures import Collected, Comparison, Figure, compare
from pim.eval.tables import aligned, cell, comparison_foot, comparison_lines, pivot
from vggmetric.fitting import agreement
from vggmetric.fitting.ablation import Ablation
from vggmetric.fitting.bench import Bench
from vggmetric.fitting.conclusions import conclude
from vggmetric.fitting.cross_validation import clearly_better
from vggmetric.fitting.fit import Fit

MANY_FOLDS = 8  # beyond, the scores of folds are given in a table of their own width, downwards
EXPLAINED = (
    "NLL: nats per vote, 0.693 is guessing, lower is better; 2AFC: percent of votes that agree; "
    "SRCC: rank correlation with the scores"
)


def text(fitted: Fit, bench: Bench) -> str:
    """All tables of a fit."""
    compared = compare(fitted.measured.measured, fitted.lines, agreement.headlines(bench.ratings))
    parts = [
        _heading(fitted, bench),
        _forms(fitted, bench),
        _folds(fitted),
        f"{_agreement(fitted.measured)}{EXPLAINED}\n",
        _differences(compared, fitted.measured.draws) + "\n",
        _shares(fitted),
        "".join(f"{sentence}\n" for sentence in conclude(fitted.measured, fitted.line, bench.prior_name)),
    ]
    return "\n".join(parts)


def ablation_text(found: Ablation, bench: Bench, form: str) -> str:
    """What is lost without layers, in two ways."""
    dropped, refitted = found.comparisons(bench)
    parts = [
        f"a weight for every {form}; photos held out in {bench.split.folds} folds",
        f"fitted without\n\n{_downwards(found.refitted)}\n{_differences(refitted, found.refitted.draws)}",
        "weights set to 0, the others as they were\n\n"
        f"{_downwards(found.dropped)}\n{_differences(dropped, found.dropped.draws)}",
        EXPLAINED,
    ]
    return "\n\n".join(parts) + "\n"


def _differences(comparisons: Sequence[Comparison], draws: int) -> str:
    return aligned(comparison_lines(comparisons)) + comparison_foot(comparisons, draws) if comparisons else ""


def _heading(fitted: Fit, bench: Bench) -> str:
    head, split = fitted.head, bench.split
    names = ", ".join(f"{plan.about.dataset} ({len(plan.judgements)} rows)" for plan in bench.ratings.plans)
    return (
        f"{names}\n"
        f"{len(bench.ratings.pairs)} picture pairs, {len(bench.choices)} preferences about {len(split.votes)} photos, "
        f"held out in {split.folds} folds; backbone {head.backbone}, norm {head.norm}\n"
    )


def _forms(fitted: Fit, bench: Bench) -> str:
    lines = [["form", "strength", "NLL held out", "(se)", "NLL fitted", "weights > 0"]]
    for name, form in fitted.forms.items():
        split = form.path.split
        loss = form.path.held_out()[1]
        strength = f"{form.strength:.2g}" if form.strength else "-"
        numbers = (f"{split.mean(loss):.4f}", f"({split.error(loss):.4f})", f"{form.loss:.4f}")
        lines.append([name, strength, *numbers, f"{int((form.weights > 0).sum())} of {len(form.weights)}"])
    return aligned(lines) + _verdict(fitted, bench)


def _verdict(fitted: Fit, bench: Bench) -> str:
    """What was taken, and what every fitted form gains over the prior."""
    forms = list(fitted.forms.values())
    split, losses = forms[0].path.split, [form.path.loss[form.chosen] for form in forms]
    lines = [f"taken: {fitted.taken}"]
    for form, loss in zip(forms[1:], losses[1:], strict=True):
        gain = losses[0] - loss
        better = "better" if clearly_better(loss, losses[0], split) else "not shown to be better"
        lines.append(
            f"{form.name} gains {split.mean(gain):.4f} (se {split.error(gain):.4f}) nats over the prior, "
            f"{bench.prior_name}: {better}"
        )
    return "\n".join(lines) + "\n"


def _folds(fitted: Fit) -> str:
    scores = {name: form.path.split.by_fold(form.path.held_out()[1]) for name, form in fitted.forms.items()}
    folds = range(len(scores["layer"]))
    if len(folds) <= MANY_FOLDS:
        lines = [["NLL by fold", *(str(fold + 1) for fold in folds)]]
        lines += [[name, *(f"{score:.4f}" for score in row)] for name, row in scores.items()]
    else:
        lines = [["NLL of fold", *scores]]
        lines += [[str(fold + 1), *(f"{row[fold]:.4f}" for row in scores.values())] for fold in folds]
    return aligned(lines)


def _agreement(measured: Collected) -> str:
    """A column for every line."""
    figures = [m.figure for m in measured.measured]
    return aligned(pivot("held out", figures, _statistic)) + _foot(figures)


def _downwards(measured: Collected) -> str:
    """A row for every line."""
    figures = [m.figure for m in measured.measured]
    columns = list(dict.fromkeys(map(_statistic, figures)))
    cells = {(f.metric, _statistic(f)): cell(f) for f in figures}
    body = [[line, *(cells[line, column] for column in columns)] for line in dict.fromkeys(f.metric for f in figures)]
    return aligned([["held out", *columns], *body]) + _foot(figures)


def _statistic(figure: Figure) -> str:
    return figure.statistic if figure.part == agreement.CHOICES else f"{figure.statistic} {figure.part}"


def _foot(figures: Sequence[Figure]) -> str:
    interval = f"[low, high]: {LEVEL:.0%} percentile bootstrap interval over {figures[0].references} photos"
    notes = {f.note for f in figures if f.note is not None}
    return "".join(f"{line}\n" for line in (interval, *sorted(notes)))


def _shares(fitted: Fit) -> str:
    errors = fitted.share_errors
    lines = [["share of the distance", "percent", *(["(se)"] if errors else [])]]
    for layer, share in fitted.shares.items():
        lines.append([layer, f"{100 * share:.1f}", *([f"({100 * errors[layer]:.1f})"] if errors else [])])
    return aligned(lines)
