"""What can change the values of a metric, as one hash: results are reused only under the same one."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pim import metric as metric_module
from pim._version import VERSION
from pim.files import sha256_of
from pim.image import OpenOptions
from pim.metric import Metric
from vggmetric import metric as vgg_module

OWN = ("pim", "vggmetric")  # the packages whose metrics are ours
READERS = ("pillow", "tifffile", "numpy")  # what turns files into pixels


def describe(metric: Metric, device: str, opening: OpenOptions) -> dict[str, Any]:
    """A metric with all that its values depend on besides the images.

    Args:
        metric: The metric.
        device: Where it computes, such as "cuda:0"; the kind counts, not the number.
        opening: How files are opened.

    Returns:
        For JSON, the same for the same values to come.
    """
    return {
        "name": metric.name,
        "lower_is_better": metric.lower_is_better,
        "value_range": [repr(end) for end in metric.info.value_range],
        "summary": metric.info.summary,
        "weights_hash": metric.weights_hash or parameters_hash(metric),
        "trained_on": list(metric.trained_on),
        "settings": metric.settings,
        "code": _code_of(metric),
        "own_code": _own_code(),
        "device": torch.device(device).type,
        "opening": asdict(opening),
        "libraries": {"torch": torch.__version__, **{name: metadata.version(name) for name in READERS}},
    }


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parameters_hash(module: nn.Module) -> str | None:
    """A hash of parameters and persistent buffers, wherever they come from; None if there are none."""
    state = module.state_dict()
    if not state:
        return None
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def versions() -> dict[str, str]:
    """The versions that a run notes."""
    names = (*READERS, "scipy", "torch")
    return {"pim": VERSION, "python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _code_of(metric: Metric) -> str:
    """Our version, or for a user's metric a hash of the file it is written in."""
    owner = metric.info.source.partition(":")[0] if ":" in metric.info.source else type(metric).__module__
    file = getattr(sys.modules.get(owner), "__file__", None)
    theirs = owner.partition(".")[0] not in OWN and file is not None and Path(file).is_file()
    return f"{owner} {sha256_of(str(file))}" if theirs else f"pim {VERSION}"


@functools.cache
def _own_code() -> str:
    """A hash of the modules that open and compare images; those of commands, data sets and training do neither."""
    total = hashlib.sha256()
    homes = [Path(str(module.__file__)).parent for module in (metric_module, vgg_module)]
    for path in (path for home in homes for path in sorted(home.glob("*.py"))):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()
