"""`pim ntc`: learned codecs, how codecs compare, and the experiments of the papers."""

from __future__ import annotations

import typer

from pim.cli.common import HELP_OPTIONS
from pim.cli.ntc import compress, decompress, rd, reproduce, train

app = typer.Typer(
    help="Learned codecs, how codecs compare, and the experiments of the papers.",
    context_settings=HELP_OPTIONS,
    no_args_is_help=True,
)
app.command(epilog=compress.EXAMPLES)(compress.compress)
app.command(epilog=decompress.EXAMPLES)(decompress.decompress)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=rd.EXAMPLES)(rd.rd)
app.command(epilog=reproduce.EXAMPLES)(reproduce.reproduce)
