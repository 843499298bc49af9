"""Small studies: pictures to rate, a server as a process of its own, and simulated raters at the real page."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import browser
import numpy as np
from conftest import ROOT
from PIL import Image, ImageFilter

SHOWN = "document.querySelector('[data-view=trial]').offsetHeight > 0 && trial !== null && trial.open"
# What a rater perceives: mean squared differences from the reference, of the pixels that the page holds, seen from
# so far away that `far` pixels merge into one along each side.
LOOK = f"""((far) => {{
  if (!({SHOWN}) || performance.now() - trial.since < QUICK) return standing && standing.trial === null ? "done" : null;
  const pixels = (name) => {{
    const image = document.querySelector(`[data-image="${{name}}"]`);
    const [width, height] = [Math.round(image.naturalWidth / far), Math.round(image.naturalHeight / far)];
    const canvas = new OffscreenCanvas(width, height).getContext("2d");
    canvas.imageSmoothingQuality = "high";
    canvas.drawImage(image, 0, 0, width, height);
    return canvas.getImageData(0, 0, width, height).data;
  }};
  const reference = pixels("reference");
  const squared = (sum, value, i) => sum + (value - reference[i]) ** 2;
  const error = (name) => pixels(name).reduce(squared, 0) / reference.length;
  return [trial.token, error("left"), error("right")];
}})"""


def pictures(root: Path, references: int = 4, size: tuple[int, int] = (48, 32), levels: int = 4) -> list[Path]:
    """A folder of references and folders of candidates that are ever more blurred or noisy."""
    rng = np.random.default_rng(0)
    made = [
        root / "originals",
        *(root / f"{kind}{level}" for kind in ("blur", "noise") for level in range(levels // 2)),
    ]
    for folder in made:
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(references):
        coarse = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
        clean = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        clean.save(made[0] / f"scene{number}.png")
        for level in range(levels // 2):
            clean.filter(ImageFilter.GaussianBlur(0.8 + level)).save(root / f"blur{level}" / f"scene{number}.png")
            noisy = np.asarray(clean, float) + rng.normal(0, 8 + 16 * level, (size[1], size[0], 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / f"noise{level}" / f"scene{number}.png")
    return made


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """`pim rate serve` as a process, which can be killed and started again."""

    arguments: tuple[object, ...]
    port: int = field(default_factory=free_port)
    address: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        """Wait until it has told its address."""
        command = [sys.executable, "-m", "pim", "rate", "serve", *map(str, self.arguments), "--port", str(self.port)]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(self.process.communicate()[1])
        return self

    def stop(self, how: signal.Signals = signal.SIGKILL) -> tuple[int, str]:
        """End it; its exit code and what it said on stderr."""
        assert self.process is not None
        self.process.send_signal(how)
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told


@contextmanager
def servers() -> Iterator[Callable[..., Server]]:
    """A way to start servers; those that still run when the block ends are killed."""
    started: list[Server] = []

    def start(*arguments: object) -> Server:
        started.append(Server(arguments))
        return started[-1].start()

    try:
        yield start
    finally:
        for server in started:
            if server.process is not None and server.process.returncode is None:
                server.stop()


class SimulatedRater:
    """A person of limited attention who compares squared errors, in a tab of a real browser."""

    def __init__(self, tab: browser.Page, name: str, seed: int, noise: float = 0.5, far: int = 1) -> None:
        self.tab, self.name, self.noise, self.far = tab, name, noise, far
        self.rng = np.random.default_rng(seed)
        self.given: dict[str, bool] = {}  # by trial: whether the right one was chosen
        self.finished = False

    def enter(self, address: str) -> None:
        """Open the page and type the name."""
        self.tab.open(address)
        self.tab.call("Input.insertText", text=self.name)
        self.tab.press("Enter")
        self.tab.wait(f"{SHOWN} || standing && (standing.trial === null || standing.rest)", "there is no question")

    def step(self) -> bool:
        """Answer, if there is a question; whether there was one."""
        if self.tab.run("document.body.dataset.at === 'rest'"):
            self.tab.click("#go-on")
        seen = self.tab.run(f"{LOOK}({self.far})")
        self.finished = seen == "done"
        if not isinstance(seen, list):
            return False
        token, left, right = seen
        doubt = self.noise * self.rng.logistic()
        self.given[token] = bool(np.log(left + 1) - np.log(right + 1) + doubt > 0)
        self.tab.press("b" if self.given[token] else "a")
        return True
