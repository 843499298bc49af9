"""What all tests share: the golden arrays, the development data, and one way to spell a random image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skips import pytest_sessionfinish as pytest_sessionfinish  # a hook: pytest finds it here

ROOT = Path(__file__).resolve().parents[1]
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
GOLDEN = ROOT / "tests" / "golden"


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C through, and share the cores among the processes of `pytest -n`."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # what a shell does to its jobs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT")) is not None:
        threads = max(1, (os.cpu_count() or 1) // int(workers))
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that tests start


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data: the folder named by PIM_DEV_DATA, or `shared` beside the repository."""
    named = os.environ.get("PIM_DEV_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("development data (PIM_DEV_DATA) is not here")
    return folder


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Mapping[str, np.ndarray[Any, Any]]]:
    """`golden("nlpd")` is every array of tests/golden/nlpd.npz by its key; never written to."""
    loaded: dict[str, Mapping[str, np.ndarray[Any, Any]]] = {}

    def load(name: str) -> Mapping[str, np.ndarray[Any, Any]]:
        if name not in loaded:
            with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as archive:
                loaded[name] = {key: archive[key] for key in archive.files}
        return loaded[name]

    return load


@pytest.fixture
def random_images() -> Callable[..., torch.Tensor]:
    """`random_images(2, 65, 83)`: seeded noise over ramps, (2, 3, 65, 83) in [0, 1]; H != W and odd sizes welcome."""

    def make(count: int, height: int, width: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
        rows = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
        columns = torch.linspace(1, 0, width, dtype=torch.float64)
        return (0.5 * noise + 0.3 * rows + 0.2 * columns).to(dtype)

    return make


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def fresh_compiler() -> None:
    """No graphs of earlier tests: all metrics share `Metric.forward`, and a function is recompiled only so often."""
    torch.compiler.reset()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`cli("score", "a.png", "b.png")`: the command line inside this process."""

    def run(*arguments: object) -> Ran:
        from pim.cli.app import run as pim

        capsys.readouterr()
        code = pim([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`process("score", "a.png", "b.png", cwd=folder)`: the command line as a process of its own, with pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.Popen[bytes]:
        running = subprocess.Popen(
            [sys.executable, "-m", "pim", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()
        with running:  # closes its pipes
            pass


@pytest.fixture(scope="session")
def tiny_pim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of a very small PIM with random weights."""
    from pim import PIM, PIMConfig
    from pim.core import weights

    torch.manual_seed(0)
    config = PIMConfig(filters=(3, 2), encoder_layers=1, latent=2)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.write(path, PIM(config).state_dict(), weights.WeightHeader("pim", config.to_dict(), {"steps": 0}))
    return path
