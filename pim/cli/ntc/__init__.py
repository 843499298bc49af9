"""`pim ntc`: learned codecs."""

from __future__ import annotations

import typer

from pim.cli.common import HELP_OPTIONS
from pim.cli.ntc import rd

app = typer.Typer(help="Learned codecs, and how codecs compare.", context_settings=HELP_OPTIONS, no_args_is_help=True)
app.command(epilog=rd.EXAMPLES)(rd.rd)
