"""A module as a small file: quantised weights in one entropy-coded stream, decoded to the same bits everywhere.

Layout, little-endian: magic `PNTM` | u8 version | u32 length of metadata, metadata (deflated JSON) | for each
parameter and buffer of the module, in its own order: u8 form, then steps (float16) and plan, or raw float32 |
one stream for all symbols | u32 CRC-32 of everything before, which covers names and shapes of the module too.
Nothing but the module itself says how many values there are.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ntc.coder import Decoder, Encoder
from ntc.reparameterise import tensor_code
from ntc.reparameterise.forms import FourierForm, Reparameterisation, ScalarForm, reparameterised
from ntc.reparameterise.tensor_code import Reader
from ntc.tables import Ints
from pim.errors import InputError, WeightsError

MAGIC, VERSION = b"PNTM", 1
METADATA_LIMIT = 1 << 20  # bytes, inflated
RAW = 0  # the form of values that are not quantised
FORMS: dict[int, type[ScalarForm] | type[FourierForm]] = {1: ScalarForm, 2: FourierForm}
_KINDS: dict[type[Reparameterisation], int] = {form: number for number, form in FORMS.items()}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class _Tensor:
    """A parameter or buffer of a module."""

    name: str  # as in the state dict of the plain module
    shape: torch.Size
    form: Reparameterisation | None
    value: Tensor  # the latents in units of the weights; the value itself without a form


def dumps(module: nn.Module, metadata: dict[str, Any] | None = None) -> bytes:
    """Write a module and plain metadata as a model file's content; what is not reparameterised is stored as float32.

    Raises:
        InputError: if a weight or step is not finite, or a buffer is no float32 and not whole.
    """
    tensors = list(_tensors(module))
    parts, blocks = [], []
    for tensor in tensors:
        if tensor.form is None:
            parts.append(bytes([RAW]) + _raw(tensor).tobytes())
            continue
        steps = _steps(tensor)
        latents = _latents(tensor, steps)
        plan = tensor_code.plan(latents)
        parts.append(bytes([_KINDS[type(tensor.form)]]) + steps.tobytes() + tensor_code.to_bytes(plan))
        blocks.append((plan, tensor_code.symbols(latents, plan)))
    text = zlib.compress(json.dumps(metadata or {}, sort_keys=True).encode(), 9) if metadata else b""
    head = MAGIC + bytes([VERSION]) + _LENGTH.pack(len(text)) + text
    content = head + b"".join(parts) + _encode(blocks)
    return content + _LENGTH.pack(_checksum(content, tensors))


def loads(content: bytes, module: nn.Module) -> dict[str, Any]:
    """Fill a module of the same architecture from the content of a model file; it is left plain. Returns the metadata.

    Raises:
        WeightsError: if the content is damaged, of another version, or of another architecture; the module
            is unchanged then.
    """
    metadata, reader = _open(content)
    plain = list(_tensors(module))
    if _LENGTH.unpack(content[-4:])[0] != _checksum(content[:-4], plain):
        raise WeightsError("the compressed model is damaged, or it is not of this architecture")
    try:
        values = _decode(reader, plain)
    except InputError as error:
        raise WeightsError(f"the compressed model is damaged: {error}") from error
    remove_reparameterisation(module)
    state = module.state_dict()
    module.load_state_dict({name: value.to(state[name]) for name, value in values.items()})
    return metadata


def read_metadata(content: bytes) -> dict[str, Any]:
    """The metadata of a model file, without a module.

    Raises:
        WeightsError: if it is damaged or of another version.
    """
    return _open(content)[0]


def remove_reparameterisation(module: nn.Module) -> None:
    """Make all reparameterised parameters plain again, in place, with the rounded values."""
    for found in list(reparameterised(module)):
        parametrize.remove_parametrizations(found.owner, found.name.rpartition(".")[2])


def _tensors(module: nn.Module) -> Iterator[_Tensor]:
    """Everything that the state of the plain module holds, sorted by name."""
    quantised = {found.name: found for found in reparameterised(module)}
    inside = {id(p) for found in quantised.values() for p in (found.original, *found.form.parameters())}
    others = {name: value for name, value in module.state_dict(keep_vars=True).items() if id(value) not in inside}
    for name in sorted([*quantised, *others]):
        if name in quantised:
            found = quantised[name]
            yield _Tensor(name, found.form.shape, found.form, found.original.detach())
        else:
            yield _Tensor(name, others[name].shape, None, others[name].detach())


def _raw(tensor: _Tensor) -> NDArray[np.float32]:
    value = tensor.value.detach().cpu().double()
    stored = value.float()
    if not bool(torch.isfinite(stored).all()) or (not tensor.value.is_floating_point() and (stored != value).any()):
        raise InputError(f"{tensor.name} holds values that float32 cannot store")
    return stored.numpy().astype("<f4")


def _steps(tensor: _Tensor) -> NDArray[np.float16]:
    assert tensor.form is not None
    with np.errstate(over="ignore"):  # what does not fit is refused below
        steps = torch.exp(tensor.form.log_step.detach()).cpu().numpy().astype("<f2")
    if not np.isfinite(steps).all() or steps.min() <= 0:
        raise InputError(f"the quantisation steps of {tensor.name} do not fit into float16")
    return steps


def _latents(tensor: _Tensor, steps: NDArray[np.float16]) -> Ints:
    """Whole numbers, (R, C, G)."""
    value = tensor.value.cpu().double().numpy()
    if not np.isfinite(value).all():
        raise InputError(f"{tensor.name} holds values that are not finite")
    return np.rint(value / steps.astype(np.float64)).astype(np.int32).reshape(_grid(tensor.shape, len(steps)))


def _grid(shape: torch.Size, groups: int) -> tuple[int, int, int]:
    """Units, what each of them sees, groups."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows, shape.numel() // (rows * groups), groups


