"""Who may talk to the server, and with what: one layer around the whole application.

- The Host of a request must be an address, or a name of this machine: a page of another site whose name
  was pointed at this machine (DNS rebinding) is turned away.
- What changes something must come from the server's own page: its Origin is compared with the Host.
- Beyond loopback every request needs the token, once in the address and from then on in a cookie.
- Every answer forbids to be framed, sniffed, cached by others or read by other sites.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # of the address
COOKIE = "pim-rate"
SAFE = ("GET", "HEAD")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Where the server listens, and what it asks for."""

    host: str
    token: str | None  # None: whoever can reach it may rate, which only suits loopback

    def names(self) -> frozenset[str]:
        """Names of this machine that a Host may have besides addresses."""
        own = socket.gethostname().lower()
        there = {own, f"{own}.local", self.host.lower()} if self.token is not None else set()
        return frozenset({"localhost", *there})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


class Guard:
    """Turns away what should not come in, and adds headers to what goes out."""

    def __init__(self, app: ASGIApp, access: Access, policy: str) -> None:
        self._app, self._access, self._names = app, access, access.names()
        # Cookies know no port: studies on one machine need names of their own.
        self._cookie = f"{COOKIE}-{hashlib.sha256((access.token or '').encode()).hexdigest()[:16]}"
        self._headers = {**HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"this server speaks HTTP only, not {scope['type']}")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(scope)
        await (self._app if refused is None else refused)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        request = Request(scope)
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("this is not the address of this server\n", 421)
        origin = request.headers.get("origin", "").lower()
        if request.method not in SAFE and origin not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return JSONResponse({"error": "only the page of this server may send this"}, 403)
        return self._without_token(request)

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if self._access.token is None:
            return is_loopback(name)
        return name in self._names or _address(name) is not None

    def _without_token(self, request: Request) -> Response | None:
        wanted = self._access.token
        if wanted is None:
            return None
        given = request.query_params.get(TOKEN, "")
        if request.method in SAFE and request.scope["path"] == "/" and _equal(given, wanted):
            answer = RedirectResponse("/", 303)  # so that the token does not stay in the address
            # Lax: browsers do not send a strict one when a mail or another page led here.
            answer.set_cookie(self._cookie, wanted, httponly=True, samesite="lax", max_age=30 * 24 * 3600)
            return answer
        if _equal(request.cookies.get(self._cookie, ""), wanted):
            return None
        return PlainTextResponse("open the complete address that pim rate serve printed, with its token\n", 401)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
