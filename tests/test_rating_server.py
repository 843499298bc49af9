"""The server of `pim rate` spoken to without its page: who is turned away, and what cannot be read or written."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rating_toys import Server, pictures, servers

from pim.rating.access import Access, is_loopback
from pim.rating.store import content

pytestmark = pytest.mark.slow

SECRET = b"what nobody may read"
SCREEN = {"ratio": 1, "width": 1200, "height": 900, "panes": 3, "whole": 1, "zoom": 1}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures with a file beside them that is none of the study's."""
    root = tmp_path_factory.mktemp("study")
    pictures(root, 2, levels=2)
    (root / "secret.txt").write_bytes(SECRET)
    return root


@pytest.fixture(scope="module")
def server(study: Path) -> Iterator[Server]:
    with servers() as start:
        yield start(study / "originals", study / "blur0", study / "noise0", "--db", study / "r.sqlite")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """A way to start servers of one's own."""
    with servers() as start:
        yield start


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content; the path goes out as it is written here."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def call(server: Server, name: str, given: Any, **headers: str) -> tuple[int, Any]:
    """What the page would send."""
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json", **headers}
    status, _, answer = ask(server, "POST", f"/api/{name}", json.dumps(given).encode(), own)
    return status, json.loads(answer)


def answer_to(standing: Any, right: bool = True, token: str = "ab" * 16) -> dict[str, Any]:
    base = {"rater": standing["rater"], "trial": standing["trial"]["token"], "answer": token, "right": right}
    return {**base, "milliseconds": 900, "looks": 0, **SCREEN}


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/picture/../secret.txt",
        "/picture/../../secret.txt",
        "/picture/..%2fsecret.txt",
        "/picture/%2e%2e%2fsecret.txt",
        "/picture/..%252fsecret.txt",
        "/picture/..\\secret.txt",
        "/picture/secret.txt",
        "/picture/{root}/secret.txt",
        "/picture/%2f{root}%2fsecret.txt",
        "/picture/originals%2fscene0.png",
        "/picture/originals/scene0.png",
        "/picture/scene0.png%00",
        "/picture/",
        "//secret.txt",
        "/templates/rate.js",
        "/r.sqlite",
        "http://127.0.0.1/secret.txt",
        "file:///etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(server: Server, study: Path, path: str) -> None:
    status, _, answer = ask(server, "GET", path.format(root=study))
    assert status in (400, 404)
    assert SECRET not in answer
    assert b"root:" not in answer
    assert not answer.startswith(b"\x89PNG")


def test_pictures_come_by_token_as_plain_png(server: Server) -> None:
    _, standing = call(server, "enter", {"name": "Png"})
    status, headers, answer = ask(server, "GET", f"/picture/{standing['trial']['left']}")
    assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/png", "nosniff")
    assert answer.startswith(b"\x89PNG")
    assert ask(server, "GET", f"/picture/{'0' * 32}")[0] == 404
    assert ask(server, "POST", f"/picture/{standing['trial']['left']}")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
def test_another_origin_cannot_submit(server: Server, headers: dict[str, str]) -> None:
    status, said = call(server, "enter", {"name": "Mallory"}, **headers)
    assert (status, said) == (403, {"error": "only the page of this server may send this"})
    assert "Mallory" not in content(Path(server.arguments[-1])).raters  # type: ignore[arg-type]


def test_a_form_of_another_site_cannot_submit(server: Server) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        status, _, said = ask(server, "POST", "/api/enter", b'{"name": "Mallory"}', {**own, "Content-Type": kind})
        assert (status, json.loads(said)) == (400, {"error": "send application/json"})
    without = ask(server, "POST", "/api/enter", b'{"name": "Mallory"}', {"Content-Type": "application/json"})
    assert without[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.5", ""]
)
def test_a_name_that_was_pointed_at_this_machine_is_turned_away(server: Server, host: str) -> None:
    status, _, said = ask(server, "GET", "/", headers={"Host": host})
    assert status == 421
    assert b"<html" not in said


def test_every_answer_forbids_what_a_page_does_not_need(server: Server) -> None:
    for path in ("/", "/nothing", "/picture/x"):
        _, headers, _ = ask(server, "GET", path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in headers
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"right": "yes"}, "right must be true, false"),
        ({"right": 1}, "right must be true, false"),
        ({"milliseconds": -1}, "milliseconds must be a number from 0"),
        ({"milliseconds": True}, "milliseconds must be a number"),
        ({"milliseconds": float("nan")}, "milliseconds must be a number"),
        ({"looks": 1e12}, "looks must be a number from 0 to 100000"),
        ({"zoom": None}, "zoom must be a number"),
        ({"answer": "x"}, "32 hexadecimal digits"),
        ({"answer": ["ab"]}, "answer must be a text"),
        ({"trial": "x" * 300}, "trial must be a text of at most 200"),
        ({"padding": "x" * 5000}, "at most 4096 bytes"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(server: Server, change: dict[str, Any], said: str) -> None:
    _, standing = call(server, "enter", {"name": "Wrong"})
    status, told = call(server, "answer", {**answer_to(standing), **change})
    assert status == 400
    assert said in told["error"]
    assert call(server, "standing", {"rater": standing["rater"]})[1]["done"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 4000])
