"""The built-in metrics: what one can know of each before loading it, and from its name to the metric.

What makes a metric is found by import string, when it is needed.
"""

from __future__ import annotations

import functools
import importlib
import os
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pim.core.info import MetricInfo
from pim.errors import MetricUnavailable, UsageError, WeightsError, did_you_mean

if TYPE_CHECKING:
    from pim.core import weights
    from pim.core.metric import Metric


def _pim(name: str, summary: str, operations: float, lowest: float = 0.0, aligned: bool = False) -> MetricInfo:
    return MetricInfo(
        name=name,
        summary=f"{summary}; our own training on a small public collection of videos, not the authors' weights",
        lower_is_better=True,
        value_range=(lowest, inf),
        min_size=32,
        aligned=aligned,
        spatial=True,
        operations=operations,
        weights=f"{name}.safetensors",
        source="Bhardwaj, Fischer, Balle and Chinen 2020, arXiv 2006.06752",
        home="pim.pim.model:PIM.shipped",
    )


PIM_1 = _pim("pim-1", "PIM of the published size with one Gaussian per position", 782_432)
PIM_5 = _pim("pim-5", "PIM of the published size with five Gaussians per position, by an estimate", 791_843, -inf)
PIM = _pim(
    "pim",
    "PIM as one norm, on pictures of half the size and the gradients that this averages out; "
    "1 is about the distance of unrelated pictures",
    1_411,
    aligned=True,
)
NLPD = MetricInfo(
    name="nlpd",
    summary="normalised Laplacian pyramid distance, 6 levels, mean over R, G and B, for a display of 5 to 180 cd/m^2",
    lower_is_better=True,
    value_range=(0.0, inf),
    min_size=65,
    operations=150,
    source="Laparra, Berardino, Balle and Simoncelli 2017, JOSA A 34:1511",
    home="pim.metrics.nlpd:NLPD",
)
PSNR = MetricInfo(
    name="psnr",
    summary="peak signal-to-noise ratio over R, G and B in dB; infinite for identical images",
    lower_is_better=False,
    value_range=(0.0, inf),
    operations=1.5,
    source="usual definition, peak 1",
    home="pim.metrics.classics:PSNR",
)
SSIM = MetricInfo(
    name="ssim",
    summary="structural similarity, Gaussian window 11x11 with sigma 1.5, mean over R, G and B, no resize",
    lower_is_better=False,
    value_range=(-1.0, 1.0),
    min_size=11,
    operations=165,
    licence="MIT",
    source="Wang, Bovik, Sheikh and Simoncelli 2004; computed by pytorch-msssim",
    home="pim.metrics.classics:SSIM",
)
MS_SSIM = MetricInfo(
    name="ms-ssim",
    summary="SSIM over 5 scales, Gaussian window 11x11 with sigma 1.5, mean over R, G and B; negative terms count as 0",
    lower_is_better=False,
    value_range=(0.0, 1.0),
    min_size=161,
    operations=220,
    licence="MIT",
    source="Wang, Simoncelli and Bovik 2003; computed by pytorch-msssim",
    home="pim.metrics.classics:MSSSIM",
)

SHIPPED: dict[str, MetricInfo] = {info.name: info for info in (PIM, PIM_1, PIM_5, NLPD, PSNR, SSIM, MS_SSIM)}
DEFAULT = PIM.name

OTHERS = {"lpips": "lpips-alex", "msssim": "ms-ssim", "fsim": "fsimc"}  # what people call them; lpips as its package

# What makes the metric of a weight file, by the kind that its header names, and what reads the file alone.
_LOADERS = {"pim": "pim.pim.model:PIM.load", "vgg-head": "vggmetric.metric:VGGMetric.from_head"}
_CHECKS = {
    "pim": "pim.pim.model:PIM.load",
    "vgg-head": "vggmetric.head:Head.read",  # good without its backbone
    "vgg-backbone": "vggmetric.loading:read_file",
}
_BACKBONE_MISSING = "vggmetric.backbone:missing"


