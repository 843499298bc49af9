"""`pim web` without a browser: the exported network, the runtime, the server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import signal
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import export_page
import numpy as np
import pytest
import torch
from conftest import ROOT
from lying_server import Plan, serving

import pim
from pim.datasets import fetch
from pim.errors import DataError, PimError
from pim.web import runtime, server

Process = Callable[..., subprocess.Popen[bytes]]
OLD = "the page has another default metric than the package: python benchmarks/export_page.py writes it anew"


@pytest.fixture(scope="module")
def metric() -> Any:
    return pim.load("pim")


def test_the_page_knows_the_default_metric_and_its_ruler(metric: Any) -> None:
    known = json.loads((export_page.PAGE / "facts.json").read_text())
    now = json.loads(json.dumps(export_page.facts(metric)))
    assert known.pop("unit") == pytest.approx(now.pop("unit"), rel=1e-5), OLD
    assert known == now, OLD


@pytest.mark.parametrize("size", [(32, 33), (72, 80), (301, 411)])
def test_the_exported_network_gives_the_distances_of_the_metric(
    metric: Any, size: tuple[int, int], random_images: Callable[..., torch.Tensor]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(export_page.PAGE / "pim.onnx")
    pair = random_images(2, *size, seed=5)
    bands = session.run(None, {"pair": pair.numpy()})
    weights = json.loads((export_page.PAGE / "facts.json").read_text())["bandWeights"]
    value = np.mean([w * np.sqrt(band.mean(dtype=np.float64)) for w, band in zip(weights, bands, strict=True)])
    assert value == pytest.approx(float(metric(*pair)), rel=1e-5), OLD


def test_the_version_that_is_fetched_is_the_one_that_is_told() -> None:
    for path in (ROOT / "docs" / "browser.md", ROOT / "pim" / "cli" / "web.py"):
        assert set(re.findall(r"onnxruntime-web[@-](\d[\d.]*\d)", path.read_text())) == {runtime.VERSION}, path


def package(path: Path, left_out: str = "") -> Path:
    """A small tarball with the names of the real one."""
    with tarfile.open(path, "w:gz") as archive:
        for name in (*runtime.FILES, "ort.webgl.mjs"):
            if name != left_out:
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(name)
                archive.addfile(entry, io.BytesIO(name.encode()))
    return path


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plan]:
    """A registry on this machine, whose package is the one that is expected, and an empty cache."""
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=lambda seconds: None))
    with serving() as plan:
        plan.content = package(tmp_path / "ort.tgz").read_bytes()
        monkeypatch.setattr(runtime, "URL", plan.url)
        monkeypatch.setattr(runtime, "SHA512", base64.b64encode(hashlib.sha512(plan.content).digest()).decode())
        yield plan


def test_the_runtime_is_fetched_once_and_only_what_is_needed_stays(plan: Plan) -> None:
    assert runtime.cached() is None
    folder = runtime.get()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: name for name in runtime.FILES}
    assert [path for path in folder.parent.rglob("*.tgz") if not path.name.endswith(".lock")] == []
    assert runtime.get() == runtime.cached() == folder
    assert len(plan.asked) == 1


def test_a_package_that_is_not_the_expected_one_is_refused_and_not_kept(plan: Plan, tmp_path: Path) -> None:
    plan.content = package(tmp_path / "other.tgz", left_out=runtime.FILES[0]).read_bytes()
    for given in (None, tmp_path / "other.tgz"):
        with pytest.raises(DataError, match=r"is not onnxruntime-web .*: its SHA-512 is"):
            runtime.get(given)
    with pytest.raises(DataError, match=r"missing\.tgz is no file; npm pack onnxruntime-web@"):
        runtime.get(tmp_path / "missing.tgz")
    assert runtime.cached() is None


def test_a_machine_without_a_network_takes_the_package_from_a_file(plan: Plan, tmp_path: Path) -> None:
    assert runtime.get(tmp_path / "ort.tgz") == runtime.cached()
    assert plan.asked == []


@pytest.fixture
def address(plan: Plan) -> Iterator[str]:
    with server.server(runtime.get(), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()


def test_the_server_sends_the_files_of_the_page_and_nothing_else(address: str, plan: Plan) -> None:
    for name, path in server.files(runtime.get()).items():
        with urllib.request.urlopen(address + name) as sent:
            assert sent.read() == path.read_bytes(), name
            assert "connect-src 'self'" in sent.headers["Content-Security-Policy"]
            if name.endswith((".js", ".mjs")):
                assert sent.headers["Content-Type"].startswith("text/javascript")
    for name in ("pim.safetensors", "../server.py", "runtime/../../server.py", "%2e%2e/server.py", "runtime/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + name)


def test_a_taken_port_is_told(address: str, plan: Plan) -> None:
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(PimError, match=rf"cannot listen on port {port}: .*try another --port"):
        server.server(runtime.get(), port)


def test_the_command_serves_until_it_is_interrupted(plan: Plan, process: Process) -> None:
    folder = runtime.get()
    running = process("web", "--port", 0, PIM_CACHE=str(folder.parent))
    assert running.stdout is not None
    address = running.stdout.readline().decode().strip()
    with urllib.request.urlopen(address) as sent:
        assert b"How different do two pictures look?" in sent.read()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors.decode().splitlines()[-1]) == (130, "pim: stopped")