def test_what_is_no_object_is_refused(server: Server, body: bytes) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json"}
    assert ask(server, "POST", "/api/enter", body, own)[0] == 400


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\u202eb", "a\x00b", 7])
def test_what_is_no_name_is_refused(server: Server, name: Any) -> None:
    assert call(server, "enter", {"name": name})[0] == 400


def test_an_answer_sent_again_counts_once_and_a_late_one_not_at_all(server: Server) -> None:
    _, standing = call(server, "enter", {"name": "Again"})
    sent = answer_to(standing, token="cd" * 16)
    first = call(server, "answer", sent)
    assert first[1]["done"] == 1
    assert call(server, "answer", sent) == first
    assert call(server, "answer", {**sent, "right": False})[0] == 409
    assert call(server, "answer", answer_to(standing, token="ef" * 16))[0] == 409
    assert call(server, "answer", {**sent, "rater": "0" * 32, "answer": "12" * 16})[0] == 404
    _, other = call(server, "enter", {"name": "Another"})
    foreign = {**answer_to(first[1], token="34" * 16), "rater": other["rater"]}
    assert call(server, "answer", foreign)[0] == 409
    assert call(server, "standing", {"rater": standing["rater"]})[1] == first[1]


def test_a_picture_that_changed_is_not_shown(serve: Callable[..., Server], tmp_path: Path) -> None:
    folders = pictures(tmp_path, 1, levels=2)
    server = serve(*folders, "--db", tmp_path / "r.sqlite", "--catch", 0)
    _, standing = call(server, "enter", {"name": "Ann"})
    for folder in folders:
        Image.new("RGB", (48, 32)).save(folder / "scene0.png")
    status, _, said = ask(server, "GET", f"/picture/{standing['trial']['left']}")
    assert status == 500
    assert str(tmp_path).encode() not in said
    code, told = server.stop(signal.SIGINT)
    assert code == 130
    assert "has changed since the ratings began" in told


def test_beyond_loopback_nothing_comes_without_the_token(
    serve: Callable[..., Server], study: Path, tmp_path: Path
) -> None:
    folders = (study / "originals", study / "blur0", study / "noise0")
    server = serve(*folders, "--db", tmp_path / "r.sqlite", "--host", "0.0.0.0")
    _, _, token = server.address.rpartition("?token=")
    assert len(token) == 32
    for path in ("/", "/?token=" + "0" * 32, "/?token=", f"/picture/x?token={token}", "/api/enter"):
        assert ask(server, "GET", path)[0] == 401
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json"}
    assert ask(server, "POST", f"/api/enter?token={token}", b'{"name": "x"}', own)[0] == 401
    status, headers, _ = ask(server, "GET", f"/?token={token}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    known = {"Cookie": cookie.partition(";")[0]}
    assert ask(server, "GET", "/", headers=known)[0] == 200
    assert ask(server, "GET", "/", headers={**known, "Host": "evil.example"})[0] == 421
    assert call(server, "enter", {"name": "Ann"}, **known)[0] == 200
    assert call(server, "enter", {"name": "Ann"}, **known, Origin="http://evil.example")[0] == 403
    server.stop()
    before = server.address
    assert server.start().address == before, "pages that are open have to go on working"
    server.stop()


def test_which_addresses_are_loopback() -> None:
    assert [is_loopback(h) for h in ("127.0.0.1", "127.8.8.8", "::1", "LOCALHOST")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")] == [False] * 5
    assert Access("127.0.0.1", None).names() == {"localhost"}


def test_a_second_server_and_a_taken_port_say_so(server: Server, study: Path, tmp_path: Path, cli: Any) -> None:
    folders = (study / "originals", study / "blur0", study / "noise0")
    ran = cli("rate", "serve", *folders, "--db", study / "r.sqlite", "-q")
    assert (ran.code, ran.out) == (2, "")
    assert "another pim rate serve is at work on" in ran.err
    ran = cli("rate", "serve", *folders, "--db", tmp_path / "r.sqlite", "--port", server.port, "-q")
    assert ran.code == 1
    assert "try another --port" in ran.err
    ran = cli("rate", "serve", *folders, "--db", tmp_path / "r.sqlite", "--host", "203.0.113.1", "-q")
    assert (ran.code, "is no address of this machine" in ran.err) == (2, True)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    serve: Callable[..., Server], study: Path, tmp_path: Path
) -> None:
    folders = (study / "originals", study / "blur0", study / "noise0")
    server = serve(*folders, "--db", tmp_path / "r.sqlite")
    _, standing = call(server, "enter", {"name": "Ann"})
    _, after = call(server, "answer", answer_to(standing))
    code, told = server.stop(signal.SIGINT)
    assert code == 130
    assert f"stopped; answers kept in {tmp_path / 'r.sqlite'}: 1; the same command goes on" in told
    server.start()
    assert call(server, "enter", {"name": "ANN"})[1] == after
    server.stop()


def test_a_broken_connection_and_half_a_character_leave_no_traceback(server: Server) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json"}
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        head = "".join(f"{key}: {value}\r\n" for key, value in own.items())
        wire.sendall(f"POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n{head}\r\n{{".encode())
    for name in ("rater", "name"):
        for path in ("/api/standing", "/api/enter"):
            assert ask(server, "POST", path, f'{{"{name}": "\\udfff"}}'.encode(), own)[0] == 400
    assert call(server, "enter", {"name": "Zoë\u200c \u2068"[:4]})[0] == 200
