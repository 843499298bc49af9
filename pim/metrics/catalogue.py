"""The built-in metrics and what one can know of them before loading one."""

from __future__ import annotations

import functools
import warnings
from math import inf
from typing import TYPE_CHECKING, Any

from pim.core.info import MetricInfo
from pim.errors import UsageError, did_you_mean

_OWN_TRAINING = "our own training on a small public collection of videos, not the authors' weights"
_PIM = "Bhardwaj, Fischer, Balle and Chinen 2020, arXiv 2006.06752"

PIM_1 = MetricInfo(
    name="pim-1",
    summary=f"PIM of the published size with one Gaussian per position; {_OWN_TRAINING}",
    lower_is_better=True,
    value_range=(0.0, inf),
    min_size=32,
    spatial=True,
    operations=782_432,
    weights="pim-1.safetensors",
    source=_PIM,
    home="pim.pim.model:PIM.shipped",
)
PIM_5 = MetricInfo(
    name="pim-5",
    summary=f"PIM of the published size with five Gaussians per position, by an estimate; {_OWN_TRAINING}",
    lower_is_better=True,
    value_range=(-inf, inf),
    min_size=32,
    spatial=True,
    operations=791_843,
    weights="pim-5.safetensors",
    source=_PIM,
    home="pim.pim.model:PIM.shipped",
)
PIM = MetricInfo(
    name="pim",
    summary="PIM as one norm, on pictures of half the size and the gradients that this averages out; "
    f"1 is about the distance of unrelated pictures; {_OWN_TRAINING}",
    lower_is_better=True,
    value_range=(0.0, inf),
    min_size=32,
    aligned=True,
    spatial=True,
    operations=1_411,
    weights="pim.safetensors",
    source=_PIM,
    home="pim.pim.model:PIM.shipped",
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
FORMER = {"pim-tiny": "pim", "pim-small": "pim", "vgg-lpips": "vgg"}  # names for one release more: what they mean now
if TYPE_CHECKING:
    BUILT_IN: dict[str, MetricInfo]  # every name: shipped ones, those that need a backbone, those of other packages
else:  # type checkers would take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name != "BUILT_IN":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return built_in()


@functools.cache
def built_in() -> dict[str, MetricInfo]:
    """Every built-in metric by its name: shipped ones, those that need a backbone, those of other packages."""
    from pim.metrics.peer_catalogue import PEERS
    from pim.metrics.vgg_catalogue import VGGS

    return {**SHIPPED, **VGGS, **{name: peer.info for name, peer in PEERS.items()}}


def check_name(name: str) -> None:
    """That a metric of this name can be looked for: a built-in name, `package.module:callable` or a .safetensors file.

    Raises:
        UsageError: if it is none of these, with the nearest built-in name.
    """
    known = name in SHIPPED or name in FORMER or ":" in name or name.endswith(".safetensors")
    if not known and name not in built_in():
        raise UsageError(f"unknown metric {name!r}; {did_you_mean(name, built_in())}")


def current(name: str) -> str:
    """Give the name under which a metric is known now, with a warning where that has changed."""
    if name not in FORMER:
        return name
    warnings.warn(f"{name} is gone; {FORMER[name]} took its place, with other values", FutureWarning, stacklevel=3)
    return FORMER[name]


def missing_weights(info: MetricInfo) -> str:
    """Why a metric whose weight file is not in the package cannot be used."""
    return f"the weights of {info.name} ({info.weights}) are not in this installation; install the package again"
