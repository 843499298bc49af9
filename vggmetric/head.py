"""Heads: the weights with which a distance in VGG-16 features adds up, and their files.

A file is safetensors with one tensor w/TAP for every tap: its weights, one for each channel or a
single one for all of them. The header says for which backbone and normalisation they hold, and how
they were found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pim.core import weights
from pim.errors import UsageError, WeightsError, check_known
from pim.metrics.others import VGGS
from vggmetric.backbone import named
from vggmetric.embedding import EPS, Norm
from vggmetric.features import CHANNELS, TAPS, Pool

KIND = "vgg-head"
_PREFIX = "w/"


@dataclass(frozen=True, eq=False)
class Head:
    """Non-negative weights by tap, and what they are for.

    Raises:
        UsageError: if a tap is unknown or too deep for the backbone, or weights are negative, not finite,
            all 0, or of the wrong number.
    """

    backbone: str  # id, see `vggmetric.backbone`
    weights: Mapping[str, Tensor]  # by tap, (C,) or (1,) for all channels alike, 0 or more; kept as float32
    norm: Norm = "unit"
    pool: Pool = "max"
    eps: float = EPS
    scales: Mapping[str, float] = field(default_factory=dict)  # norm "none": root mean square of each tap
    temperature: float = 1.0  # P(second is closer) = sigmoid((D0 - D1) / temperature)
    story: Mapping[str, Any] = field(default_factory=dict)  # data, counts, agreement, versions
    licence: str = "Apache-2.0"

    def __post_init__(self) -> None:
        """Order the taps as they are computed, and refuse impossible values."""
        _check_settings(self)
        known = TAPS[: named(self.backbone).convolutions + 1]
        check_known(f"{self.backbone} has no tap", self.weights, known)
        ordered = {tap: _weights(tap, self.weights[tap]) for tap in known if tap in self.weights}
        if not any(bool(values.any()) for values in ordered.values()):
            raise UsageError("a head needs a weight above 0")
        object.__setattr__(self, "weights", ordered)

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that count: those with a weight above 0, in the order in which they are computed."""
        return tuple(tap for tap, values in self.weights.items() if bool(values.any()))

    @property
    def form(self) -> str:
        """Either "layer", where every tap has a single weight, or "channel"."""
        return "layer" if all(len(values) == 1 for values in self.weights.values()) else "channel"

    @property
    def settings(self) -> dict[str, Any]:
        """All but weights and story, as plain values."""
        return {
            "backbone": self.backbone,
            "backbone_sha256": named(self.backbone).sha256,
            "norm": self.norm,
            "pool": self.pool,
            "eps": self.eps,
            "scales": dict(self.scales),
            "temperature": self.temperature,
        }

    @property
    def sha256(self) -> str:
        """Of settings and weights; the story does not count."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for tap, values in self.weights.items():
            digest.update(f"{tap} {len(values)}\n".encode() + values.numpy().tobytes())
        return digest.hexdigest()

    def write(self, path: str | Path) -> None:
        """Write the file of the head, whole or not at all.

        Raises:
            PimError: if it cannot be written.
        """
        header = weights.WeightHeader(KIND, self.settings, dict(self.story), self.licence)
        weights.write(path, {f"{_PREFIX}{tap}": values for tap, values in self.weights.items()}, header)

    @classmethod
    def read(cls, path: str | Path) -> Head:
        """The head of a file.

        Raises:
            WeightsError: if the file is missing, damaged, of an unknown version, not a head, for another
                version of its backbone, or impossible.
        """
        header, tensors = weights.read(path, KIND, "a head for VGG-16 features")
        config = dict(header.config)
        try:
            digest = config.pop("backbone_sha256", None)
            if digest != named(str(config.get("backbone"))).sha256:
                raise WeightsError(f"{path} was made for another file of the backbone {config['backbone']}")
            by_tap = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
            return cls(weights=by_tap, story=header.training, licence=header.licence, **config)
        except (UsageError, TypeError, AttributeError, ValueError) as error:  # values of another type
            raise WeightsError(f"{path} is no usable head: {error}") from error


def uniform(backbone: str) -> Head:
    """The head that counts every tap of a backbone alike, but not the pixels."""
    taps = TAPS[1 : named(backbone).convolutions + 1]
    return Head(backbone, {tap: torch.ones(1) for tap in taps}, story={"about": "all taps alike, not fitted"})


def locate(name: str | Path) -> Path:
    """Find the file of a head by the name of its metric; a path of a .safetensors file is taken as it is.

    Raises:
        UsageError: if no head ships under this name.
    """
    if str(name).endswith(".safetensors"):
        return Path(name)
    known = shipped()
    check_known("unknown head", [str(name)], known)
    return known[str(name)]


def shipped() -> dict[str, Path]:
    """Find the heads inside the package, by the names of their metrics."""
    there = weights.shipped()
    return {name: there[stem] for name, info in VGGS.items() if (stem := Path(info.weights or "").stem) in there}


def _weights(tap: str, values: Tensor) -> Tensor:
    count = CHANNELS[tap]
    if values.ndim != 1 or len(values) not in (1, count):
        raise UsageError(f"{tap} takes 1 weight or {count}; got shape {tuple(values.shape)}")
    values = values.detach().cpu().float().contiguous()
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"the weights of {tap} must be finite")
    if bool((values < 0).any()):
        raise UsageError(f"the weights of {tap} must not be negative; the lowest is {values.min().item():.3g}")
    return values


def _check_settings(head: Head) -> None:
    for name, value, allowed in (("norm", head.norm, ("unit", "none")), ("pool", head.pool, ("max", "l2"))):
        if value not in allowed:
            raise UsageError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    for name, number in (("eps", head.eps), ("temperature", head.temperature), *head.scales.items()):
        if not isinstance(number, int | float) or not 0 < number < float("inf"):
            raise UsageError(f"{name} must be a number above 0; got {number!r}")
    if unknown := set(head.scales) - set(TAPS):
        raise UsageError(f"scales of unknown taps: {', '.join(sorted(unknown))}")
