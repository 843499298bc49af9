"""Metrics on VGG-16, and of other packages: what one can know of them before loading one, and whether all is here.

Nothing is imported and nothing is downloaded to find out.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from math import inf

from pim.core.info import MetricInfo
from pim.core.weights import NETWORKS, network_file

_HOME = "pim.metrics.peers:load"
INSTALL = "pip install 'pim-metric[peers]'"
ALEXNET, VGG16 = "alexnet_tv1k_f16.safetensors", "vgg16_tv1k_f16.safetensors"


@dataclass(frozen=True, slots=True)
class Peer:
    """A metric of another package."""

    info: MetricInfo
    modules: tuple[str, ...]  # that must be installed, the package itself first
    distribution: str  # what pip calls it
    convolutions: str | None = None  # file of vggmetric-weights, instead of what the package would download


def _piq(name: str, summary: str, lower_is_better: bool, paper: str) -> Peer:
    info = MetricInfo(
        name=name,
        summary=summary,
        lower_is_better=lower_is_better,
        value_range=(0.0, inf if lower_is_better else 1.0),
        min_size=16,
        symmetric=name != "mdsi",
        source=f"{paper}; computed by piq",
        home=_HOME,
    )
    return Peer(info, ("piq", "torchvision"), "piq")


def _learned(
    name: str, summary: str, licence: str, source: str, modules: tuple[str, ...], convolutions: str | None
) -> Peer:
    info = MetricInfo(
        name=name,
        summary=summary,
        lower_is_better=True,
        value_range=(-inf if name == "dists" else 0.0, inf),  # rounding takes DISTS of equal images below 0
        min_size=64,
        licence=licence,
        source=source,
        home=_HOME,
    )
    return Peer(info, modules, modules[0].replace("_", "-"), convolutions)


_LPIPS = "Zhang, Isola, Efros, Shechtman and Wang 2018, arXiv 1801.03924; computed by lpips"
_ST_LPIPS = "Ghildyal and Liu 2022, arXiv 2207.13686; computed by stlpips_pytorch"
_ST_MODULES = ("stlpips_pytorch", "torchvision", "IPython", "torchsummary")
_SHRINKS = "averages down to a shorter side near 256 first"

_MDSI = "Ziaei Nafchi, Shahkolaei, Hedjam and Cheriet 2016"
_NAN = "its gradient is NaN where both images are equal"

_ALL = (
    _piq("fsimc", f"feature similarity with colour; {_SHRINKS}", False, "Zhang, Zhang, Mou and Zhang 2011"),
    _piq("vsi", f"visual saliency index; {_SHRINKS}", False, "Zhang, Shen and Li 2014"),
    _piq("haarpsi", "similarity of Haar wavelets", False, "Reisenhofer, Bosse, Kutyniok and Wiegand 2018"),
    _piq("gmsd", f"deviation of gradient magnitudes; {_NAN}", True, "Xue, Zhang, Mou and Bovik 2014"),
    _piq("mdsi", f"mean deviation similarity; {_SHRINKS}; {_NAN}", True, _MDSI),
    _learned("lpips-alex", "LPIPS 0.1 on AlexNet", "BSD-2-Clause", _LPIPS, ("lpips", "torchvision"), ALEXNET),
    _learned("st-lpips-alex", "shift-tolerant LPIPS on AlexNet", "BSD-2-Clause", _ST_LPIPS, _ST_MODULES, None),
    _learned("st-lpips-vgg", "shift-tolerant LPIPS on VGG-16", "BSD-2-Clause", _ST_LPIPS, _ST_MODULES, None),
    _learned(
        "dists",
        "DISTS at full size, without the shrinking of its own loader",
        *("MIT", "Ding, Ma, Wang and Simoncelli 2020, arXiv 2004.07728; computed by DISTS_pytorch"),
        *(("DISTS_pytorch", "torchvision"), VGG16),
    ),
)

PEERS: dict[str, Peer] = {peer.info.name: peer for peer in _ALL}


def missing(name: str) -> str | None:
    """Why a peer cannot be used here, and what to do; None if nothing is missing."""
    peer = PEERS[name]
    absent = [module for module in peer.modules if importlib.util.find_spec(module) is None]
    if absent:
        return f"{name} needs the package {absent[0]}: {INSTALL}"
    if peer.convolutions is not None and network_file(peer.convolutions) is None:
        return f"{name} needs {peer.convolutions}; {NETWORKS}"
    return None


_SPIRIT = "in the spirit of Chinen et al. 2018, arXiv 1808.00447"
_FEATURES = "features and weights of Zhang, Isola, Efros, Shechtman and Wang 2018, arXiv 1801.03924"


def _vgg(name: str, summary: str, source: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        summary=summary,
        lower_is_better=True,
        value_range=(0.0, inf),
        min_size=16,
        spatial=True,
        operations=305_856.0,
        licence="BSD-2-Clause",
        weights="lpips-vgg.safetensors",
        source=source,
        home="vggmetric.metric:VGGMetric.shipped",
        backbone="tv1k",
    )


VGG = _vgg(
    "vgg",
    "distance in VGG-16 features with the head that we suggest, which may change: at present that of lpips-vgg",
    f"{_SPIRIT}; {_FEATURES}",
)
LPIPS_VGG = _vgg(
    "lpips-vgg", "LPIPS 0.1 on VGG-16, computed here: the values of its package, without its NaN", _FEATURES
)
VGGS: dict[str, MetricInfo] = {info.name: info for info in (VGG, LPIPS_VGG)}
