"""`pim report`: evaluation runs as one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pim.cli import common
from pim.cli.common import progress
from pim.errors import DataError, MetricUnavailable
from pim.eval.rated import plan_again

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.eval.judgements import Plan
    from pim.eval.report_cases import Gallery

EXAMPLES = """\b
Examples:
  pim report runs/tid2013
  pim report runs/tid2013 runs/bapps -o report.html --images 12
"""
TABLE = "scores.sqlite"


def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders made by pim eval.")],
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page, written whole or not at all.")
    ] = Path("report.html"),
    images: Annotated[
        int, typer.Option(metavar="N", min=0, max=24, help="Pairs to show per run, with their maps.")
    ] = 6,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Show no pairs; then nothing but the run folders is read.")
    ] = False,
    quiet: common.Quiet = False,
) -> None:
    """Make one page of tables, plots and pictures from runs of pim eval.

    The page is a single file that loads nothing from anywhere. Pictures of the pairs on which metrics
    disagree most are in it where the data set still is what was scored; numbers come from the run folders.
    """
    from pim.core.files import write_text
    from pim.eval.report import last_options, page, section

    folders = [folder for path in run for folder in _runs(path)]
    sections = []
    with progress("report", len(folders), unit="runs", quiet=quiet) as advance:
        for folder in folders:
            gallery = None if no_images or images == 0 else _gallery(folder, images)
            sections.append(section(folder, last_options(folder), gallery))
            advance()
    write_text(target, page(sections))
    common.note(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {len(sections)} runs", quiet)


def _runs(path: Path) -> list[Path]:
    """A run folder, or those inside a folder: data sets of several parts have a run for each."""
    if (path / TABLE).is_file():
        return [path]
    inside = sorted(file.parent for file in path.glob(f"*/{TABLE}"))
    if not inside:
        raise DataError(f"{path} is not the folder of a run: it has no {TABLE}; pim eval makes one")
    return inside


def _gallery(folder: Path, count: int) -> Gallery:
    """Where the pictures of a run are, from what it noted."""
    from pim.eval.report_cases import Gallery
    from pim.eval.store import reading

    with reading(folder) as store:
        runs = store.runs()
        request: Mapping[str, Any] = runs[-1].request if runs else {}
        known = {metric.fingerprint: metric.description for metric in store.metrics()}
    described = [known[fingerprint] for fingerprint in request.get("metrics", []) if fingerprint in known]

    def plan() -> Plan:
        if "source" not in request:
            raise DataError(f"the run in {folder} does not note where its pictures are; pim eval again does")
        return plan_again(request, request["about"]["dataset"])

    return Gallery(plan, lambda: _with_maps(described), count)


def _with_maps(described: list[dict[str, Any]]) -> list[Metric]:
    """The metrics of a run that can draw maps here: built-in ones with the same weights.

    Others are not loaded: a name found in a file must not run code.
    """
    from pim.metrics.registry import built_in, load

    found = []
    for description in described:
        info = built_in().get(description["name"])
        if info is None or not info.spatial:
            continue
        try:
            metric = load(info.name)
        except MetricUnavailable:
            continue
        if metric.weights_hash == description["weights_hash"]:
            found.append(metric)
    return found
