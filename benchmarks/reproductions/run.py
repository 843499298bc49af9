"""From the name of an experiment to its files: rows as CSV, claims, figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pim.core.files import write_bytes, write_text
from reproductions import decoders, features, lenet, pim_weights, sawbridge, toy_sources
from reproductions.experiment import Context, Experiment, Findings, Preset, Watch
from reproductions.figures import png
from reproductions.ledger import Ledger, Result

_MODULES = (toy_sources, sawbridge, features, lenet, pim_weights, decoders)
EXPERIMENTS: dict[str, Experiment] = {found.name: found for module in _MODULES for found in module.EXPERIMENTS}


def reproduce(
    experiment: Experiment,
    folder: Path,
    preset: Preset = "quick",
    data: Path | None = None,
    watch: Watch = lambda count=1, note="": None,
) -> Findings:
    """Run an experiment, or go on with it, and write what came out.

    Args:
        experiment: Which.
        folder: Where `NAME-PRESET.csv`, figures and the results of single runs go.
        preset: Minutes, or as the papers did.
        data: Folder of data, for experiments that need some.
        watch: Told about progress.

    Raises:
        PimError: if a run fails or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(preset, Ledger(folder / "runs"), data, watch)
    findings = experiment.run(context)
    stem = f"{experiment.name}-{preset}"
    write_text(folder / f"{stem}.csv", _csv(findings.rows))
    for name, figure in findings.figures.items():
        write_bytes(folder / f"{stem}-{name}.png", png(figure))
    return findings


def _csv(rows: Sequence[Result]) -> str:
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
