"""Reading the weights of a backbone: hash first, parse after, and nothing that could run code.

A file is recognised by what it is, never by its name alone:

    ours (safetensors)      made by `save`: its header names backbone, source and the hash of its tensors
    published (.pth)        its SHA-256 stands in the table of backbones; read with weights_only
    published (safetensors) the same, for the four convolutions of oxford12
    published (.h5)         the file of Keras, by its MD5: its makers publish no other
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pim.core import weights
from pim.core.files import sha256_of
from pim.errors import WeightsError, os_errors_as
from vggmetric.backbone import BACKBONES, RANDOM, Backbone, find, named
from vggmetric.features import CHANNELS, TAPS, Network, Pool

KIND = "vgg-backbone"
KERAS_MD5 = "6d6bbae143d832006294945121d1f1fc"  # all that its makers publish
KERAS_LAYERS = tuple(f"block{b}_conv{i}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1))
_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torchvision's `features`


def load(name: str, path: str | Path | None = None, *, pool: Pool = "max") -> Network:
    """Load a backbone by its id, frozen, in evaluation mode; without a path from the first of `backbone.places`.

    Raises:
        UsageError: if there is no such backbone.
        MetricUnavailable: if its weights are not here.
        WeightsError: if its file is damaged, or not what it should be.
    """
    backbone = named(name)
    network = Network(backbone.mean, backbone.std, backbone.convolutions, pool)
    if backbone.random:
        tensors = random_tensors(int(RANDOM.fullmatch(name)[1]))  # type: ignore[index]  # `named` matched it
    else:
        tensors = read(backbone, find(name) if path is None else Path(path))
    state = {ours: tensors[theirs] for ours, theirs in zip(network.state_dict(), tensor_names(backbone), strict=True)}
    network.load_state_dict(state, assign=True)  # tensors that are mapped from a file stay so
    return network.eval().requires_grad_(False)


def read_file(path: Path) -> None:
    """Check a backbone in our own format.

    Raises:
        WeightsError: with what is wrong.
    """
    read(named(str(weights.read_header(path).config.get("backbone"))), path)


def tensor_names(backbone: Backbone) -> list[str]:
    """What torchvision calls the tensors of a backbone, in the order of the network."""
    positions = _POSITIONS[: backbone.convolutions]
    return [f"features.{position}.{part}" for position in positions for part in ("weight", "bias")]


def random_tensors(seed: int) -> dict[str, Tensor]:
    """He-normal weights that depend on the seed alone, on any machine and with any version of torch."""
    random = np.random.RandomState(seed)  # its stream is frozen, that of a Generator is not
    found = {}
    for position, before, after in zip(_POSITIONS, TAPS, TAPS[1:], strict=False):
        inputs, outputs = CHANNELS[before], CHANNELS[after]
        kernel = random.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        bias = 0.05 * random.standard_normal(outputs)
        found[f"features.{position}.weight"] = torch.from_numpy(kernel.astype(np.float32))
        found[f"features.{position}.bias"] = torch.from_numpy(bias.astype(np.float32))
    return found


def read(backbone: Backbone, path: Path) -> dict[str, Tensor]:
    """The tensors of a backbone from a file, float32, checked.

    Raises:
        WeightsError: if the file cannot be read, is another, or does not fit; it is left as it is.
    """
    with os_errors_as(WeightsError, f"cannot read {path}"):
        tensors = _read_ours(backbone, path) if _is_ours(path) else _read_published(backbone, path)
    return _checked(tensors, backbone, path)


def save(path: str | Path, tensors: dict[str, Tensor], backbone: Backbone, *, half: bool = False) -> None:
    """Write the tensors of a backbone, by torchvision's names, as it is kept in the cache, whole or not at all.

    With `half` as float16: half the size; distances change by 2e-4 of themselves.
    """
    kept = {name: tensors[name].to(torch.float16 if half else torch.float32) for name in tensor_names(backbone)}
    config = {"backbone": backbone.id, "source_sha256": backbone.sha256, "tensors_sha256": weights.digest_of(kept)}
    header = weights.WeightHeader(KIND, config, {"source": backbone.file}, backbone.licence)
    weights.write(path, kept, header)


def _read_ours(backbone: Backbone, path: Path) -> dict[str, Tensor]:
    header, tensors = weights.read(path, KIND, "a backbone")
    _check_identity(backbone, str(header.config.get("backbone")), path)
    weights.check_digest(path, header, tensors)
    return tensors


def _read_published(backbone: Backbone, path: Path) -> dict[str, Tensor]:
    if path.suffix == ".h5":
        _check_identity(backbone, "oxford", path)
        return _read_keras(path, tensor_names(backbone))
    digest = sha256_of(path)
    known = next((b.id for b in BACKBONES.values() if b.sha256 and digest.startswith(b.sha256)), None)
    if known is None:
        raise WeightsError(
            f"{path} has SHA-256 {digest}, expected {backbone.sha256} ({backbone.file}); "
            "it was not opened: remove it and fetch it again"
        )
    _check_identity(backbone, known, path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(str(path)))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise WeightsError(f"{path} is damaged: {str(error).partition(chr(10))[0]}") from error
    return dict(found)


def _read_keras(path: Path, names: list[str]) -> dict[str, Tensor]:
    """Kernels and biases by these names in turn; Keras keeps kernels as (height, width, in, out), blue first."""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if digest != KERAS_MD5:
        expected = f"expected {KERAS_MD5}; it was not opened: remove it and fetch it again"
        raise WeightsError(f"{path} has MD5 {digest}, {expected}")
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(f"reading {path} needs the package h5py: pip install 'pim-metric[keras]'") from error
    found = {}
    with h5py.File(path, "r") as file:
        for layer, kernel_name, bias_name in zip(KERAS_LAYERS, names[::2], names[1::2], strict=False):
            arrays = {array.ndim: array for array in (np.asarray(value, np.float32) for value in file[layer].values())}
            kernel = arrays[4][:, :, ::-1] if layer == KERAS_LAYERS[0] else arrays[4]
            found[kernel_name] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
            found[bias_name] = torch.from_numpy(arrays[1])
    return found


def _check_identity(backbone: Backbone, found: str, path: Path) -> None:
    accepted = (backbone.id, "oxford") if backbone.id == "oxford12" else (backbone.id,)
    if found not in accepted:
        raise WeightsError(f"{path} holds the backbone {found}, not {backbone.id}")


def _checked(tensors: dict[str, Any], backbone: Backbone, path: Path) -> dict[str, Tensor]:
    """The tensors that the backbone needs, float32; what else is in the file, such as a classifier, is dropped."""
    shapes = dict(zip(tensor_names(backbone), _shapes(backbone), strict=True))
    found = {}
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise WeightsError(f"{path} lacks the tensor {name}; is it a VGG-16?")
        if tuple(tensor.shape) != shape:
            raise WeightsError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {shape}")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: {name} contains values that are not finite")
        found[name] = tensor.detach().float()
    return found


def _shapes(backbone: Backbone) -> list[tuple[int, ...]]:
    widths = [CHANNELS[tap] for tap in TAPS[: backbone.convolutions + 1]]
    pairs = zip(widths, widths[1:], strict=False)
    return [shape for before, after in pairs for shape in ((after, before, 3, 3), (after,))]


def _is_ours(path: Path) -> bool:
    """Whether it has the header that `save` writes."""
    path.stat()  # a file that is not there is no foreign one
    try:
        return weights.read_header(path).kind != ""
    except WeightsError:
        return False