def _encode(blocks: list[tuple[tensor_code.Plan, NDArray[np.int64]]]) -> bytes:
    encoder = None
    for plan, symbols in blocks:
        tables = plan.tables()
        if tables is not None:
            encoder = encoder or Encoder(tables)
            encoder.put(symbols, plan.index(), tables)
    return encoder.finish() if encoder else b""


def _open(content: bytes) -> tuple[dict[str, Any], Reader]:
    """Metadata, and the reader behind them."""
    reader = Reader(content[:-4])
    if reader.take(4) != MAGIC:
        raise WeightsError("this is no compressed model")
    version = reader.byte()
    if version != VERSION:
        raise WeightsError(f"the compressed model has version {version}, this version of pim reads {VERSION}")
    (length,) = reader.unpack(_LENGTH)
    text = reader.take(length)
    if not text:
        return {}, reader
    try:
        inflate = zlib.decompressobj()
        found = json.loads(inflate.decompress(text, METADATA_LIMIT))
    except (zlib.error, ValueError, RecursionError) as error:
        raise WeightsError("the compressed model is damaged: its metadata cannot be read") from error
    if not isinstance(found, dict):
        raise WeightsError("the compressed model is damaged: its metadata are no object")
    return found, reader


def _decode(reader: Reader, plain: list[_Tensor]) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    pending = []
    for tensor in plain:
        kind = reader.byte()
        if kind == RAW:
            raw = reader.array(np.dtype("<f4"), tensor.shape.numel())
            values[tensor.name] = torch.from_numpy(raw.astype(np.float32)).reshape(tensor.shape)
            continue
        form = _form(kind, tensor.shape)
        groups = len(form.log_step)
        steps = torch.from_numpy(reader.array(np.dtype("<f2"), groups).astype(np.float32))
        pending.append((tensor, form, steps, tensor_code.from_bytes(reader, _grid(tensor.shape, groups))))
    stream, decoder = reader.rest(), None
    for tensor, form, steps, plan in pending:
        tables, symbols = plan.tables(), np.zeros(0, np.int32)
        if tables is not None:
            decoder = decoder or Decoder(stream, tables)
            symbols = decoder.get(plan.index(), tables)
        latents = torch.from_numpy(tensor_code.restore(symbols, plan)).reshape(-1, len(steps))
        values[tensor.name] = form.synthesis(latents * steps)
    return values


def _form(kind: int, shape: torch.Size) -> Reparameterisation:
    if kind not in FORMS or (FORMS[kind] is FourierForm and len(shape) != 4):
        raise WeightsError("the compressed model is damaged: a tensor has an unknown form")
    return FORMS[kind](shape)


def _checksum(content: bytes, tensors: list[_Tensor]) -> int:
    """Of the content and of the names and shapes that it is for."""
    layout = ";".join(f"{tensor.name}{tuple(tensor.shape)}" for tensor in tensors)
    return zlib.crc32(layout.encode(), zlib.crc32(content))
