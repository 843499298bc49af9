"""`pim ntc`: learned codecs, how codecs compare, and the experiments of the papers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import typer

from pim.cli.common import HELP_OPTIONS
from pim.cli.ntc import coding, rd, train
from pim.errors import UsageError

app = typer.Typer(
    help="Learned codecs, how codecs compare, and the experiments of the papers.",
    context_settings=HELP_OPTIONS,
    no_args_is_help=True,
)
app.command(epilog=coding.COMPRESS_EXAMPLES)(coding.compress)
app.command(epilog=coding.DECOMPRESS_EXAMPLES)(coding.decompress)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=rd.EXAMPLES)(rd.rd)


@app.command(
    epilog="\b\nExample:\n  pim ntc reproduce",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
def reproduce(context: typer.Context) -> None:
    """Run an experiment of a paper: toy sources, the sawbridge, features, small networks.

    The experiments are part of the repository, not of the installed package.
    """
    folder = Path.cwd() / "benchmarks"
    if (folder / "reproductions").is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if importlib.util.find_spec("reproductions") is None:
        raise UsageError(
            f"the experiments are in benchmarks/reproductions of the repository, and {Path.cwd()} has none; "
            "clone it and run this from its root"
        )
    from reproductions.command import app as experiments

    experiments(context.args, prog_name="pim ntc reproduce", standalone_mode=False)
