"""What one can know of the metrics on VGG-16 before loading one: which head, on which backbone."""

from __future__ import annotations

from math import inf

from pim.core.info import MetricInfo

_SPIRIT = "in the spirit of Chinen et al. 2018, arXiv 1808.00447"
_LPIPS = "features and weights of Zhang, Isola, Efros, Shechtman and Wang 2018, arXiv 1801.03924"


def _vgg(name: str, summary: str, head: str, licence: str, source: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        summary=summary,
        lower_is_better=True,
        value_range=(0.0, inf),
        min_size=16,
        spatial=True,
        operations=305_856.0,
        licence=licence,
        weights=f"{head}.safetensors",
        source=source,
        home="vggmetric.metric:VGGMetric.shipped",
        backbone="tv1k",
    )


VGG = _vgg(
    "vgg",
    "distance in VGG-16 features with the head that we suggest, which may change: at present that of lpips-vgg",
    *("lpips-vgg", "BSD-2-Clause", f"{_SPIRIT}; {_LPIPS}"),
)
LPIPS_VGG = _vgg(
    "lpips-vgg",
    "LPIPS 0.1 on VGG-16, computed here: the values of its package, without its NaN",
    *("lpips-vgg", "BSD-2-Clause", _LPIPS),
)
VGGS: dict[str, MetricInfo] = {info.name: info for info in (VGG, LPIPS_VGG)}
