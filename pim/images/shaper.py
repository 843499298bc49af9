"""Colour encodings made of a curve per channel and a matrix, computed in floating point.

Source: ICC.1:2022 (matrix and curves: F.3, 10.6, 10.18; Bradford adaptation: annex E); IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Curve = Callable[[Array], Array]  # encoded [0, 1] -> light [0, 1]

D65 = (0.3127, 0.3290)
BT709 = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x, y of white, red, green, blue

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_WHITE_CLOSE = 0.3  # in XYZ, from D50: old profiles keep the white of their display, which is D65 or bluer
_CLOSE = 2e-3  # matrices and curves this near to sRGB are sRGB: half a step of 8 bits


@dataclass(frozen=True, slots=True)
class Shaper:
    """One curve per channel, then a matrix to linear sRGB; gray has one curve and no matrix."""

    curves: tuple[Curve, ...]
    matrix: Array | None

    def is_srgb(self) -> bool:
        """Whether this differs from sRGB by no more than tables and rounding of profiles do."""
        levels = np.linspace(0, 1, 256)
        same_curves = all(
            np.abs(linear_to_srgb(decode(curve, levels)) - levels).max() < _CLOSE for curve in self.curves
        )
        return same_curves and (self.matrix is None or bool(np.abs(self.matrix - np.eye(3)).max() < _CLOSE))


def srgb_to_linear(encoded: Array) -> Array:
    """Light in [0, 1] of sRGB values in [0, 1]."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: NDArray[Any]) -> NDArray[Any]:
    """The sRGB values in [0, 1] of light in [0, 1], in the precision that it has."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def to_pcs(chromaticities: tuple[float, ...]) -> Array:
    """Compute the matrix from linear RGB to XYZ under D50, (3, 3), from x, y of white, red, green and blue.

    Raises:
        ValueError: if they span no colours.
    """
    points = np.array(chromaticities).reshape(4, 2)
    if points[:, 1].min() <= 0:
        raise ValueError("chromaticities without luminance")
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]])
    white, primaries = xyz[:, 0], xyz[:, 1:]
    try:
        rgb = primaries * np.linalg.solve(primaries, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("chromaticities on one line") from error
    adapt = np.linalg.solve(_BRADFORD, np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD)
    return np.asarray(adapt @ rgb, np.float64)


def to_srgb(pcs: Array) -> Array:
    """From a matrix to XYZ under D50 to one to linear sRGB."""
    matrix = np.asarray(np.linalg.solve(to_pcs(BT709), pcs), np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("colours are not finite")
    return matrix


def tags_of(icc: bytes) -> dict[bytes, bytes]:
    """The tags of a profile by their signatures; raises struct.error if their table is cut short."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 200))]
    return {name: icc[offset : offset + size] for name, offset, size in entries}


def shaper_of(icc: bytes) -> Shaper | None:
    """The curves and matrix of a profile, or None if it has tables or another connection space.

    Raises:
        ValueError, struct.error: if a curve or the matrix makes no sense.
    """
    tags = tags_of(icc)
    if icc[20:24] != b"XYZ " or any(name.startswith((b"A2B", b"D2B")) for name in tags):
        return None
    if icc[16:20] == b"GRAY" and b"kTRC" in tags:
        return Shaper((_curve(tags[b"kTRC"]),), None)
    if icc[16:20] != b"RGB " or not {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= tags.keys():
        return None
    columns = [[v / 65536 for v in struct.unpack_from(">3i", tags[c + b"XYZ"], 8)] for c in (b"r", b"g", b"b")]
    if np.abs(np.sum(columns, 0) - _D50).max() > _WHITE_CLOSE:
        raise ValueError("its white is no white")
    curves = tuple(_curve(tags[c + b"TRC"]) for c in (b"r", b"g", b"b"))
    return Shaper(curves, to_srgb(np.array(columns).T))


def decode(curve: Curve, levels: Array) -> Array:
    """A curve of a file at some levels; whatever it does, the result is in [0, 1]."""
    with np.errstate(all="ignore"):
        return np.clip(np.nan_to_num(curve(levels)), 0, 1)


def power(exponent: float) -> Curve:
    """The curve light = encoded ** exponent."""
    return lambda x: np.power(x, exponent)


def _curve(tag: bytes) -> Curve:
    """A `curv` or `para` tag as a function."""
    kind, _, count = struct.unpack_from(">4sII", tag)
    if kind == b"curv":
        values = struct.unpack_from(f">{count}H", tag, 12) if count <= len(tag) else ()
        if len(values) != count:
            raise ValueError("a curve is cut short")
        if count == 1:
            return power(values[0] / 256)
        table = np.array(values or (0, 65535)) / 65535
        return lambda x: np.interp(x, np.linspace(0, 1, len(table)), table)
    if kind != b"para":
        raise ValueError("a curve is neither curv nor para")
    (function,) = struct.unpack_from(">H", tag, 8)
    sizes = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
    if function not in sizes:
        raise ValueError(f"there is no curve of type {function}")
    numbers = [v / 65536 for v in struct.unpack_from(f">{sizes[function]}i", tag, 12)]
    return _parametric(function, *numbers)


def _parametric(
    function: int, g: float, a: float = 1, b: float = 0, c: float = 0, d: float = 0, e: float = 0, f: float = 0
) -> Curve:
    """(a x + b)^g + e from d on, c x + f below; the letters are those of ICC.1, 10.18."""
    if function in (1, 2):
        if a == 0:
            raise ValueError("a curve divides by zero")
        c, d, e, f = 0, -b / a, c, c
    return lambda x: np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
