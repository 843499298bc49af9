"""A real browser for tests: headless Chromium, driven through its own debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
PATIENCE = 60  # seconds for an answer
# Chromium reads commands from file descriptor 3 and writes to 4.
LAUNCHER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1:3]]
os.dup2(high[0], 3), os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """The program, from PIM_CHROMIUM or PATH."""
    return os.environ.get("PIM_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Pipe:
    """The wire to the browser, which all tabs share."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._rest, self._last = commands, answers, b"", 0
        self.tabs: dict[str | None, Page] = {}

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> Any:
        """One command of the DevTools protocol, and its answer; events on the way go to their tabs."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            if (tab := self.tabs.get(answer.get("sessionId"))) is not None:
                tab.note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._answers, 1 << 20)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


class Page:
    """One tab, and all that happened in it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._session = pipe, None
        self.requests: list[str] = []
        self.complaints: list[str] = []  # console messages, exceptions, refused resources
        target = self.call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        pipe.tabs[self._session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def another(self) -> Page:
        """A further tab, in a window of its own."""
        return Page(self._pipe)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol, and its answer."""
        return self._pipe.call(method, parameters, self._session)

    def open(self, where: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a file or an address and wait until it is loaded; sizes are in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=0, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=where if isinstance(where, str) else where.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", "the page does not load")
        self.call("Page.bringToFront")

    def wait(self, condition: str, otherwise: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, otherwise

    def picture(self) -> bytes:
        """What is in the window, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def click(self, selector: str, count: int = 1) -> None:
        """Click into the middle of the first element that is found, so often in a row."""
        found = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.run(f"(b => [b.left + b.width / 2, b.top + b.height / 2])({found})")
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=number)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """One key, down and up."""
        self.key_down(key)
        self.key_up(key)

    def key_down(self, key: str) -> None:
        """Press a key and keep it down."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else None)
        self.call("Input.dispatchKeyEvent", type="keyDown", **_code(key), **({"text": text} if text else {}))

    def key_up(self, key: str) -> None:
        """Let go of a key."""
        self.call("Input.dispatchKeyEvent", type="keyUp", **_code(key))

    def note(self, event: dict[str, Any]) -> None:
        """Remember a request or a complaint."""
        method, about = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(about))


def _code(key: str) -> dict[str, Any]:
    if len(key) == 1 and key.isalnum():
        return {"key": key, "code": f"Key{key.upper()}", "windowsVirtualKeyCode": ord(key.upper())}
    codes = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
    return {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}


@contextmanager
def page(program: str, profile: Path, ratio: float = 1) -> Iterator[Page]:
    """A fresh browser with one tab; it ends with the block.

    Args:
        program: From `find`.
        profile: An empty folder.
        ratio: Pixels of the screen per CSS pixel. What DevTools emulate is not the same: it resamples.
    """
    (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
    start = [sys.executable, "-c", LAUNCHER, str(read_commands), str(write_answers)]
    running = subprocess.Popen(
        [*start, program, *FLAGS, f"--force-device-scale-factor={ratio}", f"--user-data-dir={profile}"],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Page(Pipe(commands, answers))
    finally:
        os.close(commands)  # the browser ends when its pipe does
        os.close(answers)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
