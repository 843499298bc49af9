"""Metrics of other packages behind our interface: our order of arguments, our checks, (N,) values.

Each is computed by the package that is known for it, at the size the images have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from pim.core import weights
from pim.core.info import MetricInfo
from pim.core.metric import Metric
from pim.core.weights import network_file
from pim.errors import MetricUnavailable
from pim.metrics.others import PEERS, missing

Function = Callable[[Tensor, Tensor], Tensor]  # reference and distorted, (N, 3, H, W) in [0, 1]


class PeerMetric(Metric):
    """A metric of another package."""

    def __init__(self, name: str, function: Function, network: nn.Module | None = None) -> None:
        super().__init__(PEERS[name].info)
        self.network = network  # holds the weights, so that they follow .to()
        self._function = function

    @property
    def settings(self) -> dict[str, Any]:
        """The package and its version, on which the value depends."""
        name = PEERS[self.name].distribution
        return {"package": name, "version": metadata.version(name)}

    def _compare(self, features: Tensor, distorted: Tensor) -> Tensor:
        # Rounding may leave values a little outside [0, 1], which these packages refuse or mistake.
        values = self._function(features.clamp(0, 1), distorted.clamp(0, 1))
        return values.reshape(len(distorted))


def load(info: MetricInfo) -> PeerMetric:
    """Make a metric of another package.

    Raises:
        MetricUnavailable: if its package or its weights are not here, with what to do; nothing is downloaded.
    """
    name = info.name
    reason = missing(name)
    if reason is not None:
        raise MetricUnavailable(reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these packages call torchvision in ways that it has deprecated
            return _MAKERS[name](name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        package = PEERS[name].modules[0]
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MetricUnavailable(f"{name}: the package {package} is here but does not work: {text}") from error


def _piq(function: str, **settings: Any) -> Callable[[str], PeerMetric]:
    """A function of piq, which takes the distorted image first."""

    def make(name: str) -> PeerMetric:
        import piq

        compute = getattr(piq, function)
        return PeerMetric(name, lambda x, y: compute(y, x, data_range=1.0, reduction="none", **settings))

    return make


def _lpips_alex(name: str) -> PeerMetric:
    import lpips

    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    _fill(network.net, name)
    return PeerMetric(name, lambda x, y: network(x, y, normalize=True), network)


def _st_lpips(backbone: str) -> Callable[[str], PeerMetric]:
    def make(name: str) -> PeerMetric:
        from stlpips_pytorch import stlpips

        network = stlpips.LPIPS(net=backbone, variant="shift_tolerant", verbose=False)
        return PeerMetric(name, lambda x, y: network(x, y, normalize=True), network)

    return make


def _dists(name: str) -> PeerMetric:
    from DISTS_pytorch import DISTS_pt

    # Its own loader looks for this file in the folder of the Python installation, where pip may not put it.
    heads = torch.load(Path(DISTS_pt.__file__).with_name("weights.pt"), map_location="cpu", weights_only=True)
    with mock.patch.object(DISTS_pt, "models", SimpleNamespace(vgg16=_untrained_vgg16)):  # it would download
        network = DISTS_pt.DISTS(load_weights=False)
    _fill(network, name)
    network.alpha.data, network.beta.data = heads["alpha"], heads["beta"]
    return PeerMetric(name, lambda x, y: network(x, y, require_grad=True), network.eval())


def _untrained_vgg16(pretrained: bool) -> nn.Module:
    from torchvision.models import vgg16

    with torch.device("meta"):
        network: nn.Module = vgg16()
    return network


def _fill(network: nn.Module, name: str) -> None:
    """Put convolutions where a package has them, in parts that keep torchvision's numbers: slice2.3 is features.3."""
    path = network_file(PEERS[name].convolutions or "")
    if path is None:
        raise MetricUnavailable(missing(name) or "")
    header, tensors = weights.read(path)
    weights.check_digest(path, header, tensors)
    names = {inside: f"features.{inside.partition('.')[2]}" for inside in network.state_dict()}
    found = {inside: tensors[number].float() for inside, number in names.items() if number in tensors}
    if len(found) != len(tensors):
        raise RuntimeError(f"it has {len(found)} of the {len(tensors)} tensors of {path.name}")
    network.load_state_dict(found, strict=False, assign=True)


_MAKERS: dict[str, Callable[[str], PeerMetric]] = {
    "fsimc": _piq("fsim", chromatic=True),
    "vsi": _piq("vsi"),
    "haarpsi": _piq("haarpsi"),
    "gmsd": _piq("gmsd"),
    "mdsi": _piq("mdsi"),
    "lpips-alex": _lpips_alex,
    "st-lpips-alex": _st_lpips("alex"),
    "st-lpips-vgg": _st_lpips("vgg"),
    "dists": _dists,
}
