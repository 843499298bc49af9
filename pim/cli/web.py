"""`pim web`: the page that compares two pictures in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.errors import DataError

EXAMPLES = """\b
Examples:
  pim web
  pim web --runtime onnxruntime-web-1.30.0.tgz
"""


def web(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes one that is free.")] = 8766,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            metavar="FILE",
            show_default=False,
            help="onnxruntime-web as npm pack writes it, for a machine without a network; needed once.",
        ),
    ] = None,
    quiet: common.Quiet = False,
) -> None:
    """Compare two pictures in the browser: distance, ruler, displacement and map.

    Open the printed address on this machine. The browser computes; pictures are not sent anywhere, not even to this
    server. The first start fetches onnxruntime-web from npm, 33 MB, checks it and keeps it in the cache (pim cache).
    """
    from pim.web.runtime import cached
    from pim.web.server import HOST, server

    with server(cached() or _fetched(runtime, quiet), port) as running:
        print(f"http://{HOST}:{running.server_address[1]}/", flush=True)
        common.note("Ctrl-C stops", quiet)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            raise common.Interrupted("stopped") from None


def _fetched(package: Path | None, quiet: bool) -> Path:
    from pim.cli.progress import downloading
    from pim.web.runtime import SIZE, get

    try:
        with downloading("onnxruntime-web", SIZE, quiet) as moved:
            return get(package, moved)
    except DataError as error:
        hint = "" if package else "; on a machine without a network use --runtime"
        raise DataError(f"{error}{hint}") from error
