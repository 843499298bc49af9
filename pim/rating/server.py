"""The server of a study: one page, its pictures by token, and four calls in JSON. No path leads to a file."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pim._version import VERSION
from pim.core import look
from pim.errors import InputError, PimError
from pim.rating.access import Access, Guard
from pim.rating.gallery import Gallery
from pim.rating.study import Answer, Stale, Standing, Study, UnknownRater

LARGEST_BODY = 4096  # bytes of a call
LONGEST_TEXT = 200
LONGEST_TIME = 24 * 3600 * 1000  # milliseconds of an answer
MOST_LOOKS = 100_000
SCREEN = ("ratio", "width", "height", "panes", "whole", "zoom")  # what a page says of how pictures were shown

_TOKEN = re.compile(r"[0-9a-f]{32}")
_STATUS = {InputError: 400, UnknownRater: 404, Stale: 409}
_log = logging.getLogger(__name__)

Call = Callable[[Study, dict[str, Any]], Standing]


def application(study: Study, gallery: Gallery, access: Access) -> Starlette:
    """The web application of a study."""
    style, script = look.style("pim.rating", "rate.css"), look.script("pim.rating", "rate.js")
    template = look.environment("pim.rating").get_template("rate.html")
    page = template.render(style=style, script=script, version=VERSION, settings=study.settings)
    policy = look.policy(style, script, img="'self' data:", connect="'self'")

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page)

    def show_picture(request: Request) -> Response:
        try:
            content = gallery.png(request.path_params["token"])
        except PimError as error:
            _log.error("%s", error)
            return JSONResponse({"error": "this picture cannot be shown; tell the person who runs the study"}, 500)
        if content is None:
            return JSONResponse({"error": "there is no such picture"}, 404)
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})

    routes = [
        Route("/", show_page),
        Route("/picture/{token}", show_picture),
        *(Route(f"/api/{name}", _endpoint(study, call), methods=["POST"]) for name, call in _CALLS.items()),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access, policy=policy)])


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer requests that come to a bound socket, until Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        http="h11",
        ws="none",
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16384,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _endpoint(study: Study, call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            return JSONResponse(asdict(await run_in_threadpool(call, study, body)))
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody: the page sends its answer again
        except (InputError, UnknownRater, Stale) as error:
            return JSONResponse({"error": str(error)}, _STATUS.get(type(error), 400))
        except PimError as error:
            _log.error("%s", error)
            return JSONResponse({"error": "It could not be kept; tell the person who runs the study."}, 503)

    return answer


async def _body(request: Request) -> dict[str, Any]:
    """The object that a call carries.

    Raises:
        InputError: if it is none, or too large.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InputError("send application/json")
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BODY:
            raise InputError(f"send at most {LARGEST_BODY} bytes")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError("send JSON") from error
    if not isinstance(body, dict):
        raise InputError("send a JSON object")
    return body


def _answer(study: Study, body: dict[str, Any]) -> Standing:
    token = _text(body, "answer")
    if not _TOKEN.fullmatch(token):
        raise InputError("answer must be 32 hexadecimal digits")
    if "right" not in body or not isinstance(body["right"], bool | None):
        raise InputError("right must be true, false, or null for no difference")
    given = Answer(
        trial=_text(body, "trial"),
        token=token,
        right=body["right"],
        milliseconds=int(_number(body, "milliseconds", LONGEST_TIME)),
        looks=int(_number(body, "looks", MOST_LOOKS)),
        screen={key: _number(body, key, 1e6) for key in SCREEN},
    )
    return study.answer(_text(body, "rater"), given)


_CALLS: dict[str, Call] = {
    "enter": lambda study, body: study.enter(_text(body, "name")),
    "standing": lambda study, body: study.standing(_text(body, "rater")),
    "answer": _answer,
    "undo": lambda study, body: study.undo(_text(body, "rater"), _text(body, "trial")),
}


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise InputError(f"{key} must be a text of at most {LONGEST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{key} holds half a character")
    return value


def _number(body: dict[str, Any], key: str, most: float) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise InputError(f"{key} must be a number from 0 to {most:g}")
    return value
