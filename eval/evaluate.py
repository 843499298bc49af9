"""From a rated data set and metrics to numbers, in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pim.core.device import choose
from pim.datasets.dataset import Dataset
from pim.errors import UsageError
from pim.eval.analysis import AnalysisOptions
from pim.eval.estimate import IntervalOptions
from pim.eval.judgements import Treatment, plan_of, with_jpeg_floor
from pim.eval.rated import EVERYTHING, Progress, RatedSet, Selection, datasets, looked_at
from pim.eval.run import Advance, RunOptions
from pim.eval.scoring import Engine, InThisProcess
from pim.eval.session import Outcome
from pim.eval.session import evaluate as evaluate_plan
from pim.scoring.engine import Metrics, load_metrics

if TYPE_CHECKING:
    from pim.eval.flips import Flips


@dataclass(frozen=True)
class Evaluation:
    """What came out: for every part of the data set and every shift, the numbers and what failed."""

    outcomes: tuple[Outcome, ...]
    flips: tuple[Flips, ...] = ()


@contextmanager
def unseen(label: str, total: int, *, unit: str = "pairs", done: int = 0) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda count=1, note="": None


def evaluate(
    asked: RatedSet,
    metrics: Metrics = None,
    *,
    align: bool | None = None,
    run: str | Path | None = None,
    selection: Selection = EVERYTHING,
    resize: int | None = None,
    shifts: Sequence[int] = (),
    options: RunOptions | None = None,
    analysis: AnalysisOptions | None = None,
    engine: Engine | None = None,
    watch: Progress = unseen,
) -> Evaluation:
    """Measure how well metrics agree with people; what was computed before, also by `pim eval`, is not again.

    Args:
        asked: The data set.
        metrics: As `pim.score` takes them.
        align: As in `pim.score`.
        run: Folder where every value is kept; by default runs/ and the name of the data set.
        selection: Which rows to take.
        resize: Shorter side that pictures are resized to; 0: none; None: what the data set is known for.
        shifts: BAPPS: count rank flips with candidates shifted by so many columns.
        options: How to compute; by default on a GPU where there is one.
        analysis: How numbers are made of values: bootstrap, logistic fit.
        engine: Who computes; None: this process.
        watch: Shows how far it is.

    Raises:
        UsageError: if a metric cannot be used, or another process is at work in the folder.
        ManifestError: if the data set is not there, or not whole.
        PimError: if the run cannot go on; what was committed stays.
    """
    if not isinstance(asked, RatedSet):
        example = "pim.RatedSet('table', 'ratings.csv', higher_is_better=True)"
        raise UsageError(f"the data set must be a pim.RatedSet, such as {example}; got {type(asked).__name__}")
    if shifts and asked.name != "bapps":
        raise UsageError(f"shifts mean nothing for {asked.name}; they belong to bapps")
    options = options or RunOptions(device=str(choose("auto")))
    here = engine is None or isinstance(engine, InThisProcess)  # actors elsewhere move metrics to their own device
    chosen = load_metrics(metrics, options.device if here else None, align)
    folder = folder_of(asked, run)
    summed_up = analysis or AnalysisOptions(IntervalOptions())

    def outcome(dataset: Dataset, place: Path, treatment: Treatment) -> Outcome:
        plan = plan_of(dataset, treatment, selection.keep())
        request = {"source": asked.as_dict(), "selection": vars(selection), "treatment": vars(treatment)}

        def shown(total: int, done: int) -> AbstractContextManager[Advance]:
            return watch(dataset.name, total, done=done)

        return evaluate_plan(place, plan, chosen, request, options, summed_up, shown, engine)

    outcomes: list[Outcome] = []
    flipped: list[Flips] = []
    for dataset in datasets(asked):
        dataset = with_jpeg_floor(looked_at(dataset, asked.allow_missing, watch))
        place = folder / dataset.name if asked.name == "bapps" else folder
        side = dataset.protocol_side if resize is None else resize or None
        if not shifts or dataset.kind != "two_afc":
            outcomes.append(outcome(dataset, place, Treatment(side)))
            continue
        each = {s: outcome(dataset, place / f"shift-{s}", Treatment(side, s)) for s in (0, *shifts)}
        outcomes += each.values()
        from pim.eval.flips import flips

        for shift in shifts:
            both = zip(each[0].run.values, each[shift].run.values, strict=True)
            flipped += [flips(each[shift].run.judgements, still, moved, shift) for still, moved in both]
    return Evaluation(tuple(outcomes), tuple(flipped))


def folder_of(asked: RatedSet, run: str | Path | None) -> Path:
    """Where the values of a data set are kept."""
    return Path("runs") / asked.name if run is None else Path(run)
