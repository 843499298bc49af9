"""From the name of a metric to the metric; what makes it is found by import string, when it is needed."""

from __future__ import annotations

import functools
import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pim.core.info import MetricInfo
from pim.errors import MetricUnavailable, WeightsError
from pim.metrics import catalogue

if TYPE_CHECKING:
    from pim.core import weights
    from pim.core.metric import Metric

# What makes the metric of a weight file, by the kind that its header names, and what reads the file alone.
_LOADERS = {"pim": "pim.pim.model:PIM.load", "vgg-head": "vggmetric.metric:VGGMetric.from_head"}
_CHECKS = {
    "pim": "pim.pim.model:PIM.load",
    "vgg-head": "vggmetric.head:Head.read",  # good without its backbone
    "vgg-backbone": "vggmetric.loading:read_file",
}
_BACKBONE_MISSING = "vggmetric.backbone:missing"


@dataclass(frozen=True, slots=True)
class MetricStatus:
    """A built-in metric, and whether it can be used here."""

    info: MetricInfo
    unavailable: str | None  # why it cannot be used; None: it can
    weights_hash: str | None  # SHA-256 of its weight file; None: it has none, or it is not here

    @property
    def available(self) -> bool:
        """Whether `load` gives this metric."""
        return self.unavailable is None

    def as_dict(self) -> dict[str, Any]:
        """All of it as one flat record."""
        about = {key: value for key, value in asdict(self.info).items() if key != "home"}
        return {**about, "unavailable": self.unavailable, "weights_hash": self.weights_hash}


def list_metrics() -> list[MetricStatus]:
    """List every built-in metric, the default first and those of other packages last; loads none."""
    return [_status(info) for info in catalogue.BUILT_IN.values()]


def load(name: str | None = None, *, device: str | None = None) -> Metric:
    """Make a metric ready to use: evaluation mode, its weights frozen.

    Args:
        name: A name of `pim.list_metrics()`, `package.module:callable` (imports and runs that code), or the
            path of a .safetensors file made by `pim train` or `pim fit`; without it the default metric.
        device: Where its weights shall be, such as "cpu" or "cuda"; a metric without weights follows its images.

    Raises:
        UsageError: if the name or the device is unknown.
        MetricUnavailable: if the weights of a built-in metric, or of the backbone of a head, are not here.
        WeightsError: if the weight file is missing, damaged or foreign.
    """
    metric = _find(catalogue.DEFAULT if name is None else catalogue.current(name))
    if device is not None:
        metric = metric.to(resolve("pim.core.device:choose")(device))
    return metric.eval().requires_grad_(False)


@functools.lru_cache(maxsize=8)
def load_kept(name: str, device: str | None) -> Metric:
    """Make a built-in metric once per process; for names whose weights cannot change meanwhile."""
    return load(name, device=device)


def check_weights(path: str | Path) -> tuple[weights.WeightHeader, str]:
    """Read a whole weight file: a PIM, a head for VGG-16 features (whose backbone need not be here), or a backbone.

    Returns:
        Its header, and the SHA-256 of the file.

    Raises:
        WeightsError: with what is wrong.
    """
    from pim.core import weights
    from pim.core.files import sha256_of

    header = weights.read_header(path)
    _by_kind(_CHECKS, header, path)(Path(path))
    return header, sha256_of(path)


def resolve(home: str) -> Any:
    """Import what `module:name.of.attribute` says."""
    module, _, attribute = home.partition(":")
    return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))


def _by_kind(table: dict[str, str], header: weights.WeightHeader, path: str | Path) -> Any:
    if header.kind not in table:
        raise WeightsError(f"{path} holds weights of kind {header.kind!r}; expected {' or '.join(table)}")
    return resolve(table[header.kind])


def _find(name: str) -> Metric:
    catalogue.check_name(name)
    made: Metric
    info = catalogue.SHIPPED.get(name) or catalogue.BUILT_IN.get(name)
    if info is not None:
        made = _built_in(info)
    elif name.endswith(".safetensors"):
        from pim.core import weights

        made = _by_kind(_LOADERS, weights.read_header(name), name)(Path(name))
    else:
        made = resolve("pim.metrics.custom:load")(name)
    return made


def _built_in(info: MetricInfo) -> Metric:
    if info.weights is not None:
        from pim.core.weights import shipped_file

        if shipped_file(info.weights) is None:
            raise MetricUnavailable(catalogue.missing_weights(info))
    made: Metric = resolve(info.home)(info)
    return made


def _status(info: MetricInfo) -> MetricStatus:
    from pim.core import weights
    from pim.core.files import sha256_of
    from pim.metrics.peer_catalogue import PEERS, missing

    if info.name in PEERS:
        return MetricStatus(info, missing(info.name), None)
    if info.weights is None:
        return MetricStatus(info, None, None)
    path = weights.shipped_file(info.weights)
    if path is None:
        return MetricStatus(info, catalogue.missing_weights(info), None)
    reason = None if info.backbone is None else resolve(_BACKBONE_MISSING)(info.backbone)
    return MetricStatus(info, reason, sha256_of(path))
