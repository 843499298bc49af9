"""What a head loses without some of its layers: their weights set to 0, or the rest fitted anew.

Setting weights to 0 shows what the layers do in the head as it is; fitting anew shows what only they know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pim.eval.estimate import IntervalOptions
from pim.eval.figures import Collected, Comparison, as_records, compare
from vggmetric.fitting import agreement
from vggmetric.fitting.bench import Bench
from vggmetric.fitting.choice import Array, fit
from vggmetric.fitting.cross_validation import Solver
from vggmetric.fitting.forms import fit_forms

FormName = Literal["layer", "channel"]
ALL = "all layers"


@dataclass(frozen=True)
class Ablation:
    """Agreement on held-out photos with all layers, and without some, in two ways."""

    dropped: Collected  # weights set to 0, the others as they were; without a likelihood, which needs the scale
    refitted: Collected  # fitted without
    lines: tuple[str, ...]  # what the tables call them

    def comparisons(self, bench: Bench) -> tuple[list[Comparison], list[Comparison]]:
        """Differences from all layers, with weights set to 0 and fitted anew."""
        dropped = compare(self.dropped.measured, self.lines, agreement.headlines(bench.ratings, loss=False), ALL)
        return dropped, compare(self.refitted.measured, self.lines, agreement.headlines(bench.ratings), ALL)

    def as_dict(self, bench: Bench) -> dict[str, object]:
        """Plain values, for JSON."""
        dropped, refitted = self.comparisons(bench)
        return {
            "dropped": as_records([m.figure for m in self.dropped.measured]),
            "dropped_minus_all": as_records(dropped),
            "refitted": as_records([m.figure for m in self.refitted.measured]),
            "refitted_minus_all": as_records(refitted),
        }


def ablate(
    bench: Bench,
    groups: Mapping[str, Sequence[str]],
    form: FormName,
    intervals: IntervalOptions,
    *,
    solve: Solver = fit,
    advance: Callable[[], object] = lambda: None,
) -> Ablation:
    """Measure what is lost without groups of layers, by what tables call them; `advance` is called after every fit.

    All lines see the same draws of intervals.

    Raises:
        UsageError: if a group leaves no layer of the network.
    """
    remaining = {f"without {name}": bench.without(layers) for name, layers in groups.items()}
    weights = _held_out(bench, form, solve, advance)
    dropped, refitted = {ALL: bench.distances(weights)}, {ALL: bench.distances(weights)}
    for (line, rest), layers in zip(remaining.items(), groups.values(), strict=True):
        dropped[line] = bench.distances(weights * ~bench.layout.mask(tuple(layers)))
        refitted[line] = rest.distances(_held_out(rest, form, solve, advance))
    return Ablation(
        agreement.measure(bench.ratings, dropped, intervals, loss=False),
        agreement.measure(bench.ratings, refitted, intervals),
        tuple(dropped),
    )


def _held_out(bench: Bench, form: FormName, solve: Solver, advance: Callable[[], object]) -> Array:
    """Weights of every fold that saw nothing of it, (F, P)."""
    forms = fit_forms(bench.choices, bench.layout, bench.prior, bench.split, form, solve=solve, advance=advance)
    return forms[form].path.held_out()[0]
