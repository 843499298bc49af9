"""What a fit found, in sentences, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from pim.eval.conclusions import uncertain
from pim.eval.figures import AGREED, Collected, Figure, compare
from pim.eval.tables import LOSS, cell, number_form
from vggmetric.fitting.agreement import CHOICES, SECTION

PRIOR = "prior"


def conclude(measured: Collected, line: str, prior_name: str) -> list[str]:
    """Say whether a head beats its prior on photos that it had not seen, and how sure that is.

    Agreement was measured for the line of the head, which may be that of the prior itself, and for the prior.
    """
    return list(_sentences(measured, line, prior_name))


def _sentences(measured: Collected, line: str, prior_name: str) -> Iterator[str]:
    agreed = {m.figure.metric: m.figure for m in measured.measured if m.figure.statistic == AGREED}
    if line == PRIOR:
        yield f"Nothing in these ratings speaks against {prior_name}: it was kept, with the scale of their choices."
        yield f"It agrees with {_votes(agreed[PRIOR])}."
    else:
        yield _gain(measured, line, prior_name)
        yield f"It agrees with {_votes(agreed[line])}; {prior_name} with {cell(agreed[PRIOR])}."
    yield from uncertain(agreed[PRIOR].references, "photos")


def _gain(measured: Collected, line: str, prior_name: str) -> str:
    """The comparison that decides: likelihood of held-out votes, in pairs."""
    (found,) = compare(measured.measured, (line, PRIOR), [(SECTION, CHOICES, LOSS)], PRIOR)
    form = number_form(found)
    low, high = (None if end is None else form(-end) for end in (found.high, found.low))
    span = "" if low is None else f" [{low}, {high}]"
    shown = "beats" if found.high is not None and found.high < 0 else "is not shown to beat"
    return (
        f"The fitted head {shown} {prior_name} on held-out photos: it gains {form(-found.value)}{span} nats per vote."
    )


def _votes(figure: Figure) -> str:
    return f"{cell(figure)} percent of the votes about photos that it had not seen ({figure.n} choices)"
