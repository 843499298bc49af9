"""From the name of a metric to the metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pim import catalogue, custom, peers, weights
from pim.classics import MSSSIM, PSNR, SSIM
from pim.errors import MetricUnavailable, UsageError
from pim.files import sha256_of
from pim.info import MetricInfo
from pim.metric import Metric
from pim.model import PIM
from pim.nlpd import NLPD
from pim.peer_catalogue import PEERS
from pim.vgg_catalogue import VGGS
from vggmetric import loading
from vggmetric.backbone import named
from vggmetric.head import KIND as HEAD
from vggmetric.head import Head
from vggmetric.metric import VGGMetric

_WITHOUT_WEIGHTS: dict[str, Callable[[], Metric]] = {
    catalogue.NLPD.name: NLPD,
    catalogue.PSNR.name: PSNR,
    catalogue.SSIM.name: SSIM,
    catalogue.MS_SSIM.name: MSSSIM,
}


def load(name: str | None = None, *, device: str | None = None) -> Metric:
    """A metric, ready to use: evaluation mode, its weights frozen.

    Args:
        name: A name of `pim.metrics()`, `package.module:callable` (imports and runs that code), or the
            path of a .safetensors file made by `pim train` or `pim fit`; without it the default metric.
        device: Where its weights shall be, such as "cpu" or "cuda"; a metric without weights follows its images.

    Raises:
        UsageError: if the name or the device is unknown.
        MetricUnavailable: if the weights of a built-in metric, or of the backbone of a head, are not here.
        WeightsError: if the weight file is missing, damaged or foreign.
    """
    metric = _find(catalogue.DEFAULT if name is None else name)
    if device is not None:
        metric = metric.to(_usable(device))
    return metric.eval().requires_grad_(False)


def check_weights(path: str | Path) -> tuple[weights.WeightHeader, str]:
    """Read a whole weight file and build what it is for: a PIM, a head for VGG-16 features, or a backbone.

    Returns:
        Its header, and the SHA-256 of the file.

    Raises:
        WeightsError: with what is wrong.
    """
    header = weights.read_header(path)
    if header.kind == HEAD:
        Head.read(path)
    elif header.kind == loading.KIND:
        loading.read(named(str(header.config.get("backbone"))), Path(path))
    else:
        PIM.load(path)
    return header, sha256_of(path)


def _find(name: str) -> Metric:
    catalogue.check_name(name)
    if name in _WITHOUT_WEIGHTS:
        return _WITHOUT_WEIGHTS[name]()
    if name in catalogue.SHIPPED or name in VGGS:
        return _shipped(catalogue.BUILT_IN[name])
    if name in PEERS:
        return peers.load(name)
    if not name.endswith(".safetensors"):
        return custom.load(name)
    return VGGMetric.from_head(Path(name)) if weights.read_header(name).kind == HEAD else PIM.load(name)


def _shipped(info: MetricInfo) -> Metric:
    path = weights.shipped_file(info.weights or "")
    if path is None:
        raise MetricUnavailable(catalogue.missing_weights(info))
    return PIM.load(path, info) if info.backbone is None else VGGMetric.from_head(path, info=info)


def _usable(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"cannot compute on the device {name!r}: {reason}; 'cpu' always works") from error
    return device
