"""What the commands that turn one file into another share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.common import one_line, progress
from pim.errors import InputError, PimError, UsageError

SUFFIX = ".pntc"

Codec = Annotated[
    str | None,
    typer.Option("--codec", metavar="NAME", show_default=False, help="A codec that ships, or a .safetensors file."),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Of the CPU; 0: all.")]


def targets(inputs: Sequence[str], output: Path | None, suffix: str, force: bool) -> list[tuple[str, Path]]:
    """Where the result of each input goes: `output`, or beside the input with another ending.

    Raises:
        UsageError: if two inputs, or an input and a result, share a file, or something would be overwritten.
    """
    if output is not None and len(inputs) > 1:
        raise UsageError(f"--output names one file, but there are {len(inputs)} inputs; leave it out")
    pairs = [(name, output or Path(name).with_suffix(suffix)) for name in inputs]
    if output is not None:
        common.keep_inputs(output, inputs)
    seen: dict[Path, str] = {}
    for name, target in pairs:
        if target in seen:
            raise UsageError(f"{one_line(seen[target])} and {one_line(name)} would both become {one_line(str(target))}")
        seen[target] = name
        if output is None and target.exists() and not force:
            raise UsageError(
                f"{one_line(str(target))} exists; name another file with --output, or use --force to replace it"
            )
    return pairs


def each(pairs: Sequence[tuple[str, Path]], label: str, work: Callable[[str, Path], str], *, quiet: bool) -> None:
    """Do the work for every input, print every result, name what failed.

    Args:
        pairs: From `targets`.
        label: For the progress.
        work: Makes the result and says something about it.
        quiet: Without progress and notes.

    Raises:
        typer.Exit: with code 1 if any failed.
    """
    failed = 0
    with progress(label, len(pairs), unit="images", quiet=quiet) as advance:
        for name, target in pairs:
            try:
                said = work(name, target)
            except PimError as error:
                if isinstance(error, UsageError):
                    raise
                failed += 1
                common.note(str(error))
            else:
                print(target, flush=True)
                common.note(f"{one_line(str(target))}: {said}", quiet)
            advance()
    if failed:
        raise typer.Exit(1)


@contextmanager
def about(name: str) -> Iterator[None]:
    """Errors of the block begin with a name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{one_line(name)} {error}") from error


def use_threads(count: int) -> None:
    """Let torch use so many threads; 0: all."""
    if count:
        import torch

        torch.set_num_threads(count)


def note_slow_coder(quiet: bool) -> None:
    """Say what is missing if symbols are coded in plain Python."""
    from ntc.coder import fast

    if not fast():
        common.note(
            "constriction is not installed, so streams are coded in plain Python: the same bytes, but slower; "
            "pip install 'pim-metric[ntc]'",
            quiet,
        )
