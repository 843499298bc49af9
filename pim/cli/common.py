"""What commands share: options, notes and progress on stderr, results on stdout or in a file that is written whole."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from pim.errors import PimError, UsageError

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.eval.run import Advance
    from pim.images.opener import OpenOptions

EXIT_INTERRUPTED = 130
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
FormatName = Literal["text", "json", "csv"]


class Interrupted(PimError):
    """Ctrl-C; the message says what is kept."""

    exit_code = EXIT_INTERRUPTED


def _complete_metric(incomplete: str) -> list[str]:
    from pim.metrics.registry import built_in

    return [name for name in built_in() if name.startswith(incomplete)]


Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-m",
        metavar="NAME",
        autocompletion=_complete_metric,
        help="A name from `pim metrics`, a .safetensors file, package.module:callable or file.py:callable. Repeatable.",
    ),
]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to compute; auto takes a GPU where there is one.")]
Format = Annotated[
    FormatName | None, typer.Option("--format", help="By default what the ending of --output says, else text.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, whole or not at all.")
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
        help="Put transparent images on white, black or #rrggbb; without it they are refused.",
    ),
]
Frame = Annotated[int | None, typer.Option("--frame", min=0, metavar="N", help="Which picture of a file with several.")]
Align = Annotated[
    bool | None,
    typer.Option(
        "--align/--no-align",
        help="Find displacement and change of tone, take both back, and charge for them instead; by default pim does.",
    ),
]
SaveAligned = Annotated[
    Path | None,
    typer.Option(
        "--save-aligned",
        metavar="FOLDER",
        help="Save both pictures as they were compared, where displacement or tone was taken back.",
    ),
]
EngineName = Literal["local", "ray"]
Engine = Annotated[
    EngineName,
    typer.Option("--engine", help="Who computes: this process, or the actors of a Ray cluster (pim-metric[ray])."),
]
Actors = Annotated[
    int | None,
    typer.Option(
        "--actors",
        metavar="N",
        min=1,
        show_default=False,
        help="With --engine ray: how many; by default one for each CPU, or each GPU, of the cluster.",
    ),
]
Images = Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Where paths of a table start.")]
Direction = Annotated[
    bool | None, typer.Option("--higher-is-better/--lower-is-better", help="What the scores of a table mean.")
]
Subsets = Annotated[
    list[str] | None, typer.Option("--subset", metavar="NAME", help="Only rows of this subset. May be repeated.")
]
Distortions = Annotated[
    list[str] | None, typer.Option("--distortion", metavar="NAME", help="Only this type. May be repeated.")
]
Clean = Annotated[Path | None, typer.Option("--clean", metavar="DIR", help="imagenet-c: the clean pictures.")]
MaxPixels = Annotated[int, typer.Option("--max-pixels", min=1, help="Refuse images with more pixels than this.")]
MAX_PIXELS = 512_000_000
BESIDE = (".json", ".ckpt")  # endings of what is written beside an output
PAGES = (".html", ".svg")  # never inputs
TABLES = (".csv", ".tsv", ".txt", ".parquet")  # inputs whose .json beside them is one too


def open_options(background: str | None, frame: int | None, max_pixels: int) -> OpenOptions:
    """The options of the image opener, from the options of the command line."""
    from pim.images.opener import OpenOptions

    return OpenOptions(background=background, frame=frame, max_pixels=max_pixels)


def chosen_format(wanted: FormatName | None, output: Path | None) -> FormatName:
    """The format asked for; else the one that the name of the output file says; else text.

    Raises:
        UsageError: if the name ends in anything else.
    """
    if wanted is not None or output is None:
        return wanted or "text"
    endings: dict[str, FormatName] = {"": "text", ".txt": "text", ".json": "json", ".csv": "csv"}
    ending = output.suffix.lower()
    if ending not in endings:
        raise UsageError(f"--output {output} may end in .txt, .json or .csv; for {ending} say --format too")
    return endings[ending]


def in_parts(wanted: FormatName | None, output: Path | None) -> bool:
    """Whether an output of `pim score` is a table in parts, by its name; see `pim.cli.parts`."""
    return wanted is None and output is not None and output.suffix.lower() == ".parquet"


def keep_inputs(output: Path | None, inputs: Iterable[str]) -> None:
    """Refuse to write over an input, or over what stands beside one, or a file that is there in a folder of inputs.

    What commands write beside their output counts as output.

    Raises:
        UsageError: naming the file that would be lost, or if standard output is meant.
    """
    if output is None or not output.name:  # the folder where we are
        return
    if str(output) == "-":
        raise UsageError("--output - would be a file called -; give it another name")
    written = [path for path in (output, *map(output.with_suffix, BESIDE)) if path.is_file()]
    if not written:
        return
    for name in map(Path, inputs):
        beside = [name.with_suffix(".json")] if name.suffix.lower() in TABLES else []
        given = [path for path in (name, *beside) if path.is_file()]
        lost = [path for path in written if any(os.path.samefile(path, other) for other in given)]
        if name.is_dir() and output in written and output.suffix.lower() not in PAGES:
            lost += [output] if name.resolve() in output.resolve().parents else []
        if lost:
            raise UsageError(f"output {output} would overwrite an input, {lost[0]}; name another file")


def keep_apart(*outputs: Path | None) -> None:
    """Refuse two outputs in one file, as a UsageError."""
    named = [output.resolve() for output in outputs if output is not None]
    if twice := [output for output in named if named.count(output) > 1]:
        raise UsageError(f"two outputs would be written to {twice[0]}; name another file for one")


@contextlib.contextmanager
def alone_with(output: Path) -> Iterator[None]:
    """Keep other processes from an output while the block lasts, else raise UsageError; of a group the first does."""
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
    from pim.metrics.registry import DEFAULT, check_name, spelled

    wanted = list(dict.fromkeys(spelled(name) for name in names or [DEFAULT]))
    for name in wanted:
        check_name(name)
    from pim.scoring.engine import load_metrics as load

    return load(wanted, chosen_device(device), align)


def devices(name: DeviceName, engine: EngineName, actors: int | None) -> tuple[DeviceName, str]:
    """Choose where metrics are loaded, and where they compute: with Ray on a device of the actors.

    Raises:
        UsageError: if this machine computes and the device is not there, or a number of actors is given to it.
    """
    if engine == "local" and actors is not None:
        raise UsageError("--actors is for --engine ray; --workers is how many threads open pictures here")
    far = engine == "ray" and name != "auto"  # this machine need not have it
    return ("cpu", name) if far else (name, chosen_device(name))


def chosen_device(name: DeviceName) -> str:
    """Choose the device to compute on; raises UsageError if it is not there."""
    from pim.core.device import choose

    return str(choose(name))


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read numbers with commas between them; raises UsageError for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} must be numbers with commas, such as 8,8,8,3; got {text!r}") from None


def note(message: str, quiet: bool = False) -> None:
    """One line on stderr, unless quiet."""
    if not quiet:
        print(f"pim: {message}", file=sys.stderr, flush=True)


def use_threads(count: int) -> None:
    """Let torch use so many threads; 0: all."""
    if count:
        import torch

        torch.set_num_threads(count)


def progress(
    label: str, total: int | None, *, unit: str = "pairs", done: int = 0, quiet: bool = False
) -> contextlib.AbstractContextManager[Advance]:
    """Show on stderr how a block gets on: a bar on a terminal, a line now and then elsewhere.

    Args:
        label: What is being done, one or two words.
        total: How many items there are; None if unknown. Less than 2 shows nothing.
        unit: What is counted; "bytes" are shown as megabytes.
        done: Items that were done before, such as in a run that continues.
        quiet: Show nothing.
    """
    if quiet or (total is not None and total < 2):
        return contextlib.nullcontext(lambda count=1, note="": None)
    from pim.cli.progress import shown

    return shown(label, total, unit, done)


@contextlib.contextmanager
def destination(path: Path | None) -> Iterator[TextIO]:
    """Where data goes: stdout, or a file that appears only if the block ends without an error.

    Raises:
        UsageError: if something is there that is no text, such as a picture.
        PimError: if the file cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    if path.is_file() and _is_binary(path):
        raise UsageError(f"{path} is there and no text; name another file to write to")
    from pim.core.files import written_whole

    with written_whole(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        yield text
        text.flush()
        text.detach()


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"\0" in stream.read(4096)
    except OSError:
        return False


def show(form: FormatName | None, target: Path | None, document: Mapping[str, Any], csv: str, text: str) -> None:
    """Write the one of three forms of a result that is asked for."""
    chosen = chosen_format(form, target)
    with destination(target) as stream:
        stream.write(json_text(document) if chosen == "json" else csv if chosen == "csv" else text)


@contextlib.contextmanager
def stoppable(kept: str, checkpoint: Path | None = None) -> Iterator[None]:
    """Say on Ctrl-C what is kept and that the command goes on; or, where there is no checkpoint yet, that nothing is.

    Raises:
        Interrupted: on Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        there = checkpoint is None or checkpoint.exists()
        said = f"{kept}, the same command goes on" if there else "nothing is kept yet"
        raise Interrupted(f"stopped; {said}") from None


def is_video(path: str) -> bool:
    """Whether a name is that of a video file; of a GIF the first picture is opened instead."""
    from pim.core.files import VIDEO_SUFFIXES

    ending = Path(path).suffix.lower()
    return ending in VIDEO_SUFFIXES and ending != ".gif" and not Path(path).is_dir()


def short(value: float) -> str:
    """A number for people: 6 significant digits.

    >>> short(0.12345678)
    '0.123457'
    """
    return f"{value:.6g}"


def one_line(name: str) -> str:
    r"""A file name that cannot break a line or a column: control characters become escapes.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in name)


