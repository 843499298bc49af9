"""Codec files: weights, tables and their story in one safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ntc.container import codec_of
from ntc.models import build
from ntc.models.codec import Codec
from ntc.models.config import CodecConfig
from ntc.tables import Tables
from pim.core import weights
from pim.errors import InputError, UsageError, WeightsError, did_you_mean

KIND = "ntc"  # in the header of the file
DEFAULT = "ntc-small"
_TABLES, _ID = "tables.", "id"


@dataclass(frozen=True)
class Stored:
    """A codec out of a file, and its story."""

    codec: Codec  # in evaluation mode
    training: dict[str, Any]


def save(path: str | Path, codec: Codec, training: dict[str, Any]) -> None:
    """Write an exported codec as a .safetensors file, whole or not at all, with data, settings, results, versions.

    Raises:
        UsageError: if its tables are missing or stale.
        PimError: if it cannot be written.
    """
    codec.check_exported()
    assert codec.id is not None
    tensors = {name: _compact(tensor) for name, tensor in codec.state_dict().items()}
    for coding in codec.codings():
        for part in ("cdf", "start", "low"):
            tensors[f"{_TABLES}{coding.name}.{part}"] = torch.from_numpy(getattr(coding.tables, part).copy())
    tensors[_ID] = torch.tensor(list(codec.id), dtype=torch.uint8)
    weights.write(path, tensors, weights.WeightHeader(KIND, codec.config.to_dict(), training))


def load(path: str | Path, device: str = "cpu") -> Stored:
    """Read a codec.

    Raises:
        WeightsError: if the file is missing, damaged, no codec, or its tables do not belong to its weights.
    """
    header, tensors = weights.read(path, KIND, "a codec")
    try:
        config = CodecConfig.from_dict(header.config)
        tables = _read_tables(tensors)
        codec_id = bytes(tensors.pop(_ID).tolist())
        _check_shapes(config, tensors)
        codec = build(config)
        codec.load_state_dict(tensors)  # 16 bits become 32
        codec.put_tables(tables)
        codec.eval()
        fresh = codec.freeze()
    except (KeyError, RuntimeError, ValueError, TypeError) as error:  # most errors of ours are ValueErrors too
        raise WeightsError(f"{path} is no usable codec: {' '.join(str(error).split())[:200]}") from error
    if fresh != codec_id:
        raise WeightsError(f"{path}: the tables do not belong to the weights; train or fetch the codec again")
    codec.id = codec_id
    return Stored(codec.to(device), header.training)


def find(name: str | None) -> Path:
    """Find the file of a codec that ships, by its name, or by a path; without a name the one that ships.

    Raises:
        UsageError: if there is no such codec.
    """
    known = shipped()
    if name is None:
        if not known:
            raise UsageError("no codec ships with this package; train one with `pim ntc train`, and name its file")
        return known.get(DEFAULT) or next(iter(known.values()))
    if name in known:
        return known[name]
    if name.endswith(".safetensors") or Path(name).exists():
        return Path(name)
    raise UsageError(f"unknown codec {name!r}, and no .safetensors file; {did_you_mean(name, known)}")


def find_by_id(data: bytes, name: str | None = None, device: str = "cpu") -> Codec:
    """Find the codec that made a file among those that ship; one that is named, as in `find`, is used in any case.

    Raises:
        InputError: if the file is no coded image, or none of the codecs that ship made it.
        UsageError: if the name is unknown.
    """
    if name is not None:
        return _cached(find(name), device)
    wanted = codec_of(data)
    for path in shipped().values():
        codec = _cached(path, device)
        if codec.id == wanted:
            return codec
    raise InputError(f"was coded by {wanted.hex()}, which is no codec that ships; name its file with --codec")


def _cached(path: Path, device: str) -> Codec:
    """Load a file once, as long as it stays as it is."""
    return _loaded(path.resolve(), path.stat().st_mtime_ns if path.exists() else 0, device)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, device: str) -> Codec:
    return load(path, device).codec


def shipped() -> dict[str, Path]:
    """The codec files inside the package, by name."""
    folder = Path(str(resources.files("ntc"))) / "pretrained"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _compact(tensor: Tensor) -> Tensor:
    """With 16 bits a value, if nothing is lost by that."""
    half = tensor.half()
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def _read_tables(tensors: dict[str, Tensor]) -> dict[str, Tables]:
    """Take the tables out of the tensors."""
    parts: dict[str, dict[str, Any]] = {}
    for name in [name for name in tensors if name.startswith(_TABLES)]:
        _, which, part = name.split(".")
        parts.setdefault(which, {})[part] = tensors.pop(name).to(torch.int32).numpy()
    return {which: Tables(**found) for which, found in parts.items()}


def _check_shapes(config: CodecConfig, tensors: dict[str, Tensor]) -> None:
    """Compare with what the settings say, before any memory is taken for that."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        odd = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
        raise WeightsError(f"the tensors do not fit the settings: {', '.join(odd[:3])}")
