"""The options that mean the same in every command, and what several commands need."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
Align = Annotated[
    bool | None,
    typer.Option(
        "--align/--no-align",
        show_default=False,
        help="Find displacement and change of tone, take both back, and charge for them instead; by default pim does.",
    ),
]
SaveAligned = Annotated[
    Path | None,
    typer.Option(
        "--save-aligned",
        metavar="FOLDER",
        show_default=False,
        help="Save both pictures as they were compared, where displacement or tone was taken back.",
    ),
]
MaxPixels = Annotated[int, typer.Option("--max-pixels", min=1, help="Refuse images with more pixels than this.")]
MAX_PIXELS = 512_000_000
OUTPUTS = frozenset({"--output", "--plot", "--pack", "--values", "--picture", "--sensitivity", "--heatmap"})
BESIDE = (".json", ".ckpt")  # endings of what is written beside an output
PAGES = (".html", ".svg")  # never inputs
TABLES = (".csv", ".tsv", ".txt", ".parquet")  # inputs whose .json beside them is one too


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
    """Refuse to write over an input, or over what stands beside one, or a file that is there in a folder of inputs.

    What commands write beside their output counts as output.

    Raises:
        UsageError: naming the file that would be lost.
    """
    if output is None:
        return
    written = [path for path in (output, *map(output.with_suffix, BESIDE)) if output.name and path.is_file()]
    for name in map(Path, inputs):
        beside = [name.with_suffix(".json")] if name.suffix.lower() in TABLES else []
        given = [path for path in (name, *beside) if path.is_file()]
        lost = [path for path in written if any(os.path.samefile(path, other) for other in given)]
        if name.is_dir() and output in written and output.suffix.lower() not in PAGES:
            lost += [output] if name.resolve() in output.resolve().parents else []
        if lost:
            raise UsageError(f"--output {output} would overwrite an input, {lost[0]}; name another file")


def keeping_inputs(command: Any) -> Any:
    """The same command, or group of commands, which refuses before it begins to write over what it was given."""
    for inner in getattr(command, "commands", {}).values():
        keeping_inputs(inner)
    perform = command.callback
    outputs = [p.name for p in command.params if OUTPUTS.intersection(p.opts)]
    if perform is None or not outputs:
        return command
    folders = [p.name for p in command.params if p.param_type_name == "argument"]

    @functools.wraps(perform)
    def kept(**values: Any) -> Any:
        given = {name: list(_paths(value)) for name, value in values.items() if name not in outputs}
        inputs = [path for name, paths in given.items() for path in paths if name in folders or os.path.isfile(path)]
        for name in outputs:
            if isinstance(values.get(name), Path):
                keep_inputs(values[name], inputs)
        return perform(**values)

    command.callback = kept
    return command


def _paths(value: Any) -> Iterator[str]:
    """What a value of an option may name: itself, and what follows the name in NAME=FILE; each of several."""
    if isinstance(value, str | Path):
        text = str(value)
        yield from (path for path in dict.fromkeys((text, text.partition("=")[2])) if path and os.path.exists(path))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)


@contextlib.contextmanager
def alone_with(output: Path) -> Iterator[None]:
    """Keep other processes from an output for as long as the block lasts; of a group of processes the first does.

    Raises:
        UsageError: if another process is making it.
    """
    from pim.core.database import alone

    if os.environ.get("RANK", "0") != "0":
        yield
        return
    target = output.resolve()
    with alone(
        target.with_name(f".{target.name}.lock"),
        f"another process is making {output}; wait for it, or name another file",
    ):
        yield


def load_metrics(names: Sequence[str] | None, device: DeviceName, align: bool | None = False) -> list[Metric]:
    """The metrics asked for, once each, in that order; the default metric for none.

    Raises:
        UsageError: if a name is unknown, before anything slow is imported.
        PimError: if one cannot be loaded.
    """
    from pim.metrics.catalogue import DEFAULT, FORMER, check_name

    for name in FORMER.keys() & set(names or ()):
        note(f"{name} is gone; {FORMER[name]} took its place, with other values")
    wanted = list(dict.fromkeys(FORMER.get(name, name) for name in names or [DEFAULT]))
    for name in wanted:
        check_name(name)
    from pim.scoring.engine import load_metrics as load

    return load(wanted, chosen_device(device), align)


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