@functools.cache
def built_in() -> dict[str, MetricInfo]:
    """Every built-in metric by its name: shipped ones, those that need a backbone, those of other packages."""
    from pim.metrics.others import PEERS, VGGS

    return {**SHIPPED, **VGGS, **{name: peer.info for name, peer in PEERS.items()}}


GONE = {"pim-tiny": "pim", "pim-small": "pim", "vgg-lpips": "vgg"}  # of versions before the first release


def check_name(name: str) -> None:
    """Check that a name is a built-in one, `package.module:callable` or a .safetensors file.

    Raises:
        UsageError: if it is none of these, with the nearest built-in name.
    """
    name = spelled(name)
    known = name in SHIPPED or ":" in name or name.endswith(".safetensors")
    if not known and name not in built_in():
        if "," in name:
            each = " ".join(f"-m {part.strip()}" for part in name.split(","))
            raise UsageError(f"{name!r} is no metric; name each on its own: {each}")
        if name in GONE:
            raise UsageError(f"{name} is gone; {GONE[name]} took its place, with other values")
        raise UsageError(f"unknown metric {name!r}; {did_you_mean(name, built_in())}")


def spelled(name: str | os.PathLike[str]) -> str:
    """Give the name of a built-in metric as it is written here; anything else as it is.

    Raises:
        UsageError: if it is neither a name nor a path.

    >>> spelled("PSNR"), spelled("ms_ssim"), spelled("lpips"), spelled("My.safetensors")
    ('psnr', 'ms-ssim', 'lpips-alex', 'My.safetensors')
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        known = "a Metric, a name, 'module:callable' or a .safetensors file"
        raise UsageError(f"a metric is {known}; got {type(name).__name__}")
    if name in SHIPPED or ":" in name or name.endswith(".safetensors"):
        return name
    usual = name.lower().replace("_", "-")
    usual = OTHERS.get(usual, usual)
    return usual if usual in built_in() else name


def missing_weights(info: MetricInfo) -> str:
    """Why a metric whose weight file is not in the package cannot be used."""
    return f"the weights of {info.name} ({info.weights}) are not in this installation; install the package again"


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
    return [_status(info) for info in built_in().values()]


def load(name: str | os.PathLike[str] | None = None, *, device: str | None = None) -> Metric:
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
    import torch

    with torch.inference_mode(False):  # else no gradient would ever pass through it
        metric = _find(DEFAULT if name is None else spelled(name))
        if device is not None:
            metric = metric.to(resolve("pim.core.device:choose")(device))
        return metric.eval().requires_grad_(False)


@functools.lru_cache(maxsize=8)
def load_kept(name: str, device: str | None) -> Metric:
    """Make a built-in metric once per process; for names whose weights cannot change meanwhile."""
    return load(name, device=device)


def check_weights(path: str | Path) -> tuple[weights.WeightHeader, str]:
    """Read a whole weight file (a PIM, a head whose backbone need not be here, or a backbone): its header and SHA-256.

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
    check_name(name)
    made: Metric
    info = SHIPPED.get(name) or built_in().get(name)
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
        from pim.core.weights import shipped

        if Path(info.weights).stem not in shipped():
            raise MetricUnavailable(missing_weights(info))
    made: Metric = resolve(info.home)(info)
    return made


def _status(info: MetricInfo) -> MetricStatus:
    from pim.core import weights
    from pim.core.files import sha256_of
    from pim.metrics.others import PEERS, missing

    if info.name in PEERS:
        return MetricStatus(info, missing(info.name), None)
    if info.weights is None:
        return MetricStatus(info, None, None)
    path = weights.shipped().get(Path(info.weights).stem)
    if path is None:
        return MetricStatus(info, missing_weights(info), None)
    reason = None if info.backbone is None else resolve(_BACKBONE_MISSING)(info.backbone)
    return MetricStatus(info, reason, sha256_of(path))
