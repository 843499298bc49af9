"""A web server on this machine that cuts connections, lies and changes its mind, as it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = bytes(range(256)) * 9000  # more than two pieces


@dataclass
class Plan:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    tag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # after so many bytes the next connections end
    statuses: list[int] = field(default_factory=list)  # of the next answers
    redirect: str | None = None
    ranges: bool = True
    shift: int = 0  # the part that is sent begins so many bytes late
    asked: list[str | None] = field(default_factory=list)  # the Range of every request
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    plan: Plan

    def do_GET(self) -> None:
        plan = self.plan
        wanted = self.headers.get("Range")
        plan.asked.append(wanted)
        if plan.statuses:
            self.send_error(plan.statuses.pop(0))
            return
        if plan.redirect:
            self.send_response(302)
            self.send_header("Location", plan.redirect)
            self.end_headers()
            return
        start = 0
        if wanted and plan.ranges and self.headers.get("If-Range") == plan.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) + plan.shift
            if start >= len(plan.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(plan.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(plan.content) - 1}/{len(plan.content)}")
        else:
            self.send_response(200)
        body = plan.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if plan.tag:
            self.send_header("ETag", plan.tag)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have heard enough
            self.wfile.write(body[: plan.cuts.pop(0)] if plan.cuts else body)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@contextlib.contextmanager
def serving() -> Iterator[Plan]:
    """A server that follows the plan, and the plan with its address."""
    plan = Plan()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Planned", (Handler,), {"plan": plan}))
    plan.url = f"http://127.0.0.1:{server.server_port}/set.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield plan
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
