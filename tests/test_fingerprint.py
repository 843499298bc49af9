"""Fingerprints: equal for equal values to come, different for everything that can change them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from eval_toys import MeanAbsolute

from pim.core.metric import Metric
from pim.images.opener import OpenOptions
from pim.metrics import custom
from pim.scoring import fingerprint
from pim.scoring.aligned import Aligned
from pim.scoring.fingerprint import describe, digest

PLAIN = OpenOptions()


def of(metric: Metric, device: str = "cpu", opening: OpenOptions = PLAIN) -> str:
    return digest(describe(metric, device, opening))


def test_equal_metrics_have_equal_fingerprints() -> None:
    assert of(MeanAbsolute(2.0)) == of(MeanAbsolute(2.0))


def test_name_weights_device_and_opening_change_it() -> None:
    other = MeanAbsolute()
    other.weights_hash = "1f3a"
    found = [
        of(MeanAbsolute()),
        of(MeanAbsolute(2.0)),
        of(other),
        of(MeanAbsolute(), "cuda"),
        of(MeanAbsolute(), opening=OpenOptions(background="white")),
    ]
    assert len(set(found)) == len(found)
    assert of(MeanAbsolute(), "cuda:0") == of(MeanAbsolute(), "cuda:1")


def test_settings_and_the_code_of_the_package_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(MeanAbsolute())
    monkeypatch.setattr(MeanAbsolute, "settings", {"samples": 3})
    assert of(MeanAbsolute()) != before
    monkeypatch.undo()
    monkeypatch.setattr(fingerprint, "_own_code", lambda: "another version")
    assert of(MeanAbsolute()) != before


PROGRAM = """
import os
import shutil
import subprocess
import sys
from pathlib import Path
from pim.scoring import fingerprint
from pim.images.opener import OpenOptions
from pim.metrics.classics import PSNR

def code():
    fingerprint._own_code.cache_clear()
    return fingerprint.describe(PSNR(), "cpu", OpenOptions())["own_code"]

before = code()
for name in sys.argv[1:]:
    path = Path(name)
    kept = path.read_bytes()
    path.write_bytes(kept + b" ")
    print(name, code() != before)
    path.write_bytes(kept)
"""
VALUED = (  # opens, makes, resizes, scores
    "pim/images/opener.py",
    "pim/images/colour.py",
    "pim/datasets/rendered.py",
    "pim/datasets/corruptions/blur.py",
    "pim/eval/judgements.py",
    "pim/scoring/pictures.py",
    "pim/scoring/pictures.py",
    "pim/scoring/engine.py",
    "pim/core/metric.py",
    "pim/metrics/classics.py",
    "pim/pim/pyramid.py",
    "pim/pim/steerable_filters.npz",
    "vggmetric/embedding.py",
)
OTHERS = ("pim/cli/score.py", "pim/rating/study.py")


def test_a_change_to_any_code_that_can_change_a_value_changes_it_and_no_other(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    for package in ("pim", "vggmetric"):  # pim with what its links lead to
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("pretrained", "__pycache__"))
    command = [sys.executable, "-c", PROGRAM, *VALUED, *OTHERS]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [*(f"{name} True" for name in VALUED), *(f"{name} False" for name in OTHERS)]


def test_the_code_of_a_users_metric_changes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for body in ("(x - y).abs()", "(x - y) ** 2"):
        (tmp_path / "mine_for_test.py").write_text(f"def f(x, y):\n    return ({body}).mean((1, 2, 3))\n")
        monkeypatch.delitem(sys.modules, "mine_for_test", raising=False)
        found.append(of(custom.load("mine_for_test:f")))
    assert found[0] != found[1]


@pytest.mark.parametrize("wrap", [lambda metric: metric, Aligned])
@pytest.mark.parametrize("name", ["f", "Mine"])
def test_the_code_of_a_file_changes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, wrap: Callable[[Metric], Metric]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for body in ("(x - y).abs()", "(x - y) ** 2"):
        code = f"def f(x, y):\n    return ({body}).mean((1, 2, 3))\n"
        code += "from eval_toys import MeanAbsolute\nclass Mine(MeanAbsolute):\n    pass\n"
        (tmp_path / "one.py").write_text(code)
        monkeypatch.delitem(sys.modules, str(tmp_path / "one.py"), raising=False)
        found.append(of(wrap(custom.load(f"one.py:{name}"))))
    assert found[0] != found[1]


def test_parameters_without_a_weight_file_are_hashed_whatever_their_type() -> None:
    metric = MeanAbsolute()
    metric.register_buffer("steps", torch.tensor(3))
    metric.register_buffer("rough", torch.ones(2, 3, dtype=torch.bfloat16))
    before = of(metric)
    metric.steps += 1
    assert of(metric) != before
