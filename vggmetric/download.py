"""Getting a backbone: fetched from where torchvision publishes it, checked, and only its convolutions kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from pim.core.database import alone
from pim.core.weights import cache_folder
from pim.datasets.fetch import Download, fetch
from pim.errors import UsageError, WeightsError
from vggmetric.backbone import BACKBONES, Backbone, cached, named
from vggmetric.backbone import published as published_file
from vggmetric.loading import read, save

MOST = 1 << 30  # bytes of a file whose size is not known


def get(
    name: str,
    *,
    half: bool = False,
    keep: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Have a backbone, tv1k or oxford, in the cache, converted to safetensors.

    A file that torchvision has fetched before is used; else it is fetched, or its download continued.

    Args:
        name: Id of the backbone.
        half: Store float16; half the size, and distances change by 2e-4 of themselves.
        keep: Leave the published file in the cache.
        progress: Called with the bytes that are here and the size of the whole, if the server tells it.

    Raises:
        UsageError: if it cannot be fetched, or another process is getting it.
        DataError: if the connection fails (what came is kept), or the file has another SHA-256 (it is removed).
        WeightsError: if the file that came, or the one that is in the cache, is not what it should be.
        PimError: if it cannot be written.
    """
    backbone = named(name)
    if not backbone.published:
        fetchable = " or ".join(b.id for b in BACKBONES.values() if b.published)
        raise UsageError(f"the backbone {name} cannot be fetched, only {fetchable}; oxford holds oxford12")
    target = cached(name, half)
    if target.exists():  # also where nothing can be written
        read(backbone, target)
        return target
    with alone(target.with_name(f".{target.name}.lock"), f"another process is getting {target}; wait for it"):
        if target.exists():
            read(backbone, target)
            return target
        tensors = _already_here(backbone)
        if tensors is not None:
            save(target, tensors, backbone, half=half)
            return target
        file, _ = fetch(_download(backbone), progress)
        try:
            save(target, read(backbone, file), backbone, half=half)
        except WeightsError:
            file.unlink()
            raise
        if not keep:
            file.unlink()
    return target


def address(backbone: Backbone) -> str:
    """Where torchvision publishes the file of a backbone."""
    from torchvision.models import VGG16_Weights

    url: str = VGG16_Weights[backbone.published].url
    return url


def _download(backbone: Backbone) -> Download:
    whole = backbone.sha256 if len(backbone.sha256) == 64 else None
    return Download(address(backbone), cache_folder() / backbone.file, whole, backbone.size or MOST)


def _already_here(backbone: Backbone) -> dict[str, Tensor] | None:
    """The tensors of the file that torchvision keeps, if it is the right one."""
    try:
        return read(backbone, published_file(backbone))
    except WeightsError:
        return None
