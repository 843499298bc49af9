"""What can change the values of a metric, as one hash: results are reused only under the same one."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
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

import pim
from pim._version import VERSION
from pim.core.files import sha256_of
from pim.core.metric import Metric
from pim.images.opener import OpenOptions
from pim.metrics.custom import CustomMetric

OWN = ("pim", "vggmetric")  # the packages whose metrics are ours
VALUED = ("core", "images", "metrics", "pim", "scoring", "datasets", "eval")  # their code can change a value
READERS = ("pillow", "tifffile", "numpy")  # what turns files into pixels
OTHERS = ("torchvision", "scipy", "pytorch-msssim", "piq", "lpips", "DISTS-pytorch", "stlpips-pytorch")  # what computes


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
        "libraries": {"torch": torch.__version__, **_installed((*READERS, *OTHERS))},
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
    metric = getattr(metric, "metric", metric)  # an aligned one has another inside
    owner = metric.info.source.rpartition(":")[0] if isinstance(metric, CustomMetric) else type(metric).__module__
    file = owner if owner.endswith(".py") else getattr(sys.modules.get(owner), "__file__", None)
    theirs = owner.partition(".")[0] not in OWN and file is not None and Path(file).is_file()
    return f"{owner} {sha256_of(str(file))}" if theirs else f"pim {VERSION}"


@functools.cache
def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of those packages that are here."""
    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def _own_code() -> str:
    """A hash of all code, and of all tables of numbers, that opens, makes, resizes or scores pictures."""
    home = Path(str(pim.__file__)).parent
    vgg = importlib.util.find_spec("vggmetric")
    homes = [home / part for part in VALUED]
    homes += [] if vgg is None or vgg.origin is None else [Path(vgg.origin).parent]
    total = hashlib.sha256()
    for folder in homes:
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.npz")]):
            total.update(path.relative_to(folder.parent).as_posix().encode() + path.read_bytes())
    return total.hexdigest()
