"""Metrics on a hub: a folder, and there and back through a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest
import torch
from conftest import ROOT

import pim
from pim.core import weights
from pim.errors import UsageError, WeightsError
from pim.hub import save_pretrained

pytest.importorskip("huggingface_hub")


def test_a_folder_holds_the_file_and_a_card(tiny_pim: Path, tmp_path: Path) -> None:
    save_pretrained(tiny_pim, tmp_path / "there", "me/mine")
    assert (tmp_path / "there" / "tiny.safetensors").read_bytes() == tiny_pim.read_bytes()
    card = (tmp_path / "there" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pim-metric\nlicense: apache-2.0\n")
    assert 'pim.from_pretrained("me/mine")' in card
    assert json.dumps(weights.read_header(tiny_pim).training, indent=1) in card
    again = pim.from_pretrained(tmp_path / "there")
    assert again.weights_hash == hashlib.sha256(tiny_pim.read_bytes()).hexdigest()


def test_a_metric_in_memory_is_saved_as_it_is_now(tiny_pim: Path, tmp_path: Path) -> None:
    metric = pim.load(str(tiny_pim))
    with torch.no_grad():
        next(metric.parameters()).mul_(1.1)
    save_pretrained(metric, tmp_path)
    image = torch.rand(2, 1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pim.from_pretrained(tmp_path)(*image), metric(*image))


def test_what_has_no_weights_and_what_is_no_metric_is_refused(tiny_pim: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="psnr has no weights of its own"):
        save_pretrained(pim.load("psnr"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(WeightsError, match="one .safetensors file; it holds none"):
        pim.from_pretrained(tmp_path)
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        save_pretrained(tmp_path / "bad.safetensors", tmp_path / "b")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        pim.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"holds bad\.safetensors, and a repository has one weight file"):
        save_pretrained(tiny_pim, tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(tiny_pim.read_bytes())
    with pytest.raises(WeightsError, match=r"it holds bad\.safetensors, tiny\.safetensors"):
        pim.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"is a file, not a folder of save_pretrained; pim\.load takes"):
        pim.from_pretrained(tmp_path / "tiny.safetensors")


THERE_AND_BACK = """
import sys, pim
from pim.errors import PimError
print(pim.push_to_hub(sys.argv[1], "me/mine", private=True))
print(pim.from_pretrained("me/mine").weights_hash)
try:
    pim.from_pretrained("me/none")
except PimError as error:
    print(error)
"""


@pytest.mark.slow
def test_there_and_back_and_with_another_name_or_token(tiny_pim: Path, tmp_path: Path) -> None:
    def ran(hub: hub_server.Hub, token: str) -> subprocess.CompletedProcess[str]:
        given = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HOME": str(tmp_path / "home")}
        given |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", THERE_AND_BACK, str(tiny_pim)]
        return subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=100)

    with hub_server.serving() as hub:
        hub.files["me/mine"] = {"older.safetensors": b"", "notes.txt": b""}
        done = ran(hub, "hf_right")
        assert done.returncode == 0, done.stderr
        address, digest, refused = done.stdout.splitlines()
        assert address == f"{hub.url}/me/mine/commit/{hub_server.COMMIT}"
        assert digest == hashlib.sha256(tiny_pim.read_bytes()).hexdigest()
        assert refused.startswith("cannot fetch me/none: ")
        assert sorted(hub.files["me/mine"]) == ["README.md", "notes.txt", "tiny.safetensors"]
        assert hub.private == {"me/mine"}
        failed = ran(hub, "hf_wrong")
    assert failed.returncode == 1
    assert "PimError: cannot upload to me/mine: " in failed.stderr
