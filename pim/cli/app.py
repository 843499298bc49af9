"""All commands in one place, and what happens when one fails.

To add a command, write `pim/cli/NAME.py` with `EXAMPLES`, which work as typed in the root of the repository, and a
function whose docstring is the help. It imports torch and the like inside, prints data to stdout and all else to
stderr, and raises a `PimError` when it cannot go on, `common.Interrupted` when Ctrl-C leaves something worth telling,
`typer.Exit(1)` when some inputs failed and were named. Add one line to `COMMANDS`. A group is a `typer.Typer`.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pim.cli.common import EXIT_INTERRUPTED, HELP_OPTIONS, Interrupted, chosen_format, in_parts, keep_inputs, one_line
from pim.errors import PimError

# What each command is, as `module:function` or, for a group, `module:app`; imported when it is called.
COMMANDS = {
    "score": "pim.cli.score:score",
    "compare": "pim.cli.compare:compare",
    "map": "pim.cli.map:map",
    "metrics": "pim.cli.metrics:metrics",
    "train": "pim.cli.train:train",
    "eval": "pim.cli.evaluate:evaluate",
    "report": "pim.cli.report:report",
    "fit": "pim.cli.vgg.fit:fit",
    "ablate": "pim.cli.vgg.ablate:ablate",
    "probe": "pim.cli.probe:probe",
    "data": "pim.cli.data:app",
    "rate": "pim.cli.rate:app",
    "web": "pim.cli.web:web",
    "weights": "pim.cli.weights:app",
    "cache": "pim.cli.cache:cache",
    "ntc": "pim.cli.ntc:app",
}
OUTPUTS = frozenset(
    {
        *("--output", "--report", "--plot", "--pack", "--values", "--picture", "--sensitivity", "--heatmap"),
        "--rates",
    }
)
EXIT_PIPE_CLOSED = 141  # what a shell reports for a command that its reader left, as in `pim ... | head`


class _PipeClosed(Exception):
    """The reader of stdout has gone."""


class _Group(TyperGroup):
    """Imports only the command that is called, and keeps Ctrl-C and closed pipes from typer."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise Interrupted("stopped") from None
        except BrokenPipeError:
            raise _PipeClosed from None


app = typer.Typer(
    cls=_Group,
    help="How different two pictures look, in numbers that agree with people.",
    epilog="\b\nExample:\n  pim score examples/reference.png examples/distorted.png",
    context_settings=HELP_OPTIONS,
    rich_markup_mode=None,  # plain help: rich alone would cost a third of the time to --help
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pim._version import VERSION

        print(f"pim {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """How different two pictures look, in numbers that agree with people."""


def _command(name: str) -> Any:
    module_name, _, attribute = COMMANDS[name].partition(":")
    module = importlib.import_module(module_name)
    found = getattr(module, attribute)
    parent = typer.Typer(context_settings=HELP_OPTIONS, rich_markup_mode=None, pretty_exceptions_enable=False)
    if not isinstance(found, typer.Typer):
        parent.command(name, epilog=module.EXAMPLES)(found)
        return _keeping_inputs(get_command(parent))
    parent.add_typer(found, name=name)
    group: Any = get_command(parent)
    return _keeping_inputs(group.commands[name])


def _keeping_inputs(command: Any) -> Any:
    """The same command, or group of commands, which refuses before it begins to write over what it was given."""
    for inner in getattr(command, "commands", {}).values():
        _keeping_inputs(inner)
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
        if {"form", "target"} <= values.keys():
            asked = values["form"], values["target"]
            if command.name != "score" or not in_parts(*asked):
                chosen_format(*asked)
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


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: Without the name of the program.

    Returns:
        The exit code: 0 all done, 1 something failed, 2 wrong usage, 130 stopped by Ctrl-C, 141 reader gone.
        Every failure is one line on stderr; with PIM_DEBUG=1 in the environment, its traceback too.
    """
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        codecs.register_error("pim", _escaped)
        sys.stdout.reconfigure(errors="pim")
    try:
        code = get_command(app).main(args=list(arguments), prog_name="pim", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _PipeClosed:
        _drop_stdout()
        return EXIT_PIPE_CLOSED
    except typer.TyperException as error:
        return _failed(_usage(error), error.exit_code)
    except PimError as error:
        return _failed(f"pim: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _failed("pim: stopped", EXIT_INTERRUPTED)
    except OSError as error:
        _drop_stdout()
        where = "" if error.filename is None else f"{one_line(str(error.filename))}: "
        return _failed(f"pim: {where}{error.strerror or error}", 1)
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        how = "please report it with what the same command prints under PIM_DEBUG=1"
        return _failed(f"pim: this should not happen: {what}; {how}", 1)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of file names that are no text as they are, and letters that the encoding lacks in ASCII."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _drop_stdout() -> None:
    """Send what is still buffered nowhere: the interpreter flushes stdout once more when it ends."""
    with contextlib.suppress(OSError):  # a stdout without a file, as inside tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, code: int) -> int:
    if os.environ.get("PIM_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    print(message, file=sys.stderr)
    return code


def _usage(error: typer.TyperException) -> str:
    """What was typed wrong, the nearest right thing, and where to read more; or the help that it carries."""
    context = getattr(error, "ctx", None)
    text = error.format_message()
    if text.startswith("Usage:"):
        return text
    possibilities = getattr(error, "possibilities", None)
    if possibilities:
        text = f"{error.message}. Did you mean {possibilities[0]!r}?"
    text = " ".join(text.split()).replace("Value error, ", "")
    text = text[0].lower() + text[1:].rstrip(".")
    if context is not None:
        text += f"{'' if text.endswith('?') else '.'} See {context.command_path} --help"
    return f"pim: {text}"
