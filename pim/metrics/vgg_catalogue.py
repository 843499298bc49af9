"""What one can know of the metrics on VGG-16 before loading one: which head, on which backbone."""

from __future__ import annotations

from math import inf

from pim.core.info import MetricInfo

_SPIRIT = "in the spirit of Chinen et al. 2018, arXiv 1808.00447"
_LPIPS = "features and weights of Zhang, Isola, Efros, Shechtman and Wang 2018, arXiv 1801.03924"
_ALL_LAYERS, _FOUR_LAYERS = 305_856.0, 93_888.0  # multiply-adds per pixel


def _vgg(name: str, summary: str, head: str, backbone: str, licence: str, source: str) -> MetricInfo:
    shallow = backbone == "oxford12"
    return MetricInfo(
        name=name,
        summary=summary,
        lower_is_better=True,
        value_range=(0.0, inf),
        min_size=2 if shallow else 16,
        spatial=True,
        operations=_FOUR_LAYERS if shallow else _ALL_LAYERS,
        licence=licence,
        weights=f"{head}.safetensors",
        source=source,
        home="vggmetric.metric:VGGMetric.shipped",
        backbone=backbone,
    )


_ALL = (
    _vgg(
        "vgg",
        "distance in VGG-16 features with the head that we suggest, which may change: at present that of vgg-lpips",
        *("vgg-lpips", "tv1k", "BSD-2-Clause", f"{_SPIRIT}; {_LPIPS}"),
    ),
    _vgg(
        "vgg-lpips",
        "distance in 5 layers of VGG-16 with the linear weights of LPIPS 0.1: the values of lpips-vgg, without its NaN",
        *("vgg-lpips", "tv1k", "BSD-2-Clause", _LPIPS),
    ),
    _vgg(
        "vgg-uniform",
        "distance in 13 layers of VGG-16, all alike and fitted to nobody: the baseline for heads",
        *("vgg-uniform", "tv1k", "BSD-3-Clause", _SPIRIT),
    ),
    _vgg(
        "vgg-oxford12-uniform",
        "distance in the first 4 layers of VGG-16, all alike and fitted to nobody; it sees 14 pixels, no semantics",
        *("vgg-oxford12-uniform", "oxford12", "CC-BY-4.0", _SPIRIT),
    ),
    _vgg(
        "vgg-oxford12-tid-layer",
        "the first 4 layers of VGG-16 with a weight for each, our own fit to a part of TID2013 (16 photos, 11 types)",
        *("vgg-oxford12-tid-layer", "oxford12", "CC-BY-4.0", _SPIRIT),
    ),
    _vgg(
        "vgg-oxford12-tid-channel",
        "the first 4 layers of VGG-16 with a weight for each channel, our own fit to a part of TID2013 (16 photos)",
        *("vgg-oxford12-tid-channel", "oxford12", "CC-BY-4.0", _SPIRIT),
    ),
    _vgg(
        "vgg-oxford12-raid-channel",
        "the first 4 layers of VGG-16 with a weight for each channel, our own fit to a part of RAID (16 photos)",
        *("vgg-oxford12-raid-channel", "oxford12", "CC-BY-4.0", _SPIRIT),
    ),
)

VGGS: dict[str, MetricInfo] = {info.name: info for info in _ALL}