def guarded(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula: a leading = + - @ gets a quote before it.

    >>> guarded("=1+1.png"), guarded("-1.5")
    ("'=1+1.png", '-1.5')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def csv_line(cells: Iterable[Cell]) -> str:
    """One line of CSV with its end: numbers in full, true and false in words, nothing for None."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_csv_cell(cell) for cell in cells])
    return buffer.getvalue()


def finite(value: Any) -> Any:
    """The same value for JSON, which knows no infinity and no NaN: they become null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def json_text(document: Mapping[str, Any]) -> str:
    """A JSON object with its end of line; ASCII, so that names in any encoding survive any terminal."""
    return json.dumps(finite(document), indent=2, allow_nan=False) + "\n"


def csv_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Those columns of rows as CSV with a heading."""
    return csv_line(columns) + "".join(csv_line(row[column] for column in columns) for row in rows)


def table(rows: Sequence[Row], form: str) -> str:
    """Rows of equal keys as aligned text with a heading, or as CSV; nothing without rows."""
    if not rows:
        return ""
    columns = list(rows[0])
    if form == "csv":
        return csv_table(columns, rows)
    lines = [columns, *([_text_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _csv_cell(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if cell is None:
        return ""
    return guarded(cell) if isinstance(cell, str) else repr(cell)


def _text_cell(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if cell is None or cell != cell:
        return "-"
    return short(cell) if isinstance(cell, float) else one_line(str(cell))
