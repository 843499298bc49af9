"""`pim ntc reproduce`: what a paper claims, and what comes out here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import progress, table
from reproductions.catalogue import CATALOGUE, check_name

if TYPE_CHECKING:
    from reproductions.experiment import Claim

EXAMPLES = """\b
Example:
  pim ntc reproduce
"""


app = typer.Typer(context_settings=common.HELP_OPTIONS, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Without it, the list of experiments.")
    ] = None,
    preset: Annotated[
        Literal["quick", "full"], typer.Option(help="quick: minutes on one CPU core; full: as in the paper, hours.")
    ] = "quick",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", show_default=False, help="For those that need data.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Rows as CSV, figures, and finished runs.")
    ] = Path("reproduced"),
    threads: Annotated[int, typer.Option(min=0, help="Of the CPU; 0: all. The same number repeats bit for bit.")] = 1,
    quiet: common.Quiet = False,
) -> None:
    """Run an experiment of a paper: toy sources, the sawbridge, features, small networks.

    Prints every claim with the number that is expected, the number that came out, and whether it holds.
    An interrupted experiment goes on with the run at which it stood. The experiments are part of the
    repository, not of the installed package: run this from the root of a clone.
    """
    if name is None:
        rows = [{"name": e.name, "paper": e.paper, "data": e.data or "-", "about": e.summary} for e in CATALOGUE]
        print(table(rows, "text"), end="")
        return
    check_name(name)
    import torch

    from reproductions.run import EXPERIMENTS
    from reproductions.run import reproduce as run

    if threads:
        torch.set_num_threads(threads)
    experiment = EXPERIMENTS[name]
    try:
        with progress(name, experiment.steps(preset), unit="steps", quiet=quiet) as advance:
            findings = run(experiment, output, preset, data, advance)
    except KeyboardInterrupt:
        raise common.Interrupted(f"stopped; finished runs are kept in {output}, the same command goes on") from None
    print(table([_row(claim) for claim in findings.claims], "text"), end="")
    common.note(f"rows and figures are in {output}", quiet)


def _row(claim: Claim) -> dict[str, str | bool]:
    return {
        "holds": claim.holds,
        "claim": claim.statement,
        "expected": claim.expected,
        "found": claim.found,
        "source": claim.source,
    }
