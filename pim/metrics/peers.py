"""Metrics of other packages behind our interface: our order of arguments, our checks, (N,) values.

Each is computed by the package that is known for it, at the size the images have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pim.core.info import MetricInfo
from pim.core.metric import Metric
from pim.errors import MetricUnavailable
from pim.metrics.peer_catalogue import PEERS, missing

Function = Callable[[Tensor, Tensor], Tensor]  # reference and distorted, (N, 3, H, W) in [0, 1]


class PeerMetric(Metric):
    """A metric of another package."""

    def __init__(self, name: str, function: Function, network: nn.Module | None = None) -> None:
        super().__init__()
        self.info = PEERS[name].info
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


def _lpips(backbone: str) -> Callable[[str], PeerMetric]:
    def make(name: str) -> PeerMetric:
        import lpips

        network = lpips.LPIPS(net=backbone, verbose=False)
        return PeerMetric(name, lambda x, y: network(x, y, normalize=True), network)

    return make


def _st_lpips(backbone: str) -> Callable[[str], PeerMetric]:
    def make(name: str) -> PeerMetric:
        from stlpips_pytorch import stlpips

        network = stlpips.LPIPS(net=backbone, variant="shift_tolerant", verbose=False)
        return PeerMetric(name, lambda x, y: network(x, y, normalize=True), network)

    return make


def _dists(name: str) -> PeerMetric:
    import DISTS_pytorch

    # Its own loader looks for this file in the folder of the Python installation, where pip may not put it.
    heads = torch.load(Path(DISTS_pytorch.__file__).with_name("weights.pt"), map_location="cpu", weights_only=True)
    network = DISTS_pytorch.DISTS(load_weights=False)
    network.alpha.data, network.beta.data = heads["alpha"], heads["beta"]
    return PeerMetric(name, lambda x, y: network(x, y, require_grad=True), network.eval())


_MAKERS: dict[str, Callable[[str], PeerMetric]] = {
    "fsimc": _piq("fsim", chromatic=True),
    "vsi": _piq("vsi"),
    "haarpsi": _piq("haarpsi"),
    "gmsd": _piq("gmsd"),
    "mdsi": _piq("mdsi"),
    "lpips-alex": _lpips("alex"),
    "lpips-vgg": _lpips("vgg"),
    "st-lpips-alex": _st_lpips("alex"),
    "st-lpips-vgg": _st_lpips("vgg"),
    "dists": _dists,
}
