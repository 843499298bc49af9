"""The page on this machine: a server of its files and of the runtime's, and of nothing else."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from pim.errors import PimError
from pim.web.runtime import FILES

HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def files(runtime: Path) -> dict[str, Path]:
    """Everything that the page is made of, by its address beside index.html.

    Args:
        runtime: Folder of the runtime's files, from `pim.web.runtime.get`.
    """
    page = Path(str(resources.files("pim.web").joinpath("page")))
    own = {path.name: path for path in sorted(page.iterdir()) if path.suffix in TYPES}
    theme = Path(str(resources.files("pim.core.look").joinpath("theme.css")))
    return {**own, "theme.css": theme, **{f"runtime/{name}": runtime / name for name in FILES}}


def server(runtime: Path, port: int) -> ThreadingHTTPServer:
    """Make a server of the page at a port of this machine, 0 for one that is free; `serve_forever` starts it.

    Raises:
        PimError: if the port is taken.
    """
    served = {f"/{name}": path for name, path in files(runtime).items()}
    served["/"] = served["/index.html"]

    class Handler(_Handler):
        pages = served

    try:
        return _Server((HOST, port), Handler)
    except OSError as error:
        raise PimError(f"cannot listen on port {port}: {error.strerror}; try another --port") from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that has gone away is nobody's business."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, Path]

    def do_GET(self) -> None:
        """Send a file."""
        path = self.pages.get(urlsplit(self.path).path)
        if path is None or not path.is_file():  # the cache may have been cleared meanwhile
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", TYPES[path.suffix])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: stderr belongs to the command."""
