"""NumPy arrays as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pim.errors import InputError

_HINTS = {
    1: "; take [..., 0] of a gray one",
    2: "; put its alpha on a background",
    4: "; put its alpha on a background",
}


def pixels_of(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Copy an array as sRGB (H, W, 3), C-contiguous, whatever its strides, byte order or subclass.

    Args:
        array: (H, W, 3), or (H, W) for gray; uint8 or uint16, which are divided by the largest of their type, or
            floating point, of which the range is left to the metric.
        name: What the caller calls it, for messages.

    Raises:
        InputError: if it has another shape or type, or masked values.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{name} has masked values; fill them first")
    plain = np.asarray(array)  # a matrix would stay two-dimensional whatever is asked of it
    if plain.ndim == 2:
        plain = plain[..., None].repeat(3, -1)
    if plain.ndim != 3 or plain.shape[2] != 3:
        hint = "; channels come last: transpose(1, 2, 0)" if plain.ndim == 3 and plain.shape[0] == 3 else ""
        hint = hint or (_HINTS.get(plain.shape[2], "") if plain.ndim == 3 else "")
        raise InputError(f"{name} must be an array of shape (H, W, 3) or (H, W); got {plain.shape}{hint}")
    if plain.dtype.kind == "u" and plain.itemsize <= 2:
        return np.array(plain, np.float32, order="C") / np.float32(np.iinfo(plain.dtype).max)
    if plain.dtype.kind != "f":
        raise InputError(f"{name} must be an array of uint8, uint16 or floating point in [0, 1]; got {plain.dtype}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which the metric refuses
        return np.array(plain, np.float32, order="C")
