"""Weight files: safetensors with their story in the header; found, checked, read and written here.

A file holds the tensors of a PIM, a head or a backbone, and in its header, as JSON: format version, what it is, the
settings of the network, how it was trained, licence. Nothing is ever downloaded here.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pim.errors import WeightsError, os_errors_as

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # version of the header
HEADER_LIMIT = 1 << 20  # bytes of header that are read at most
KEY = "pim"  # the header entry that holds our JSON
NETWORKS = "from the repository: pip install ./vggmetric_weights"  # how to get what `network_file` looks for


@dataclass(frozen=True)
class WeightHeader:
    """The story of a weight file."""

    kind: str  # "pim": the networks of a PIM; "vgg-head", "vgg-backbone": see `vggmetric`
    config: dict[str, Any]  # settings of the network, see PIMConfig
    training: dict[str, Any] = field(default_factory=dict)  # data, counts, steps, seed, versions
    licence: str = "Apache-2.0"
    format: int = FORMAT


def read_header(path: str | Path) -> WeightHeader:
    """Read the header of a weight file, without weights or torch; raises WeightsError if it is damaged or foreign."""
    path = Path(path)
    with os_errors_as(WeightsError, f"cannot read {path}"), path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= HEADER_LIMIT:
            raise WeightsError(f"{path} is not a safetensors file, or its header is damaged")
        raw = stream.read(length)
    try:
        outer = json.loads(raw.decode("utf-8"))
        inner = json.loads(outer["__metadata__"][KEY])
        return _header(inner, path)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} has no readable pim header; was it made by `pim train` or `pim fit`?") from error


def read(path: str | Path, kind: str = "", what: str = "") -> tuple[WeightHeader, dict[str, Tensor]]:
    """Read header and tensors of a weight file, on the CPU; with `kind`, of that kind only: `what` in words.

    Raises:
        WeightsError: if it is damaged, foreign or of another kind.
    """
    header = read_header(path)
    if kind and header.kind != kind:
        raise WeightsError(f"{path} holds weights of kind {header.kind!r}, not {what}")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return header, load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error


def write(path: str | Path, tensors: dict[str, Tensor], header: WeightHeader) -> None:
    """Write a weight file, whole or not at all; raises PimError if it cannot be written."""
    from safetensors.torch import save

    from pim.core.files import write_bytes

    story = json.dumps(asdict(header), sort_keys=True)
    write_bytes(path, save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, {KEY: story}))


def shipped() -> dict[str, Path]:
    """The weight files inside the package, by metric name."""
    folder = Path(str(resources.files("pim"))) / "pretrained"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def network_file(name: str) -> Path | None:
    """Find a file of the distribution vggmetric-weights, networks that others trained; None if it is not here."""
    found = util.find_spec("vggmetric_weights")
    folders = (found.submodule_search_locations if found is not None else None) or []
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def check_digest(path: Path, header: WeightHeader, tensors: dict[str, Tensor]) -> None:
    """Raise WeightsError if tensors are not those whose hash the header of their file holds."""
    if header.config.get("tensors_sha256") != digest_of(tensors):
        raise WeightsError(f"{path} is damaged: its tensors are not those it was written with; remove it")


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Compute a SHA-256 over names, types and values of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where things are kept that can be made again: PIM_CACHE, else the platform's cache folder."""
    named = os.environ.get("PIM_CACHE")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("pim-metric", appauthor=False)


def _header(values: dict[str, Any], path: Path) -> WeightHeader:
    version = values["format"]
    if version != FORMAT:
        raise WeightsError(
            f"{path} has format version {version!r}, this version of pim reads {FORMAT}; update pim to read it"
        )
    config, training = values["config"], values.get("training", {})
    if not isinstance(config, dict) or not isinstance(training, dict):
        raise WeightsError(f"the header of {path} is damaged: config and training must be objects")
    return WeightHeader(str(values["kind"]), config, training, str(values.get("licence", "unknown")), version)
