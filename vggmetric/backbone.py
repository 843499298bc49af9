"""The trained networks that can stand behind the metric, and where their weights are looked for.

None is part of this package; tv1k comes with the distribution vggmetric-weights. Nothing is imported and nothing is
downloaded to find out what is here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pim.core.weights import NETWORKS, cache_folder, network_file, read_header
from pim.errors import MetricUnavailable, WeightsError, check_known

VARIABLE = "PIM_VGG16_WEIGHTS"  # names a file that is tried first, and passed over where it holds another backbone
KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"  # the weights of oxford, as Keras fetches them
RANDOM = re.compile(r"rand(\d{1,9})")
_CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A VGG-16 with its constants and the file that its makers publish."""

    id: str
    title: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    convolutions: int = 13
    file: str = ""  # as its makers call it; "" for random weights
    size: int = 0  # bytes, 0 if not known
    sha256: str = ""  # of that file; may be the first digits only, where no more is published
    published: str = ""  # its name among torchvision's VGG16_Weights; "" if it cannot be fetched
    licence: str = "none"

    @property
    def random(self) -> bool:
        """Whether its weights are drawn: scores have no perceptual meaning."""
        return not self.file


_ALL = (
    Backbone(
        "tv1k",
        "VGG-16 that torchvision trained on ImageNet-1k, behind LPIPS and DISTS too",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        file="vgg16-397923af.pth",
        size=553_433_881,
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        published="IMAGENET1K_V1",
        licence="BSD-3-Clause",
    ),
    Backbone(
        "oxford",
        "the original VGG-16 of Oxford, as torchvision distributes its convolutions",
        mean=_CAFFE_MEAN,
        std=(1 / 255, 1 / 255, 1 / 255),
        file="vgg16_features-amdegroot-88682ab5.pth",
        sha256="88682ab5",
        published="IMAGENET1K_FEATURES",
        licence="CC-BY-4.0",
    ),
    Backbone(
        "oxford12",
        "the first four convolutions of the original VGG-16 of Oxford",
        mean=_CAFFE_MEAN,
        std=(1 / 255, 1 / 255, 1 / 255),
        convolutions=4,
        file="vgg16_oxford_conv1_conv2_f32.safetensors",
        size=1_041_696,
        sha256="ffd2a33732cbf06d5d4fe137119e013639fef0152f2b4b7fff62d3ce5e62c433",
        licence="CC-BY-4.0",
    ),
)
BACKBONES: dict[str, Backbone] = {backbone.id: backbone for backbone in _ALL}


def named(name: str) -> Backbone:
    """A backbone by its id: one of `BACKBONES`, or rand and a seed, such as rand447.

    Raises:
        UsageError: if there is none of this id.
    """
    if RANDOM.fullmatch(name):
        known = BACKBONES["tv1k"]
        return Backbone(name, "random weights, for tests and controls", known.mean, known.std)
    check_known("unknown backbone", [name], [*BACKBONES, "rand0"])
    return BACKBONES[name]


def cached(name: str, half: bool = False) -> Path:
    """Where a converted backbone is kept."""
    return cache_folder() / f"vgg16_{name}_{'f16' if half else 'f32'}.safetensors"


def published(backbone: Backbone) -> Path:
    """Where torchvision keeps the file of a backbone; the cache, if torchvision does not know it."""
    return (checkpoints() if backbone.published else cache_folder()) / backbone.file


def checkpoints() -> Path:
    """Find the folder where torchvision looks for weight files before it would download them."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def in_cache() -> dict[str, Path]:
    """The converted backbones that are here, by what `pim weights list` calls them."""
    found = {f"vgg16 {name}{' f16' * half}": cached(name, half) for name in BACKBONES for half in (False, True)}
    return {name: path for name, path in found.items() if path.is_file()}


def places(name: str) -> list[Path]:
    """The files that may hold a backbone, in the order in which they are tried."""
    backbone = BACKBONES[name]
    told = _named_file()
    found = [] if told is None else [told]
    found += [cached(name), cached(name, half=True), published(backbone)]
    if (whole := network_file(cached(name, half=True).name)) is not None:
        found.append(whole)  # last: float32 is preferred where it is
    if name == "oxford":
        found.append(Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models" / KERAS_FILE)
    # The first layers of the whole network will do for the part.
    return found if name != "oxford12" else [*found, *(path for path in places("oxford") if path not in found)]


def missing(name: str) -> str | None:
    """Why a backbone cannot be used here, and how to fetch it; None if a file that may hold it is here."""
    if named(name).random:
        return None
    return _lost() or (None if _holding(name) else f"the backbone {name} is not here; {_remedy(name)}")


def find(name: str) -> Path:
    """The first file that may hold a backbone.

    Raises:
        MetricUnavailable: if there is none, with the places and the ways to supply it.
    """
    found = _holding(name)
    if (reason := _lost() or (None if found else _ways(name))) is not None:
        raise MetricUnavailable(reason)
    return found[0]


def _named_file() -> Path | None:
    """The file that the user names, if any."""
    text = os.environ.get(VARIABLE)
    return Path(text).expanduser() if text else None


def _lost() -> str | None:
    """That the file which the user names is not there."""
    told = _named_file()
    return f"{VARIABLE} names {told}, which is no file" if told is not None and not told.is_file() else None


def _holding(name: str) -> list[Path]:
    told = _named_file()
    return [path for path in places(name) if path.is_file() and (path != told or _may_hold(path, name))]


def _may_hold(path: Path, name: str) -> bool:
    """False if it is certainly another backbone, which the variable names for another metric."""
    good = ("oxford12", "oxford") if name == "oxford12" else (name,)
    try:
        header = read_header(path)
    except WeightsError:
        return path.stat().st_size not in {b.size for b in BACKBONES.values() if b.size and b.id not in good}
    return header.config.get("backbone", name) in good


def _remedy(name: str) -> str:
    if name == "tv1k":
        return f"{NETWORKS}; or fetch it: pim weights get vgg16"
    return "to fetch it: pim weights get vgg16 --id oxford"


def _ways(name: str) -> str:
    """What is missing, where it was looked for, and all ways to supply it."""
    backbone = BACKBONES[name]
    whole = BACKBONES["oxford"] if name == "oxford12" else backbone
    size = f"{whole.size} bytes, " if whole.size else ""
    digits = whole.sha256 if len(whole.sha256) == 64 else f"{whole.sha256}..."
    state = "not set" if _named_file() is None else "which holds another one"
    looked = [f"{VARIABLE} ({state})", *(str(path) for path in places(name) if path != _named_file())]
    return (
        f"the backbone {name} ({backbone.title}) is not part of this package and was not found in "
        f"{', '.join(looked)}; {_remedy(name)}; without a network: put {whole.file} "
        f"({size}SHA-256 {digits}) into {checkpoints()}, or name it in {VARIABLE}"
    )
