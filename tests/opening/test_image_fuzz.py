from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["PNG", "PNG16", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "TIFF16", "BMP", "PPM", "TGA", "QOI", "JPEG2000"]
ROOM = 200  # MiB for interpreter, libraries and pictures of at most a megapixel


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_opened_at_the_size_of_their_header(kind):
    script = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, str(script), kind, "2000", "0"]
    ran = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    assert set(report["ends"]) <= {"refused", "opened", "opened, unknown to Pillow"}
    assert report["ends"]["refused"] > 200
    assert report["ends"]["opened"] > 20
    assert sum(report["ends"].values()) == 2000
    assert report["warnings"] == []
    assert report["peak"] is None or report["peak"] < ROOM
    assert ran.stderr == ""  # no library printed anything
