"""The options that mean the same in every command, and what several commands need."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.errors import PimError, UsageError

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.images.opener import OpenOptions

EXIT_INTERRUPTED = 130
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
FormatName = Literal["text", "json", "csv"]


class Interrupted(PimError):
    """Ctrl-C; the message says what is kept."""

    exit_code = EXIT_INTERRUPTED


def _complete_metric(incomplete: str) -> list[str]:
    from pim.metrics.catalogue import BUILT_IN

    return [name for name in BUILT_IN if name.startswith(incomplete)]


Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-m",
        metavar="NAME",
        show_default=False,
        autocompletion=_complete_metric,
        help="A name from `pim metrics`, package.module:callable, or a .safetensors file. May be repeated.",
    ),
]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to compute; auto takes a GPU where there is one.")]
Format = Annotated[
    FormatName | None,
    typer.Option("--format", show_default=False, help="By default what the ending of --output says, else text."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Write there, whole or not at all."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Start of all random numbers.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="How many prepare images ahead; 0 for none.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="How many images of one size to compute together.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Neither progress nor notes on stderr; errors remain.")]
Background = Annotated[
    str | None,
    typer.Option(
        "--background",
        metavar="COLOR",
        show_default=False,
        help="Put transparent images on white, black or #rrggbb; without it they are refused.",
    ),
]
Frame = Annotated[
    int | None,
    typer.Option("--frame", min=0, metavar="N", show_default=False, help="Which picture of a file with several."),
]
MaxPixels = Annotated[int, typer.Option("--max-pixels", min=1, help="Refuse images with more pixels than this.")]
MAX_PIXELS = 512_000_000


def open_options(background: str | None, frame: int | None, max_pixels: int) -> OpenOptions:
    """The options of the image opener, from the options of the command line."""
    from pim.images.opener import OpenOptions

    return OpenOptions(background=background, frame=frame, max_pixels=max_pixels)


def chosen_format(wanted: FormatName | None, output: Path | None) -> FormatName:
    """The format asked for; else the one that the name of the output file says; else text."""
    if wanted is not None:
        return wanted
    endings: dict[str, FormatName] = {".json": "json", ".csv": "csv"}
    return endings.get(output.suffix.lower(), "text") if output is not None else "text"


def keep_inputs(output: Path | None, inputs: Iterable[str]) -> None:
    """Refuse to write over an input.

    Raises:
        UsageError: if the output file is one of the inputs.
    """
    if output is None or not output.exists():
        return
    for name in inputs:
        if os.path.exists(name) and os.path.samefile(name, output):
            raise UsageError(f"--output {output} would overwrite an input; name another file")


def load_metrics(names: Sequence[str] | None, device: DeviceName) -> list[Metric]:
    """The metrics asked for, once each, in that order; the default metric for none.

    Raises:
        UsageError: if a name is unknown, before anything slow is imported.
        PimError: if one cannot be loaded.
    """
    from pim.metrics.catalogue import DEFAULT, check_name

    wanted = list(dict.fromkeys(names or [DEFAULT]))
    for name in wanted:
        check_name(name)
    from pim.scoring.engine import load_metrics as load

    return load(wanted, chosen_device(device))


def chosen_device(name: DeviceName) -> str:
    """The device to compute on.

    Raises:
        UsageError: if it is not there.
    """
    from pim.core.device import choose

    return str(choose(name))


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Numbers with commas between them.

    Raises:
        UsageError: if it is anything else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} must be numbers with commas, such as 8,8,8,3; got {text!r}") from None


def note(message: str, quiet: bool = False) -> None:
    """One line on stderr, unless quiet."""
    if not quiet:
        print(f"pim: {message}", file=sys.stderr, flush=True)
