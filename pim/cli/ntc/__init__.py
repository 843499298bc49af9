"""`pim ntc`: learned codecs, and the experiments of their papers."""

from __future__ import annotations

import typer

from pim.cli.ntc import reproduce

app = typer.Typer(help="Learned codecs, and the experiments of their papers.", no_args_is_help=True)
app.command(epilog=reproduce.EXAMPLES)(reproduce.reproduce)
