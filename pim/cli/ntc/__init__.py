"""`pim ntc`: learned codecs."""

from __future__ import annotations

import typer

from pim.cli.common import HELP_OPTIONS
from pim.cli.ntc import compress, decompress, train

app = typer.Typer(help="Learned codecs, and how codecs compare.", context_settings=HELP_OPTIONS, no_args_is_help=True)
app.command(epilog=compress.EXAMPLES)(compress.compress)
app.command(epilog=decompress.EXAMPLES)(decompress.decompress)
app.command(epilog=train.EXAMPLES)(train.train)
