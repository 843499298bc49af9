"""What a run found, in a sentence or three, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pim.eval.analysis import HEADLINES, Analysis
from pim.eval.figures import AGREED, PRECISION, Comparison, Figure

FEW_REFERENCES = 10  # below, a bootstrap over references says little about others
CERTAIN = 0.05  # largest adjusted p of a difference that is called one
_SAID = {
    "SRCC": "agrees best with people: SRCC",
    AGREED: "agrees best with people, in percent:",
    PRECISION: "finds best what people call the same, average precision in percent:",
}


def conclude(analysis: Analysis) -> list[str]:
    """Say which metric is best by the first headline figure, which cannot be told from it, and what weakens that.

    Returns:
        Sentences; none for a run without people's judgements, or with one metric and no figure.
    """
    kind, part, statistic = next((h for h in HEADLINES if h[0] == analysis.about.kind), ("", "", ""))
    names = [str(metric["name"]) for metric in analysis.metrics]
    ranked = sorted(
        (
            figure
            for figure in analysis.figures
            if (figure.part, figure.statistic) == (part, statistic) and figure.metric in names
            if figure.value is not None
        ),
        key=lambda figure: -(figure.value or 0),
    )
    if not ranked:
        return []
    return list(_sentences(ranked, analysis.comparisons))


def _sentences(ranked: Sequence[Figure], comparisons: Sequence[Comparison]) -> Iterator[str]:
    from pim.eval.tables import cell

    best = ranked[0]
    if len(ranked) == 1:
        yield f"{best.metric}: {best.statistic} {cell(best)} on {best.n} rows."
    else:
        yield f"{best.metric} {_SAID[best.statistic]} {cell(best)} on {best.n} rows."
        differences = {c.second if c.first == best.metric else c.first: c for c in _of(best, comparisons)}
        alike = [f.metric for f in ranked[1:] if f.metric in differences and not _certain(differences[f.metric])]
        if alike:
            yield f"Not certainly behind: {', '.join(alike)}."
        elif ranked[1].metric in differences:
            yield f"{_ahead(differences[ranked[1].metric], ranked[1])}"
    yield from uncertain(best.references)


def uncertain(references: int | None, called: str = "references") -> Iterator[str]:
    """Warn of so few references that intervals over them say little; nothing of many, or if rows were drawn."""
    if references is not None and references < FEW_REFERENCES:
        yield f"With {references} {called} this is uncertain; more {called} say more than more rows."


def _of(best: Figure, comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    return (
        c
        for c in comparisons
        if (c.part, c.statistic) == (best.part, best.statistic) and best.metric in (c.first, c.second)
    )


def _certain(difference: Comparison) -> bool:
    p = difference.p if difference.p_holm is None else difference.p_holm
    return p is not None and p < CERTAIN


def _ahead(difference: Comparison, second: Figure) -> str:
    from pim.eval.tables import number_form

    form, sign = number_form(difference), 1 if difference.second == second.metric else -1
    ends = sorted(sign * end for end in (difference.low, difference.high) if end is not None)
    span = f" [{form(ends[0])}, {form(ends[1])}]" if len(ends) == 2 else ""
    return f"It is ahead of {second.metric}, the next, by {form(sign * difference.value)}{span}."
